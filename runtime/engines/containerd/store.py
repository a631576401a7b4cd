"""containerd's metadata store and tasks: lists, reads and finds containers, and changes their records."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty

from runtime.engines.containerd import translate
from runtime.engines.containerd.address import DEFAULT_NAMESPACE, Address
from runtime.engines.containerd.client import ContainerdClient
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.daemon.peer import Peer
from runtime.engines.daemon.placement import with_own_cgroup
from runtime.errors import ConflictError, InvalidError, NotFoundError
from runtime.kernel import cgroupfs, own_cgroup, procfs
from runtime.model import Container

_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class StoredContainer:
    """One container; `engine` is the key of its containerd, `process` its task's process, None without a task."""

    engine: str
    namespace: str
    record: pb.Container
    process: pb.Process | None

    @property
    def container(self) -> Container:
        return translate.container(self.engine, self.namespace, self.record, self.process)


class MetadataStore:
    """Reads records and tasks, and changes records."""

    def __init__(self, client: ContainerdClient, address: Address, *, proc: Path = Path("/proc")) -> None:
        self._client = client
        self._address = address
        self._proc = proc
        self._hierarchies = cgroupfs.detect()

    @property
    def home(self) -> str:
        """The namespace in which containers are created."""
        return self._address.namespace or DEFAULT_NAMESPACE

    async def namespaces(self) -> list[str]:
        """The names of the namespaces that are listed."""
        if self._address.namespace:
            return [self._address.namespace]
        answer = await self._client.call(
            "namespaces.v1.Namespaces/List",
            pb.ListNamespacesRequest(),
            pb.ListNamespacesResponse,
            "list containerd's namespaces",
        )
        return [entry.name for entry in answer.namespaces if self.shows(entry.name)]

    def shows(self, namespace: str) -> bool:
        if self._address.namespace:
            return namespace == self._address.namespace
        return namespace not in self._address.hidden

    async def all(self) -> list[StoredContainer]:
        """Every container of the namespaces that are listed."""
        lists = await asyncio.gather(*(self._list(namespace) for namespace in await self.namespaces()))
        return [stored for part in lists for stored in part]

    async def _list(self, namespace: str) -> list[StoredContainer]:
        records, tasks = await asyncio.gather(self._records(namespace), self._tasks(namespace))
        return [StoredContainer(self._address.key, namespace, record, tasks.get(record.id)) for record in records]

    async def _records(self, namespace: str) -> list[pb.Container]:
        """The records, each requested alone: all OCI specs together may exceed the maximum size of a message."""
        stream = self._client.stream(
            "containers.v1.Containers/ListStream",
            pb.ListContainersRequest(),
            pb.ContainerMessage,
            "list containerd's containers",
            namespace=namespace,
        )
        return [message.container async for message in stream]

    async def _tasks(self, namespace: str) -> dict[str, pb.Process]:
        answer = await self._client.call(
            "tasks.v1.Tasks/List",
            pb.ListTasksRequest(),
            pb.ListTasksResponse,
            "list containerd's tasks",
            namespace=namespace,
        )
        return {task.container_id or task.id: task for task in answer.tasks}

    async def find(self, key: str, title: str) -> StoredContainer:
        """Find a container by "namespace/id", id, name, or the beginning of an id, in this order.

        Raises `NotFoundError`, and `ConflictError` when several match.
        """
        namespace, slash, identity = key.partition("/")
        if slash and identity and self.shows(namespace):
            with contextlib.suppress(NotFoundError, InvalidError):
                return await self.get(namespace, identity, title)
        everything = await self.all()
        tests: Sequence[Callable[[StoredContainer], bool]] = (
            lambda stored: stored.record.id == key,
            lambda stored: stored.container.name == key,
            lambda stored: bool(key) and stored.record.id.startswith(key),
            lambda stored: bool(key) and f"{stored.namespace}/{stored.record.id}".startswith(key),
        )
        for test in tests:
            fits = [stored for stored in everything if test(stored)]
            if len(fits) == 1:
                return fits[0]
            if fits:
                words = ", ".join(f"{stored.namespace}/{stored.record.id}" for stored in fits[:5])
                raise ConflictError(title, detail=f"{key} fits several: {words}", hint="Say NAMESPACE/ID")
        raise NotFoundError(title, detail=f"containerd has no container {key}")

    async def get(self, namespace: str, identity: str, title: str) -> StoredContainer:
        """One container by its namespace and id."""
        record, process = await asyncio.gather(
            self.record(namespace, identity, title), self.process(namespace, identity, title)
        )
        return StoredContainer(self._address.key, namespace, record, process)

    async def record(self, namespace: str, identity: str, title: str) -> pb.Container:
        """A container's record, without its task."""
        answer = await self._client.call(
            "containers.v1.Containers/Get",
            pb.IdRequest(id=identity),
            pb.ContainerMessage,
            title,
            namespace=namespace,
        )
        return answer.container

    async def process(self, namespace: str, identity: str, title: str) -> pb.Process | None:
        """The task's process; None when there is no task."""
        try:
            answer = await self._client.call(
                "tasks.v1.Tasks/Get", pb.IdRequest(id=identity), pb.GetTaskResponse, title, namespace=namespace
            )
        except NotFoundError:
            return None
        return answer.process

    async def add(self, namespace: str, record: pb.Container, title: str) -> None:
        """Add a record. Raises `ConflictError` for an id that exists, `InvalidError` for a malformed one."""
        request = pb.ContainerMessage(container=record)
        await self._client.call(
            "containers.v1.Containers/Create", request, pb.ContainerMessage, title, namespace=namespace
        )

    async def change(self, stored: StoredContainer, title: str, **fields: object) -> None:
        """Change fields of a record: `spec`, `notes` (this program's extension) or `labels` (the named ones)."""
        request = pb.UpdateContainerRequest(container=pb.Container(id=stored.record.id))
        for name, value in fields.items():
            if name == "labels" and isinstance(value, dict):
                request.container.labels.update(value)
                request.update_mask.paths.extend(f"labels.{label}" for label in value)
            elif isinstance(value, AnyMessage):
                if name == "spec":
                    request.container.spec.CopyFrom(value)
                    request.update_mask.paths.append("spec")
                else:
                    request.container.extensions[translate.EXTENSION].CopyFrom(value)
                    request.update_mask.paths.append(f"extensions.{translate.EXTENSION}")
        await self._client.call("containers.v1.Containers/Update", request, Empty, title, namespace=stored.namespace)

    def with_host_data(self, everything: Sequence[StoredContainer]) -> list[Container]:
        """The containers with pid and cgroup as this machine's /proc has them. Blocking.

        A pid is not valid here when containerd is in another PID namespace (a node in a container).
        """
        peer = self._client.peer
        return [self._with_host_data(stored, peer) for stored in everything]

    def _with_host_data(self, stored: StoredContainer, peer: Peer) -> Container:
        container, text = stored.container, ""
        if container.pid is None:
            return replace(container, trusted=peer.trusted)
        with contextlib.suppress(OSError):  # it has ended, is hidden, or is of another machine
            text = (self._proc / str(container.pid) / "cgroup").read_text(errors="replace")
        path = translate.cgroup_path(translate.document(stored.record.spec))
        own = (path and _up_to(text, path)) or own_cgroup.named(text, stored.record.id)
        placed = with_own_cgroup(container, own, peer, self._hierarchies, self._proc)
        ticks = procfs.start_time(placed.pid, proc=self._proc) if placed.pid is not None else None
        booted = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return placed if ticks is None else replace(placed, started_ns=booted + ticks * _TICK_NS)


def _up_to(text: str, path: str) -> str:
    """The path in /proc/<pid>/cgroup up to and including `path`, which may be below another cgroup; "" for none."""
    v1, unified = cgroupfs.parse_proc_cgroup(text)
    for place in (*v1.values(), unified or ""):
        begin = f"{place}/".find(f"{path}/")
        if begin >= 0:
            return place[: begin + len(path)]
    return ""
