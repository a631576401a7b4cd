"""The interface of a machine: engines, sweeps, inspection of its kernel, changes of limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from collectors.inspection.isolation import Isolation
from collectors.inspection.processes import Process
from collectors.sampling.frame import Frame, Usage
from collectors.sampling.target import Target
from runtime.engines.protocol import Engine
from runtime.errors import NotFoundError
from runtime.kernel.block import Disks
from runtime.limits import Finding, RawFile, ReclaimProgress
from runtime.limits.controllers.network import Shaping
from runtime.model import Container, ContainerRef, LimitChange, LimitOutcome, Limits, Missing
from tui.core.subject import EngineRef, Group, Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecentUsage:
    """The last usage of a container or group, and the mean of a metric over the last minute."""

    usage: Usage | None
    mean: Callable[[str], float | None]


@dataclass(frozen=True, slots=True)
class Preview:
    """The review of a change: the kernel's limits before it, and the findings."""

    before: Limits
    findings: tuple[Finding, ...]


class LimitReader(Protocol):
    """Reads limits from a machine's kernel; a container that has ended is no error."""

    async def limits(self, subject: Subject, *, network: bool = True) -> Limits:
        """All limits, each `Missing.GONE` when it is not live; network rates only with `network`."""
        ...

    async def parent_cpusets(self, subject: Subject) -> Limits:
        """The CPUs and memory nodes that the parent of its cgroup has; nothing else is read."""
        ...


class Inspection(LimitReader, Protocol):
    """Reads on demand about one container or group; nothing raises when it has ended, unless its docstring says so."""

    async def raw_limits(self, subject: Subject) -> tuple[RawFile, ...]:
        """Every limit file with its text."""
        ...

    async def shaping(self, subject: Subject) -> Shaping | Missing:
        """The queues that limit its network."""
        ...

    async def disks(self) -> Disks:
        """The machine's block devices."""
        ...

    async def preview(
        self, subject: Subject, change: LimitChange, recent: RecentUsage, others: Collection[Container] = ()
    ) -> Preview:
        """Review a change before it is made."""
        ...

    async def processes(self, container: Container) -> tuple[Process, ...]:
        """All processes inside; raises `ConflictError` while it is not live."""
        ...

    async def isolation(self, container: Container) -> Isolation:
        """Its isolation from the host; raises `ConflictError` while it is not live."""
        ...


class Host(Protocol):
    """One machine. Its refs have its name as `host`; it is called with such refs only."""

    @property
    def name(self) -> str:
        """As in `ContainerRef.host`: "" is the machine that this program runs on."""
        ...

    @property
    def engines(self) -> Mapping[str, Engine]:
        """By key."""
        ...

    @property
    def inspection(self) -> Inspection:
        """Reads from its kernel."""
        ...

    async def measure(
        self,
        targets: Callable[[], Sequence[Target]],
        on_frame: Callable[[Frame], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Sweep until cancelled; the callbacks run on the event loop."""
        ...

    def set_interval(self, seconds: float) -> None:
        """The time between two sweeps, from now on."""
        ...

    async def protect_self(self, subject: Subject, title: str) -> None:
        """Raise `RefusedError` when the process that would act, or what it was started from, runs in there."""
        ...

    async def change_group_limits(self, group: Group, change: LimitChange) -> LimitOutcome:
        """Change limits of a group's own cgroup, without an engine; the outcome is read back."""
        ...

    async def reclaim(
        self, subject: Subject, target_bytes: int, progress: Callable[[ReclaimProgress], None], stop: Event
    ) -> ReclaimProgress:
        """Reclaim memory until it uses no more than `target_bytes`; `progress` is called on the event loop."""
        ...

    async def close(self) -> None:
        """Close every descriptor."""
        ...


class Hosts(Mapping[str, Host]):
    """The hosts by name, and their engines."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self.engines: Mapping[EngineRef, Engine] = {
            EngineRef(name, key): engine for name, host in self._hosts.items() for key, engine in host.engines.items()
        }

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def engine(self, ref: ContainerRef) -> Engine:
        """The engine of a container; raises `NotFoundError` when there is none of this name."""
        engine = self.engines.get(EngineRef(ref.host, ref.engine))
        if engine is None:
            raise NotFoundError(f"look for {ref.short}", detail=f"there is no engine {ref.engine}")
        return engine

    async def close(self) -> None:
        """Close every host; one that fails does not keep the others open."""
        results = await asyncio.gather(*(host.close() for host in self.values()), return_exceptions=True)
        for name, result in zip(self, results, strict=True):
            if isinstance(result, Exception):
                log.error("closing host %r", name, exc_info=result)
