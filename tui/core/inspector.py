"""Inspection of one container or group of this machine: limits in the kernel, processes, isolation.

Blocking reads run in threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, TypeVar

from collectors.inspection import isolation, processes
from collectors.inspection.isolation import Isolation
from collectors.inspection.processes import Process
from collectors.sampling.frame import Usage
from collectors.sampling.network import network_namespace
from runtime import limits
from runtime.errors import UnsupportedError
from runtime.kernel import block, cgroupfs, own_cgroup, threads
from runtime.limits import RawFile, RecentUse
from runtime.limits.controllers import cpuset, network
from runtime.limits.controllers.network import Shaping
from runtime.model import Container, LimitChange, Limits, Missing
from tui.core.hosts.host import Preview, RecentUsage
from tui.core.permissions import state_conflict
from tui.core.subject import Subject, limit_target

T = TypeVar("T")

GONE: Final = Limits.of({}, absent=Missing.GONE)


class Inspector:
    """Finds a cgroup and reads it; the host's cgroup mounts are detected once."""

    def __init__(self) -> None:
        self._hierarchies: cgroupfs.Hierarchies | None = None

    def cgroup(self, subject: Subject) -> cgroupfs.Cgroup | None:
        """The cgroup that holds its limits, None when there is none (any more). Blocks."""
        target = limit_target(subject)
        if target is None:
            return None
        if self._hierarchies is None:
            self._hierarchies = cgroupfs.detect()
        if target.pid is None:
            return own_cgroup.at_path(target.cgroup, self._hierarchies)
        return own_cgroup.own_cgroup(self._hierarchies, target.pid, target.cgroup)

    async def limits(self, subject: Subject, *, network: bool = True) -> Limits:
        """The kernel's limits, `GONE` when there is no cgroup (any more); network rates only with `network`."""

        def read() -> Limits:
            cgroup = self.cgroup(subject)
            return GONE if cgroup is None else limits.read(cgroup, _network_pid(subject) if network else None)

        return await threads.acting(read)

    async def parent_cpusets(self, subject: Subject) -> Limits:
        """The CPUs and memory nodes that the parent of its cgroup has; nothing else is read."""

        def read() -> Limits:
            cgroup = self.cgroup(subject)
            if cgroup is None:
                return GONE
            return Limits(cpuset_cpus=cpuset.available(cgroup, "cpus"), cpuset_mems=cpuset.available(cgroup, "mems"))

        return await threads.acting(read)

    async def raw_limits(self, subject: Subject) -> tuple[RawFile, ...]:
        """Every limit file with its text; none when it is not live."""
        cgroup = await threads.acting(self.cgroup, subject)
        return () if cgroup is None else await threads.measuring(limits.raw_files, cgroup)

    async def shaping(self, subject: Subject) -> Shaping | Missing:
        """The queues that limit its network, with their counters."""
        pid = _network_pid(subject)
        return Missing.UNSUPPORTED if pid is None else await threads.acting(network.shaping, pid)

    async def disks(self) -> block.Disks:
        """The machine's block devices."""
        return await threads.measuring(block.disks)

    async def preview(
        self, subject: Subject, change: LimitChange, recent: RecentUsage, others: Collection[Container] = ()
    ) -> Preview:
        """Review a change; `others` are the live containers that may share its network."""
        before = await self.limits(subject)
        host = await threads.acting(limits.host_facts)
        use = await threads.acting(self._use_now, subject)
        if recent.usage is not None:
            use = _recent(recent.usage, recent.mean, use)
        if limits.asks_network(change):
            use = replace(use, sharing=await threads.acting(_sharing, subject, others))
        return Preview(before, tuple(limits.review(change, before, host, use)))

    def _use_now(self, subject: Subject) -> RecentUse:
        """What the change is judged by when it is made; a preview that counts otherwise promises what is refused."""
        cgroup = self.cgroup(subject)
        return RecentUse() if cgroup is None else limits.recent_use(cgroup)

    async def processes(self, container: Container) -> tuple[Process, ...]:
        """All processes inside."""
        return await threads.waiting(processes.processes, _pid(container), container.cgroup)

    async def isolation(self, container: Container) -> Isolation:
        """Its isolation from the host."""
        return await threads.waiting(isolation.isolation, _pid(container))


def _network_pid(subject: Subject) -> int | None:
    """The process whose network namespace has the rates; None for a group."""
    target = limit_target(subject)
    return None if target is None else target.pid


def _pid(container: Container) -> int:
    if container.pid is None:
        title = f"look into {container.name}"
        if container.state.live:
            detail = container.unplaced or "which process is its first is not known"
            raise UnsupportedError(title, detail=detail)
        raise state_conflict(title, container.state)
    return container.pid


def _sharing(subject: Subject, others: Collection[Container]) -> tuple[str, ...]:
    """The names of containers in the same network namespace."""
    pid = _network_pid(subject)
    own = Missing.GONE if pid is None else network_namespace(pid)
    if isinstance(own, Missing):
        return ()
    return tuple(sorted(each.name for each in others if each.pid is not None and network_namespace(each.pid) == own))


def _recent(usage: Usage, mean: Callable[[str], float | None], now: RecentUse) -> RecentUse:
    """Means of what was measured, and what is in use now; of what cannot be read now, as it was measured last."""
    sent, received = mean("net_tx"), mean("net_rx")
    return RecentUse(
        cpu=mean("cpu"),
        cpu_waited=(mean("throttled") or 0.0) + (mean("waiting") or 0.0),  # what waits for others would use one core
        sent=None if sent is None else sent * 8,
        received=None if received is None else received * 8,
        memory=_known(usage.memory) if now.memory is None else now.memory,
        anon=_known(usage.anon) if now.memory is None else now.anon,
        file=_known(usage.file) if now.memory is None else now.file,
        swap=now.swap,
        pids=_known(usage.pids) if now.pids is None else now.pids,
    )


def _known(value: T | Missing) -> T | None:
    return None if isinstance(value, Missing) else value
