"""The facts that a review needs besides the limits: the machine, and the recent use of the container."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from runtime.kernel import block, cgroupfs, files
from runtime.kernel.block import Disks


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The machine: online CPUs, memory nodes, memory and swap in bytes, the maximum number of processes.

    `disks` is empty when unknown. `weighs_io` is whether the scheduler of any disk uses I/O weights, and
    `counts_written_back` whether I/O limits also throttle write-back from the page cache.
    """

    ncpu: int
    cpus: str
    mems: str
    memory_total: int
    swap_total: int
    pid_max: int
    swap_free: int = 0
    disks: Disks = field(default_factory=Disks)
    weighs_io: bool = True
    counts_written_back: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentUse:
    """The use of a container: CPU in cores, bytes, tasks, bits per second. None when unknown.

    CPU and traffic are means of the last minute. `cpu_waited` is what it would have used beyond `cpu`, at least: held
    back by its own limit, or waiting for CPU that others used. `sharing` names other containers that use the same
    network.
    """

    cpu: float | None = None
    cpu_waited: float = 0.0
    memory: int | None = None
    anon: int | None = None
    file: int | None = None
    pids: int | None = None
    swap: int | None = None
    sent: float | None = None
    received: float | None = None
    sharing: tuple[str, ...] = ()

    @property
    def unreclaimable(self) -> int | None:
        """Bytes that cannot be freed by dropping file cache."""
        if self.memory is None or self.file is None:
            return self.anon
        return max(0, self.memory - self.file)


def meminfo() -> dict[str, int]:
    """The lines of /proc/meminfo, in bytes."""
    found: dict[str, int] = {}
    for line in files.read(Path("/proc/meminfo")).splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def host_facts() -> HostFacts:
    """Read the machine's facts from /sys and /proc."""
    memory = meminfo()
    cpus, mems = (
        files.try_read(Path("/sys/devices/system/cpu/online")),
        files.try_read(Path("/sys/devices/system/node/online")),
    )
    pid_max = files.try_read(Path("/proc/sys/kernel/pid_max"))
    ncpu = os.cpu_count() or 1
    return HostFacts(
        ncpu=ncpu,
        cpus=cpus if isinstance(cpus, str) and cpus else f"0-{ncpu - 1}" if ncpu > 1 else "0",
        mems=mems if isinstance(mems, str) and mems else "0",
        memory_total=memory.get("MemTotal", 0),
        swap_total=memory.get("SwapTotal", 0),
        swap_free=memory.get("SwapFree", 0),
        pid_max=int(pid_max) if isinstance(pid_max, str) and pid_max.isdigit() else 32768,
        disks=block.disks(),
        weighs_io=_weighs_io(),
        counts_written_back="blkio" not in cgroupfs.detect().v1,
    )


def _weighs_io() -> bool:
    """Whether a disk has the BFQ scheduler or iocost enabled."""
    for scheduler in Path("/sys/block").glob("*/queue/scheduler"):
        text = files.try_read(scheduler)
        if isinstance(text, str) and "[bfq]" in text:
            return True
    qos = files.try_read(Path("/sys/fs/cgroup/io.cost.qos"))
    return isinstance(qos, str) and "enable=1" in qos
