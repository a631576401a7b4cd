"""containerd as an `Engine`: its gRPC API for what it can do, the kernel for reading back what it did."""

from __future__ import annotations

import asyncio
import json
import re
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict

from runtime import limits
from runtime.engines.containerd import logs, resources, translate
from runtime.engines.containerd.address import Address
from runtime.engines.containerd.client import Client
from runtime.engines.containerd.images import ContainerdImages
from runtime.engines.containerd.life import SPEC, Life, creation
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.containerd.store import Found, Store
from runtime.engines.containerd.update import (
    Before,
    at_rest,
    before,
    forbids,
    packed,
    refuse_at_rest,
    replaced,
    unrecorded,
)
from runtime.engines.daemon import settle as settling
from runtime.engines.daemon.placement import cgroup_of
from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Cgroup
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
    """One containerd. Works on through the daemon's death and return."""

    def __init__(self, address: Address, *, top: Path = logs.TOP) -> None:
        """In a folder of `top` the output of containers is kept that are started here."""
        self.address = address
        self._top = top / address.key
        self._client = Client(address.socket)
        self._store = Store(self._client, address)
        self._life = Life(self._client, self._store, address.snapshotter, self._top)
        self._images = ContainerdImages(self._client, self._store.home, address.snapshotter)
        self._hierarchies = cgroupfs.detect()
        self._changes: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

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
        lacking = await asyncio.to_thread(limits.unsupported_limits, self._hierarchies)
        made = creation(_numbers(await self._version()))
        return Capabilities(limits=lacking, creation=made, unrecorded=frozenset({LimitName.IO_WEIGHT}))

    # what is there

    async def containers(self) -> list[Container]:
        return await asyncio.to_thread(self._store.here, await self._store.all())

    async def get(self, key: str) -> Container:
        return await self._here(await self._store.find(key, f"look at container {key}"))

    async def inspect(self, key: str) -> Mapping[str, Any]:
        found = await self._store.find(key, f"look at container {key}")
        plain = pb.Container()
        plain.CopyFrom(found.record)
        for field in ("spec", "extensions", "runtime"):  # messages of types that are not known here
            plain.ClearField(field)
        task = MessageToDict(found.process, preserving_proto_field_name=True) if found.process is not None else None
        return {
            "ref": found.container.ref.id,
            "namespace": found.namespace,
            "container": MessageToDict(plain, preserving_proto_field_name=True),
            "runtime": found.record.runtime.name,
            "task": task,
            "spec": translate.document(found.record.spec),
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
            self._permit(spec.limits, await self.capabilities())
            held = (await asyncio.to_thread(self._before, {}, None, None)).held
            refuse_at_rest(spec.limits, Before(held, {}))
            document = oci.initial_resources(spec.limits, held)
        identity = await self._life.create(spec, document, _numbers(await self._version()))
        return translate.ref(self.key, self._store.home, identity)

    async def start(self, key: str) -> None:
        await self._life.start(await self._store.find(key, f"start container {key}"))

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await self._life.stop(await self._store.find(key, f"stop container {key}"), timeout)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        title = f"restart container {key}"
        found = await self._store.find(key, title)
        await self._life.stop(found, timeout)
        await self._life.start(await self._store.look(found.namespace, found.record.id, title))

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._life.kill(await self._store.find(key, f"kill container {key}"), signal)

    async def pause(self, key: str) -> None:
        await self._life.pause(await self._store.find(key, f"pause container {key}"), "Pause")

    async def unpause(self, key: str) -> None:
        await self._life.pause(await self._store.find(key, f"unpause container {key}"), "Resume")

    async def remove(self, key: str, *, force: bool = False) -> None:
        await self._life.remove(await self._store.find(key, f"remove container {key}"), force=force)

    async def wait(self, key: str) -> int:
        title = f"wait for container {key}"
        found = await self._store.find(key, title)
        if found.process is None:
            raise ConflictError(title, detail="it has not been started")
        return await self._life.wait(found, title)

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        title = f"read the log of container {key}"
        found = await self._store.find(key, title)
        log = await asyncio.to_thread(logs.find, found.record, found.process, self._top, found.namespace)
        over = asyncio.Event()

        async def end() -> None:
            try:
                await self._life.wait(found, title)
            except PytopError:
                pass
            finally:
                over.set()

        waiting = asyncio.create_task(end()) if follow and found.container.state.live else None
        if not found.container.state.live:
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
        found = await self._store.find(key, f"look at container {key}")
        record: Before = await asyncio.to_thread(self._before, translate.document(found.record.spec), None, None)
        return record.held.before

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        title = f"change limits of container {key}"
        if not change:
            raise InvalidError(title, detail="nothing was asked for")
        limits.validate(change)
        found = await self._store.find(key, title)
        # At rest it is the record alone that is read and written, which two clients must not do within each other.
        held = await self._own_cgroup(await self._here(found)) or self.address.socket.parent
        async with self._changes.setdefault(found.container.ref.id, asyncio.Lock()), limits.change_lock(held, title):
            return await self._update(await self._store.look(found.namespace, found.record.id, title), change, title)

    async def _update(self, found: Found, change: LimitChange, title: str) -> LimitOutcome:
        self._permit(change, await self.capabilities())
        spec = translate.document(found.record.spec)
        if reason := forbids(found.record, spec, change):
            raise UnsupportedError(title, detail=reason)
        container = await self._here(found)
        cgroup = await self._own_cgroup(container)
        earlier = await asyncio.to_thread(self._before, spec, cgroup, container.pid)
        document = oci.resources(change, earlier.held)
        if cgroup is None:
            return await self._update_record(found, change, earlier, document, title)
        await asyncio.to_thread(limits.check, cgroup, change, earlier.held.before, pid=container.pid)
        async with settling.room(cgroup, change):
            refused = await self._tell(found, document, title) if document else ""
        ours = not translate.is_kubernetes(found.record)
        wanted = resources.amended(spec, document) if ours and document else spec
        record = (await asyncio.to_thread(self._before, spec, None, None)).held.before
        after = (await asyncio.to_thread(self._before, wanted, None, None)).held.before
        outcome = await asyncio.to_thread(
            lambda: settling.settle(
                container.ref,
                cgroup,
                change,
                earlier.held.before,
                after,
                earlier=record,
                name="containerd",
                refused=refused,
                pid=container.pid,
            )
        )
        if outcome.error:
            outcome = await self._take_back(found, outcome, cgroup, container.pid, earlier)
        if not ours:
            return replaced(outcome)
        if wanted is spec:
            return outcome
        try:
            if outcome.ok:  # the record follows the kernel
                await self._record(found, document, title)
                return outcome
            why = "it keeps what was before"
        except PytopError as error:
            why = str(error)
        return unrecorded(outcome, record, why)

    async def _take_back(
        self, found: Found, outcome: LimitOutcome, cgroup: Cgroup, pid: int | None, earlier: Before
    ) -> LimitOutcome:
        """Out of what the OCI runtime keeps of the task, and then out of the kernel; the record has not heard of it."""
        stuck: list[str] = []
        now = await asyncio.to_thread(limits.read, cgroup)
        back = settling.back([field.name for field in outcome.fields], earlier.held.before, now)
        document = oci.resources(back, replace(earlier.held, before=now))
        if document:
            refused = await self._tell(found, document, "take a change of limits back")
            stuck += [refused] if refused else []
        record = (await asyncio.to_thread(self._before, earlier.spec, None, None)).held.before
        return await asyncio.to_thread(
            lambda: settling.take_back(outcome, cgroup, earlier.held.before, record, stuck=stuck, pid=pid)
        )

    async def _update_record(
        self, found: Found, change: LimitChange, earlier: Before, document: Mapping[str, Any], title: str
    ) -> LimitOutcome:
        """The change of a container that has no cgroup here: it is for the next start, or its task is elsewhere."""
        refuse_at_rest(change, earlier)
        if translate.is_kubernetes(found.record):
            raise UnsupportedError(title, detail="it is not running, and Kubernetes makes a new one")
        live = found.container.state.live
        refused = await self._tell(found, document, title) if live else ""
        if refused:
            raise EngineError(title, detail=refused)
        wanted = resources.amended(earlier.spec, document)
        await self._record(found, document, title)
        after = (await asyncio.to_thread(self._before, wanted, None, None)).held.before
        detail = "its processes are not on this machine" if live else "for the next start"
        return at_rest(found.container.ref, change, earlier, after, detail)

    async def _record(self, found: Found, document: Mapping[str, Any], title: str) -> None:
        """Write a change into the container's OCI spec as it is now: another client may have changed it meanwhile."""
        now = (await self._store.look(found.namespace, found.record.id, title)).record.spec
        spec = resources.amended(translate.document(now), document)
        whole = AnyMessage(type_url=now.type_url or SPEC, value=json.dumps(spec).encode())
        await self._store.change(found, title, spec=whole)

    async def _tell(self, found: Found, document: Mapping[str, Any], title: str) -> str:
        """Have the OCI runtime change the running task; what it answered if it did not."""
        request = pb.UpdateTaskRequest(container_id=found.record.id, resources=packed(document))
        try:
            await self._client.tell("tasks.v1.Tasks/Update", request, title, namespace=found.namespace)
        except (EngineError, InvalidError, NotFoundError) as error:
            return error.detail
        return ""

    def _permit(self, change: LimitChange, capabilities: Capabilities) -> None:
        for name, _ in change.items():
            reason = capabilities.why_not(name)
            if reason is not None:
                raise UnsupportedError(f"set {name.value.replace('_', ' ')}", detail=reason)

    def _before(self, spec: Mapping[str, Any], cgroup: Cgroup | None, pid: int | None) -> Before:
        """Blocking."""
        kernel = limits.read(cgroup, pid) if cgroup is not None else None
        v2 = "memory" not in self._hierarchies.v1
        return before(spec, kernel, limits.host_facts(), cgroup_v2=v2)

    async def _here(self, found: Found) -> Container:
        return (await asyncio.to_thread(self._store.here, [found]))[0]

    async def _own_cgroup(self, container: Container) -> Cgroup | None:
        return await asyncio.to_thread(cgroup_of, container, self._client.peer, self._hierarchies)


def _numbers(version: str) -> tuple[int, int]:
    """Of v1.7.24 or 1.6.20~ds1 the first two numbers."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match is not None else (0, 0)
