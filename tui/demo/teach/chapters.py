"""The chapters: each makes a container, and yields what it shows about it; it ends within two minutes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from runtime.kernel import procfs, threads
from runtime.model import LimitChange, LimitName, Missing, Verb
from tui.demo.teach.lesson import SAMPLE_INTERVAL_S, Fact, Lesson, Pupil, Reading, Remark, Shown
from tui.present import format as fmt

MEMORY_LIMIT_BYTES: Final = 64 * 1024 * 1024
MAX_FILL_S: Final = 40.0
QUOTA_CORES: Final = 0.2
WATCH_S: Final = 5.0  # each state of the hog
NAMESPACES: Final = ("mnt", "pid", "net", "ipc", "uts", "cgroup")


async def namespaces(lesson: Lesson) -> AsyncIterator[Shown]:
    """A process with another view: its pid, its host's name, its root, its processes and interfaces."""
    async with lesson.running("introduce.py") as pupil:
        inside = await pupil.first_line()
        host = await threads.waiting(_host_view, pupil.pid)
        yield Fact("pid", host["pid"], host["inner_pid"])
        yield Fact("hostname", host["hostname"], str(inside["hostname"]))
        yield Fact("root", host["root"], _root(inside["root"]))
        yield Fact("processes", host["processes"], str(inside["processes"]))
        yield Fact("interfaces", host["interfaces"], ", ".join(inside["interfaces"]))
        for name in NAMESPACES:
            yield Fact(f"ns_{name}", host["namespaces"][name], str(inside["namespaces"][name]))


async def memory(lesson: Lesson) -> AsyncIterator[Shown]:
    """A program takes memory until its cgroup is full, and the kernel ends it."""
    await lesson.require(LimitName.MEMORY)
    limits = LimitChange(memory=MEMORY_LIMIT_BYTES, swap=0)
    if (await lesson.engine.capabilities()).why_not(LimitName.SWAP) is not None:
        limits = limits.without({LimitName.SWAP})
    peak = 0
    async with lesson.running("filler.py", "--pause", "0.25", limits=limits) as pupil:
        yield Remark("filling")
        for tick in range(round(MAX_FILL_S / SAMPLE_INTERVAL_S)):
            usage = await pupil.usage()
            if usage is None or not (await pupil.state()).state.live:
                break
            if not isinstance(usage.memory, Missing):
                peak = max(peak, usage.memory)
                yield Reading(tick * SAMPLE_INTERVAL_S, usage.memory, MEMORY_LIMIT_BYTES)
            await asyncio.sleep(SAMPLE_INTERVAL_S)
        ended = await pupil.state()
        yield Fact("memory_limit", fmt.size(MEMORY_LIMIT_BYTES), fmt.size(peak))
        yield Fact("memory_end", str(ended.state), f"{ended.exit_code}" if ended.exit_code is not None else fmt.GAP)
        yield Fact("oom_killed", await threads.waiting(_memory_total), "yes" if ended.oom_killed else "no")


async def quota(lesson: Lesson) -> AsyncIterator[Shown]:
    """A program that burns CPU, first without a limit, then with a quota: the kernel stops it in every period."""
    await lesson.require(Verb.UPDATE, LimitName.CPUS)
    async with lesson.running("hog.py", "1") as pupil:
        yield Remark("free")
        free = _Watch(pupil, 0.0)
        async for reading in free.watch(None):
            yield reading
        await lesson.engine.update(pupil.ref.id, LimitChange(cpus=QUOTA_CORES))
        yield Remark("limited")
        limited = _Watch(pupil, WATCH_S)
        async for reading in limited.watch(QUOTA_CORES):
            yield reading
        yield Fact("cpu", fmt.cores(free.cores), fmt.cores(limited.cores))
        yield Fact("throttled", fmt.share(free.throttled), fmt.share(limited.throttled))


async def freeze(lesson: Lesson) -> AsyncIterator[Shown]:
    """All its processes stand still at once, keep all that they have, and go on."""
    await lesson.require(Verb.PAUSE, Verb.UNPAUSE)
    async with lesson.running("hog.py", "2") as pupil:
        yield Remark("running")
        before = _Watch(pupil, 0.0)
        async for reading in before.watch(None):
            yield reading
        await lesson.engine.pause(pupil.ref.id)
        yield Remark("frozen")
        frozen = _Watch(pupil, WATCH_S)
        async for reading in frozen.watch(None):
            yield reading
        state = (await pupil.state()).state
        await lesson.engine.unpause(pupil.ref.id)
        yield Remark("thawed")
        after = _Watch(pupil, 2 * WATCH_S)
        async for reading in after.watch(None):
            yield reading
        yield Fact("freeze_cpu", fmt.cores(before.cores), fmt.cores(frozen.cores))
        yield Fact("freeze_state", str(state), f"{frozen.pids} / {fmt.size(frozen.memory)}")
        yield Fact("thaw_cpu", fmt.cores(frozen.cores), fmt.cores(after.cores))


async def kernel(lesson: Lesson) -> AsyncIterator[Shown]:
    """It is no virtual machine: the same kernel, the same boot, an ordinary process of the host."""
    async with lesson.running("introduce.py") as pupil:
        inside = await pupil.first_line()
        host = await threads.waiting(_host_view, pupil.pid)
        system = os.uname()
        yield Fact("kernel", f"{system.sysname} {system.release}", " ".join(inside["uname"][:2]))
        yield Fact("build", system.version, str(inside["uname"][2]))
        yield Fact("boot", host["boot"], str(inside["boot_id"]))
        yield Fact("process", host["command"], host["inner_pid"])
        yield Fact("start", fmt.GAP, f"{1000 * pupil.started_s:.0f} ms")


class _Watch:
    """Measures a container for some seconds; afterwards it has the means. `offset_s` is where its readings begin."""

    def __init__(self, pupil: Pupil, offset_s: float) -> None:
        self._pupil = pupil
        self._offset_s = offset_s
        self._cores: list[float] = []
        self._throttled: list[float] = []
        self.pids = 0
        self.memory = 0

    async def watch(self, limit: float | None) -> AsyncIterator[Reading]:
        """A reading each interval, after one that begins."""
        await self._pupil.usage()
        for tick in range(1, round(WATCH_S / SAMPLE_INTERVAL_S)):
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            usage = await self._pupil.usage()
            if usage is None or isinstance(usage.cpu, Missing):
                continue
            self._cores.append(usage.cpu)
            if not isinstance(usage.throttled_share, Missing):
                self._throttled.append(usage.throttled_share)
            self.pids = usage.pids if not isinstance(usage.pids, Missing) else self.pids
            self.memory = usage.memory if not isinstance(usage.memory, Missing) else self.memory
            yield Reading(self._offset_s + tick * SAMPLE_INTERVAL_S, usage.cpu, limit)

    @property
    def cores(self) -> float:
        """The median."""
        return _median(self._cores)

    @property
    def throttled(self) -> float:
        """The median share of the periods in which the quota stopped it."""
        return _median(self._throttled)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _host_view(pid: int) -> dict[str, Any]:
    """What the host sees of a process and of itself. Blocking."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    inner = next((line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")), fmt.GAP)
    command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    root = Path("/").stat()
    return {
        "pid": str(pid),
        "inner_pid": inner,
        "hostname": socket.gethostname(),
        "root": _root((root.st_ino, root.st_dev)),
        "processes": str(sum(name.isdigit() for name in os.listdir("/proc"))),
        "interfaces": ", ".join(sorted(name for _, name in socket.if_nameindex())),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
        "boot": procfs.boot_id(),
        "command": f"pid {pid}, {fmt.clean(command)}",
    }


def _root(found: Any) -> str:
    inode, device = found
    return f"inode {inode} on {os.major(device)}:{os.minor(device)}"


def _memory_total() -> str:
    """The host's memory. Blocking."""
    return fmt.size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


CHAPTERS: Final[Mapping[str, Callable[[Lesson], AsyncIterator[Shown]]]] = {
    "namespaces": namespaces,
    "memory": memory,
    "quota": quota,
    "freeze": freeze,
    "kernel": kernel,
}
"""By id, in their order."""
