"""The lifecycle of a container: creates it from an image; starts, stops and deletes its task.

An ended task is kept until the next start, since only it has the exit status.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal as signals
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage

from runtime.engines.containerd import logs, translate
from runtime.engines.containerd.client import ContainerdClient
from runtime.engines.containerd.images import ContainerdImages, UnpackedImage
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.containerd.store import MetadataStore, StoredContainer
from runtime.errors import (
    ConflictError,
    EngineError,
    NotFoundError,
    PytopError,
    UnsupportedError,
)
from runtime.kernel import threads
from runtime.kernel.signals import parse_signal
from runtime.model import ContainerSpec
from runtime.oci import spec as oci
from runtime.oci import users

RUNTIME: Final = "io.containerd.runc.v2"
SPEC: Final = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
NOTES: Final = "io.pytop-containers/notes/1"
STOP_TIMEOUT_S: Final = 10.0
LEFT_TASK_TIMEOUT_S: Final = 10.0  # in which containerd ends what a caller who has left had begun
LEFT_TASK_PAUSE_S: Final = 0.1
MIN_RESTART_POLICIES_VERSION: Final = (1, 7)
"""The first version whose restart monitor has other policies than "always"."""
NO_NETWORK: Final = "containerd itself has no networks: those that it is used with make them (CNI)"
NO_REMOVAL: Final = "containerd removes no container by itself"
NO_STORAGE: Final = "containerd has no size for a container's own layer; its snapshotter may have one for all"
ALWAYS_OR_NEVER: Final = "containerd before 1.7 restarts a container always or never"
_SNAPSHOTS: Final = "snapshots.v1.Snapshots"
_TASKS: Final = "tasks.v1.Tasks"


class ContainerdLifecycle:
    """Creates, starts, stops and removes containers of one containerd."""

    def __init__(self, client: ContainerdClient, store: MetadataStore, snapshotter: str, top: Path) -> None:
        self._client = client
        self._store = store
        self._snapshotter = snapshotter
        self._top = top

    async def create(self, spec: ContainerSpec, resources: Mapping[str, Any], version: tuple[int, int]) -> str:
        """Create a record and its snapshot; returns the id. `version` is the daemon's."""
        namespace, title = self._store.home, f"create a container of {spec.image}"
        labels, notes = _labels(spec, version, title), _notes(spec)
        images = ContainerdImages(self._client, namespace, self._snapshotter)
        unpacked = await images.unpack(spec.image)
        if spec.network != "none":
            raise UnsupportedError(
                title,
                detail=NO_NETWORK,
                hint="Create it without a network (--network none), or with nerdctl",
            )
        identity = spec.name or secrets.token_hex(32)
        folder = logs.folder(self._top, namespace, identity)
        if labels.get(translate.RESTART_POLICY):
            labels[translate.RESTART_LOG] = logs.uri(folder)
        record = pb.Container(
            id=identity,
            labels=labels,
            image=unpacked.name,
            runtime=pb.Container.Runtime(name=RUNTIME),
            snapshotter=self._snapshotter,
            snapshot_key=f"pytop-{secrets.token_hex(16)}",
        )
        if notes:
            record.extensions[translate.EXTENSION].CopyFrom(_packed(notes))
        async with images.lease(title) as lease:  # until the record refers to the snapshot
            await self._add(record, spec, unpacked, resources, title, lease)
        await threads.completing(shutil.rmtree, folder, ignore_errors=True)
        return identity

    async def _add(
        self,
        record: pb.Container,
        spec: ContainerSpec,
        unpacked: UnpackedImage,
        resources: Mapping[str, Any],
        title: str,
        lease: str,
    ) -> None:
        """Add the record and its snapshot; if one of them fails, neither is left."""
        namespace = self._store.home
        request = pb.SnapshotRequest(snapshotter=record.snapshotter, key=record.snapshot_key, parent=unpacked.snapshot)
        prepared = await self._client.call(
            f"{_SNAPSHOTS}/Prepare", request, pb.MountsResponse, title, namespace=namespace, lease=lease
        )
        added = False
        try:
            user = await threads.completing(user_of, spec.user or str(unpacked.config.get("User") or ""), prepared)
            cgroup, host = f"/{namespace}/{record.id}", record.id[:12]
            document = oci.document(spec, unpacked.config, user, resources, cgroup=cgroup, host=host)
            record.spec.CopyFrom(AnyMessage(type_url=SPEC, value=json.dumps(document).encode()))
            await self._store.add(namespace, record, title)
            added = True
        finally:
            if not added:
                await self._client.tell(f"{_SNAPSHOTS}/Remove", request, title, namespace=namespace)

    async def start(self, stored: StoredContainer) -> None:
        """Start the task, created first if necessary. Does nothing when it is running."""
        title = f"start container {stored.container.name}"
        process = stored.process
        if process is not None and process.status in (pb.RUNNING, pb.PAUSING):
            return
        if process is not None and process.status == pb.PAUSED:
            raise ConflictError(title, detail="it is paused", hint="Unpause it")
        self._refuse_kubernetes(stored, title)
        try:
            if process is not None and process.status == pb.STOPPED:
                await self._delete_task(stored, title)
                process = None
            if process is None:
                await self._create_whole_task(stored, title)
            await self._start_task(stored, title)
        except EngineError as error:
            await self._note(stored, title, error=error.detail)
            raise
        if translate.notes(stored.record).get("error"):
            await self._note(stored, title, error="")
        await self._set_restart_status(stored, title, running=True)

    async def _create_whole_task(self, stored: StoredContainer, title: str) -> None:
        """Create the task; one that a caller who was cancelled or killed has left half made is removed before."""
        deadline = time.monotonic() + LEFT_TASK_TIMEOUT_S
        while True:
            try:
                await self._create_task(stored, title)
                return
            except ConflictError as error:
                if "already exists" not in error.detail or time.monotonic() > deadline:
                    raise
            with contextlib.suppress(EngineError):  # it is still being made
                await self._delete_task(stored, title)
            await asyncio.sleep(LEFT_TASK_PAUSE_S)

    async def _create_task(self, stored: StoredContainer, title: str) -> None:
        record = stored.record
        request = pb.CreateTaskRequest(container_id=record.id)
        if record.snapshotter:
            snapshot = pb.SnapshotRequest(snapshotter=record.snapshotter, key=record.snapshot_key)
            mounts = await self._client.call(
                f"{_SNAPSHOTS}/Mounts", snapshot, pb.MountsResponse, title, namespace=stored.namespace
            )
            request.rootfs.extend(mounts.mounts)
        request.stdout = request.stderr = logs.for_start(record, self._top, stored.namespace)
        request.terminal = bool((translate.document(record.spec).get("process") or {}).get("terminal"))
        await self._call(stored, "Create", request, title)

    async def _start_task(self, stored: StoredContainer, title: str) -> None:
        try:
            await self._call(stored, "Start", pb.IdRequest(id=stored.record.id), title)
        except EngineError:
            with contextlib.suppress(PytopError):
                await self._delete_task(stored, title)
            raise

    async def stop(self, stored: StoredContainer, timeout: float | None) -> None:
        """Send the stop signal, and SIGKILL after `timeout` seconds. A paused container is resumed for that."""
        title = f"stop container {stored.container.name}"
        await self._set_restart_status(stored, title, running=False)
        if stored.process is None or stored.process.status == pb.STOPPED:
            return
        if stored.process.status == pb.CREATED:
            await self._delete_task(stored, title)
            return
        notes = translate.notes(stored.record)
        grace = timeout if timeout is not None else float(notes.get("stop timeout", STOP_TIMEOUT_S))
        wanted = parse_signal(stored.record.labels.get(translate.STOP_SIGNAL, "SIGTERM"))
        with contextlib.suppress(NotFoundError):
            await self._signal(stored, title, wanted)
            if stored.process.status in (pb.PAUSED, pb.PAUSING):
                await self._call(stored, "Resume", pb.IdRequest(id=stored.record.id), title)
            try:
                async with asyncio.timeout(max(0.0, grace)):
                    await self.wait(stored, title)
            except TimeoutError:
                await self._signal(stored, title, signals.SIGKILL)
                await self.wait(stored, title)

    async def kill(self, stored: StoredContainer, signal: str) -> None:
        title, number = f"kill container {stored.container.name}", parse_signal(signal)
        self._require_live(stored, title)
        await self._signal(stored, title, number)
        if number == signals.SIGKILL and stored.process is not None and stored.process.status == pb.PAUSED:
            # On cgroup v1 a frozen process ends only after it is thawed.
            with contextlib.suppress(PytopError):
                await self._call(stored, "Resume", pb.IdRequest(id=stored.record.id), title)

    async def pause(self, stored: StoredContainer, verb: str) -> None:
        """`verb` is "Pause" or "Resume"."""
        title = f"{'pause' if verb == 'Pause' else 'unpause'} container {stored.container.name}"
        self._require_live(stored, title)
        paused = stored.process is not None and stored.process.status == pb.PAUSED
        if paused == (verb == "Pause"):
            raise ConflictError(title, detail="it is paused already" if paused else "it is not paused")
        await self._call(stored, verb, pb.IdRequest(id=stored.record.id), title)

    async def remove(self, stored: StoredContainer, *, force: bool) -> None:
        title = f"remove container {stored.container.name}"
        self._refuse_kubernetes(stored, title)
        if stored.container.state.live and not force:
            raise ConflictError(title, detail="it is running", hint="Stop it first, or remove it by force")
        if stored.process is not None:
            await self._set_restart_status(stored, title, running=False)
            await self._kill_and_delete_task(stored, title)
        await self._client.tell(
            "containers.v1.Containers/Delete", pb.IdRequest(id=stored.record.id), title, namespace=stored.namespace
        )
        if stored.record.snapshotter:
            snapshot = pb.SnapshotRequest(snapshotter=stored.record.snapshotter, key=stored.record.snapshot_key)
            with contextlib.suppress(NotFoundError, ConflictError):
                await self._client.tell(f"{_SNAPSHOTS}/Remove", snapshot, title, namespace=stored.namespace)
        folder = logs.folder(self._top, stored.namespace, stored.record.id)
        await threads.completing(shutil.rmtree, folder, ignore_errors=True)

    async def _kill_and_delete_task(self, stored: StoredContainer, title: str) -> None:
        """Kill the processes and delete the task."""
        with contextlib.suppress(NotFoundError):
            if stored.container.state.live:
                await self._signal(stored, title, signals.SIGKILL)
                if stored.process is not None and stored.process.status == pb.PAUSED:
                    with contextlib.suppress(PytopError):
                        await self._call(stored, "Resume", pb.IdRequest(id=stored.record.id), title)
                await self.wait(stored, title)
            await self._delete_task(stored, title)

    async def wait(self, stored: StoredContainer, title: str) -> int:
        answer = await self._client.call(
            f"{_TASKS}/Wait",
            pb.IdRequest(id=stored.record.id),
            pb.WaitResponse,
            title,
            namespace=stored.namespace,
            timeout=None,
        )
        return answer.exit_status

    async def _signal(self, stored: StoredContainer, title: str, number: int) -> None:
        if number == signals.SIGKILL:  # every process in its cgroup, and the first, which may have been moved out of it
            everything = pb.KillRequest(container_id=stored.record.id, signal=number, all=True)
            await self._call(stored, "Kill", everything, title)
        request = pb.KillRequest(container_id=stored.record.id, signal=number)
        with contextlib.suppress(*((NotFoundError,) if number == signals.SIGKILL else ())):
            await self._call(stored, "Kill", request, title)

    async def _delete_task(self, stored: StoredContainer, title: str) -> None:
        with contextlib.suppress(NotFoundError):
            await self._call(stored, "Delete", pb.IdRequest(id=stored.record.id), title)

    async def _call(self, stored: StoredContainer, verb: str, request: Any, title: str) -> None:
        await self._client.tell(f"{_TASKS}/{verb}", request, title, namespace=stored.namespace)

    async def _set_restart_status(self, stored: StoredContainer, title: str, *, running: bool) -> None:
        """Set the wanted state for containerd's restart monitor, if it manages this container."""
        labels = stored.record.labels
        if not labels.get(translate.RESTART_STATUS) and labels.get(translate.RESTART_POLICY, "no") == "no":
            return
        wanted = {
            translate.RESTART_STATUS: "running" if running else "stopped",
            translate.RESTART_STOPPED: "false" if running else "true",
        }
        await self._store.change(stored, title, labels=wanted)

    async def _note(self, stored: StoredContainer, title: str, **words: object) -> None:
        notes = {name: value for name, value in (translate.notes(stored.record) | words).items() if value}
        with contextlib.suppress(NotFoundError):
            await self._store.change(stored, title, notes=_packed(notes))

    @staticmethod
    def _require_live(stored: StoredContainer, title: str) -> None:
        if not stored.container.state.live:
            raise ConflictError(title, detail="it is not running")

    @staticmethod
    def _refuse_kubernetes(stored: StoredContainer, title: str) -> None:
        if translate.is_kubernetes(stored.record):
            raise UnsupportedError(
                title,
                detail="Kubernetes keeps its own account of this container and would lose track of it",
                hint="It can be stopped or killed here; kubectl and crictl do the rest",
            )


def creation(version: tuple[int, int]) -> dict[str, str]:
    """The fields of a spec that a container cannot be created with, for `Capabilities`."""
    unsupported = {"network": NO_NETWORK, "auto_remove": NO_REMOVAL, "storage_bytes": NO_STORAGE}
    return (
        unsupported if version >= MIN_RESTART_POLICIES_VERSION else {**unsupported, "restart_policy": ALWAYS_OR_NEVER}
    )


def _packed(notes: Mapping[str, object]) -> AnyMessage:
    return AnyMessage(type_url=NOTES, value=json.dumps(notes).encode())


def _notes(spec: ContainerSpec) -> dict[str, object]:
    """Fields that containerd's record lacks; as labels they could not be empty, since it drops empty labels."""
    empty = sorted(name for name, value in spec.labels.items() if not value)
    timeout = spec.stop_timeout if spec.stop_timeout != STOP_TIMEOUT_S else None
    return {name: value for name, value in (("empty labels", empty), ("stop timeout", timeout)) if value is not None}


def _labels(spec: ContainerSpec, version: tuple[int, int], title: str) -> dict[str, str]:
    """The labels of the record. Raises `UnsupportedError` for what neither containerd nor its monitor supports."""
    labels = dict(spec.labels)
    parse_signal(spec.stop_signal)
    if spec.stop_signal != "SIGTERM":
        labels[translate.STOP_SIGNAL] = spec.stop_signal
    if spec.storage_bytes:
        raise UnsupportedError(title, detail=NO_STORAGE, hint="Leave --storage-opt out")
    if spec.auto_remove:
        raise UnsupportedError(title, detail=NO_REMOVAL, hint="Leave --rm out")
    policy = spec.restart_policy.partition(":")[0]
    if policy not in ("no", "always") and version < MIN_RESTART_POLICIES_VERSION:
        raise UnsupportedError(title, detail=ALWAYS_OR_NEVER, hint="Use the restart policy always or no")
    if policy != "no":
        labels[translate.RESTART_POLICY] = spec.restart_policy
    return labels


def user_of(text: str, mounts: pb.MountsResponse) -> users.User:
    """The user, by /etc/passwd and /etc/group of a root file system that is not mounted yet. Blocking."""
    if text in ("", "0", "root"):
        return users.User(0, 0, (), "/root")
    layers = _layers(mounts)
    return users.find(text, _fields(layers, "etc/passwd"), _fields(layers, "etc/group"))


def _layers(mounts: pb.MountsResponse) -> list[str]:
    """The directories that make up the root, uppermost first."""
    directories: list[str] = []
    for mount in mounts.mounts:
        if mount.type == "bind":
            directories.append(mount.source)
        for option in mount.options:
            name, _, value = option.partition("=")
            if mount.type == "overlay" and name == "lowerdir":
                directories.extend(value.split(":"))
    return directories


def _fields(layers: list[str], path: str) -> list[list[str]]:
    for layer in layers:
        try:
            directory = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            found = users.fields(directory, path)
        finally:
            os.close(directory)
        if found is not None:
            return found
    return []
