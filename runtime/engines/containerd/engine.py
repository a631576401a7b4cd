"""containerd as an `Engine`: acts through its gRPC API, and reads limits back from the kernel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict

from runtime import limits
from runtime.engines.containerd import logs, resources, translate
from runtime.engines.containerd.address import Address
from runtime.engines.containerd.client import ContainerdClient
from runtime.engines.containerd.hooks import ContainerdLimits, Document
from runtime.engines.containerd.images import ContainerdImages
from runtime.engines.containerd.lifecycle import ContainerdLifecycle, creation
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.containerd.store import MetadataStore, StoredContainer
from runtime.engines.daemon.changing_limits import (
    LimitChanger,
    baseline_of,
    refuse_at_rest,
    refuse_unsupported,
)
from runtime.engines.daemon.limit_hooks import DaemonContainer
from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    PytopError,
    UnavailableError,
)
from runtime.kernel import cgroupfs, threads
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    Image,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    LogLine,
)
from runtime.oci import resources as oci


class ContainerdEngine:
    """One containerd daemon. Usable again after the daemon was restarted."""

    def __init__(self, address: Address, *, top: Path = logs.TOP) -> None:
        """Logs of containers that are started here are stored below `top`."""
        self.address = address
        self._top = top / address.key
        self._client = ContainerdClient(address.socket)
        self._store = MetadataStore(self._client, address)
        self._lifecycle = ContainerdLifecycle(self._client, self._store, address.snapshotter, self._top)
        self._images = ContainerdImages(self._client, self._store.home, address.snapshotter)
        self._hierarchies = cgroupfs.detect()
        hooks = ContainerdLimits(self._client, self._store, self._read)
        self._limits = LimitChanger(hooks, self._hierarchies)

    @property
    def key(self) -> str:
        return self.address.key

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def close(self) -> None:
        self._client.close()

    async def info(self) -> EngineInfo:
        names = await self._store.namespaces()
        return EngineInfo(
            key=self.key,
            product="containerd",
            version=await self._version(),
            endpoint=str(self.address.socket),
            detail={"namespaces": ", ".join(sorted(names)) or "none yet", "found by": self.address.origin},
        )

    async def _version(self) -> str:
        answer = await self._client.call(
            "version.v1.Version/Version", Empty(), pb.VersionResponse, "reach containerd", timeout=10
        )
        return answer.version

    async def capabilities(self) -> Capabilities:
        unsupported = await threads.waiting(limits.unsupported_limits, self._hierarchies)
        made = creation(_numbers(await self._version()))
        return Capabilities(limits=unsupported, creation=made, unrecorded=frozenset({LimitName.IO_WEIGHT}))

    # lists

    async def containers(self) -> list[Container]:
        return await threads.waiting(self._store.with_host_data, await self._store.all())

    async def get(self, key: str) -> Container:
        return await self._with_host_data(await self._store.find(key, f"look at container {key}"))

    async def inspect(self, key: str) -> Mapping[str, Any]:
        stored = await self._store.find(key, f"look at container {key}")
        plain = pb.Container()
        plain.CopyFrom(stored.record)
        for field in ("spec", "extensions", "runtime"):  # messages of unknown types
            plain.ClearField(field)
        task = MessageToDict(stored.process, preserving_proto_field_name=True) if stored.process is not None else None
        return {
            "ref": stored.container.ref.id,
            "namespace": stored.namespace,
            "container": MessageToDict(plain, preserving_proto_field_name=True),
            "runtime": stored.record.runtime.name,
            "task": task,
            "spec": translate.document(stored.record.spec),
        }

    def events(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        stream = self._client.stream(
            "events.v1.Events/Subscribe", pb.SubscribeRequest(), pb.Envelope, "follow containerd"
        )
        async for envelope in stream:
            event = translate.event(envelope, self.key) if self._store.shows(envelope.namespace) else None
            if event is not None:
                yield event
        raise UnavailableError("follow containerd", detail="it ended its stream of events")

    async def images(self) -> list[Image]:
        return await self._images.list()

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        return await self._images.make(name, rootfs)

    async def remove_image(self, name: str) -> None:
        await self._images.remove(name)

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        limits.validate(spec.limits)
        document: dict[str, Any] = {}
        if spec.limits:
            refuse_unsupported(spec.limits, await self.capabilities())
            document = await threads.acting(self._initial_limits, spec.limits)
        identity = await self._lifecycle.create(spec, document, _numbers(await self._version()))
        return translate.ref(self.key, self._store.home, identity)

    async def start(self, key: str) -> None:
        await self._lifecycle.start(await self._store.find(key, f"start container {key}"))

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await self._lifecycle.stop(await self._store.find(key, f"stop container {key}"), timeout)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        title = f"restart container {key}"
        stored = await self._store.find(key, title)
        await self._lifecycle.stop(stored, timeout)
        await self._lifecycle.start(await self._store.get(stored.namespace, stored.record.id, title))

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._lifecycle.kill(await self._store.find(key, f"kill container {key}"), signal)

    async def pause(self, key: str) -> None:
        await self._lifecycle.pause(await self._store.find(key, f"pause container {key}"), "Pause")

    async def unpause(self, key: str) -> None:
        await self._lifecycle.pause(await self._store.find(key, f"unpause container {key}"), "Resume")

    async def remove(self, key: str, *, force: bool = False) -> None:
        await self._lifecycle.remove(await self._store.find(key, f"remove container {key}"), force=force)

    async def wait(self, key: str) -> int:
        title = f"wait for container {key}"
        stored = await self._store.find(key, title)
        if stored.process is None:
            raise ConflictError(title, detail="it has not been started")
        return await self._lifecycle.wait(stored, title)

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        title = f"read the log of container {key}"
        stored = await self._store.find(key, title)
        owners = self._client.peer.owners
        log = await threads.waiting(logs.find, stored.record, stored.process, self._top, stored.namespace, owners)
        over = asyncio.Event()

        async def end() -> None:
            try:
                await self._lifecycle.wait(stored, title)
            except PytopError:
                pass
            finally:
                over.set()

        waiting = asyncio.create_task(end()) if follow and stored.container.state.live else None
        if not stored.container.state.live:
            over.set()
        try:
            async for line in logs.lines(log, follow=follow, tail=tail, ended=over.is_set):
                yield line
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    # limits

    async def recorded(self, key: str) -> Limits:
        stored = await self._store.find(key, f"look at container {key}")
        return await threads.waiting(self._persisted_limits, translate.document(stored.record.spec))

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        return await self._limits.change(key, change)

    async def _read(self, key: str) -> DaemonContainer[Document]:
        stored = await self._store.find(key, f"change limits of container {key}")
        capabilities = Capabilities(limits=await threads.acting(limits.unsupported_limits, self._hierarchies))
        document = Document(stored, translate.document(stored.record.spec))
        return DaemonContainer(await self._with_host_data(stored), document, capabilities, None, self._cgroup_v2)

    @property
    def _cgroup_v2(self) -> bool:
        return "memory" not in self._hierarchies.v1

    def _persisted_limits(self, spec: Mapping[str, Any]) -> Limits:
        """Blocking."""
        return resources.persisted_limits(spec, limits.host_facts(), cgroup_v2=self._cgroup_v2)

    def _initial_limits(self, change: LimitChange) -> dict[str, Any]:
        """The OCI resources of a new container. Blocking. Raises `RefusedError` and `UnsupportedError`."""
        baseline = baseline_of(self._persisted_limits({}), None, ncpu=None, cgroup_v2=self._cgroup_v2)
        refuse_at_rest(change, baseline, ContainerdLimits.kernel_only, ContainerdLimits.name)
        return oci.initial_resources(change, baseline)

    async def _with_host_data(self, stored: StoredContainer) -> Container:
        return (await threads.acting(self._store.with_host_data, [stored]))[0]


def _numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a version such as v1.7.24 or 1.6.20~ds1."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match is not None else (0, 0)
