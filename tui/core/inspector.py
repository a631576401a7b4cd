"""Looks at one live container from outside: limits as the kernel holds them, processes, isolation.

What blocks runs in a thread, and the modules that do it are imported when they are first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from collectors.sampling.frame import Usage
from runtime.errors import ConflictError
from runtime.kernel import block, cgroupfs, own_cgroup
from runtime.model import Container, LimitChange, LimitOutcome, Limits, Missing
from tui.core.groups import GROUP
from tui.core.permissions import STATE_WORDS

if TYPE_CHECKING:
    from collectors.inspection.isolation import Isolation
    from collectors.inspection.processes import Process
    from runtime.limits import Finding, Progress, RawFile, RecentUse
    from runtime.limits.controllers.network import Shaping

T = TypeVar("T")

GONE = Limits.of({}, absent=Missing.GONE)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would meet: the limits as the kernel holds them, and what there is to say about it."""

    before: Limits
    findings: tuple[Finding, ...]


class Looking:
    """Finds a container's cgroup and reads it; knows the host's cgroup mounts after the first look."""

    def __init__(self) -> None:
        self._hierarchies: cgroupfs.Hierarchies | None = None

    async def limits(self, container: Container, *, network: bool = True) -> Limits:
        """What the kernel holds, `GONE` when there is no cgroup (any more); those of the network only where asked."""
        return await asyncio.to_thread(self._limits, container, network)

    def _limits(self, container: Container, network: bool) -> Limits:
        from runtime import limits

        cgroup = self._cgroup(container)
        return GONE if cgroup is None else limits.read(cgroup, _of_network(container) if network else None)

    async def above(self, container: Container) -> Limits:
        """The CPUs and memory nodes that the parent of its cgroup has; nothing else is read."""
        return await asyncio.to_thread(self._above, container)

    def _above(self, container: Container) -> Limits:
        from runtime.limits.controllers import cpuset

        cgroup = self._cgroup(container)
        if cgroup is None:
            return GONE
        return Limits(cpuset_cpus=cpuset.available(cgroup, "cpus"), cpuset_mems=cpuset.available(cgroup, "mems"))

    async def change(self, container: Container, change: LimitChange) -> LimitOutcome:
        """Change limits of a group's own cgroup, for which no engine answers."""
        return await asyncio.to_thread(self._change, container, change)

    def _change(self, container: Container, change: LimitChange) -> LimitOutcome:
        from runtime import limits

        cgroup, title = self._cgroup(container), f"change the limits of {container.name}"
        if cgroup is None:
            raise ConflictError(title, detail="it has no cgroup of its own now")
        _keep_off(title, cgroup)
        return limits.change(container.ref, cgroup, change)

    async def shaping(self, container: Container) -> Shaping | Missing:
        """The queues that limit the network of a container."""
        from runtime.limits.controllers import network

        pid = _of_network(container)
        return Missing.UNSUPPORTED if pid is None else await asyncio.to_thread(network.shaping, pid)

    async def disks(self) -> block.Disks:
        """The machine's block devices."""
        return await asyncio.to_thread(block.disks)

    async def raw(self, container: Container) -> tuple[RawFile, ...]:
        """Every limit file with its text."""
        from runtime import limits

        cgroup = await asyncio.to_thread(self._cgroup, container)
        return () if cgroup is None else await asyncio.to_thread(limits.raw, cgroup)

    async def preview(
        self,
        container: Container,
        change: LimitChange,
        usage: Usage | None,
        mean: Callable[[str], float | None],
        others: Collection[Container] = (),
    ) -> Preview:
        """Judge a change; `usage` is the last one, `mean` gives that of a metric over the last minute."""
        from runtime import limits

        before = await self.limits(container)
        host = await asyncio.to_thread(limits.host_facts)
        use = _recent(usage, mean) if usage is not None else limits.RecentUse()
        if limits.asks_network(change):
            use = replace(use, sharing=await asyncio.to_thread(_sharing, container, others))
        return Preview(before, tuple(limits.review(change, before, host, use)))

    async def shrink(
        self, container: Container, target: int, progress: Callable[[Progress], None], stop: Event
    ) -> Progress:
        """Take memory away until it uses no more than `target` bytes; `progress` is called on the event loop."""
        from runtime import limits

        cgroup = await asyncio.to_thread(self._cgroup, container)
        if cgroup is None:
            raise ConflictError(f"reclaim memory of {container.name}", detail=STATE_WORDS[container.state])
        if container.found:
            await asyncio.to_thread(_keep_off, f"reclaim memory of {container.name}", cgroup)
        loop = asyncio.get_running_loop()

        def tell(so_far: Progress) -> None:
            loop.call_soon_threadsafe(progress, so_far)

        return await asyncio.to_thread(limits.shrink, cgroup, target, progress=tell, stop=stop)

    def _cgroup(self, container: Container) -> cgroupfs.Cgroup | None:
        if container.pid is None:
            return None
        if self._hierarchies is None:
            self._hierarchies = cgroupfs.detect()
        if container.ref.engine == GROUP:
            return own_cgroup.at_path(container.cgroup, self._hierarchies)
        return own_cgroup.own_cgroup(self._hierarchies, container.pid, container.cgroup)


def _keep_off(title: str, cgroup: cgroupfs.Cgroup) -> None:
    """No engine looks after this cgroup: refuse what would hit this program itself."""
    from runtime.engines.found.self_protection import protect_self

    protect_self(title, cgroup)


def _of_network(container: Container) -> int | None:
    """The process by which limits of the network are found; a group has none."""
    return None if container.ref.engine == GROUP else container.pid


async def processes(container: Container) -> tuple[Process, ...]:
    """Everything that runs inside."""
    from collectors.inspection.processes import processes

    return await asyncio.to_thread(processes, _pid(container), container.cgroup)


async def isolation(container: Container) -> Isolation:
    """How it is kept apart from the host."""
    from collectors.inspection.isolation import isolation

    return await asyncio.to_thread(isolation, _pid(container))


def _pid(container: Container) -> int:
    if container.pid is None:
        raise ConflictError(f"look into {container.name}", detail=STATE_WORDS[container.state])
    return container.pid


def _sharing(container: Container, others: Collection[Container]) -> tuple[str, ...]:
    """The names of those that are in the same network namespace."""
    from collectors.sampling.network import network_namespace

    own = Missing.GONE if _of_network(container) is None or container.pid is None else network_namespace(container.pid)
    if isinstance(own, Missing):
        return ()
    return tuple(sorted(each.name for each in others if each.pid is not None and network_namespace(each.pid) == own))


def _recent(usage: Usage, mean: Callable[[str], float | None]) -> RecentUse:
    from runtime.limits import RecentUse

    sent, received = mean("net_tx"), mean("net_rx")
    return RecentUse(
        cpu=mean("cpu"),
        sent=None if sent is None else sent * 8,
        received=None if received is None else received * 8,
        memory=_known(usage.memory),
        anon=_known(usage.anon),
        file=_known(usage.file),
        pids=_known(usage.pids),
    )


def _known(value: T | Missing) -> T | None:
    return None if isinstance(value, Missing) else value
