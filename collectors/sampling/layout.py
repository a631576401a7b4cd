"""Which file holds which counter, on cgroup v1, v2 and hybrid hosts.

A hybrid host has v1 controllers beside a v2 tree without controllers, which still has PSI and the CPU time of cpu.stat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collectors.sampling import parse, parse_sharing
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.files import exists
from runtime.model import Missing

# For each file a reader knows the slot of its parsed value, and the part of the sample that is made of it.
(USAGE, SPLIT, PERIODS, QUOTA, PERIOD, CURRENT, STAT, SWAP, PEAK, MAX, OOM, PIDS, PIDS_MAX, IO_BYTES, IO_OPS) = range(
    15
)
PSI_CPU, PSI_MEMORY, PSI_IO = 15, 16, 17
WEIGHT, IDLE, CPUS, IO_WEIGHT = 18, 19, 20, 21
SLOTS: Final = 22
CPU_PART, QUOTA_PART, MEMORY_PART, PIDS_PART, IO_PART, PSI_PART, SHARING_PART = 1, 2, 4, 8, 16, 32, 64
ALL_PARTS: Final = 127

V1_STAT_SLOTS: Final = 8  # of the memory.stat of v1, which has swap and the limit too
SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES = (
    64,
    448,
    8192,
)  # read sizes; CPython allocates objects of up to 512 bytes without malloc
RESOURCES = ((PSI_CPU, "cpu"), (PSI_MEMORY, "memory"), (PSI_IO, "io"))


@dataclass(frozen=True, slots=True)
class CounterFile:
    """One file that fills a slot: bytes to read, parser, and how many values the parser returns (0: one, no tuple)."""

    slot: int
    part: int
    name: str
    parse: Callable[[bytes], Any]
    size: int = SMALL_BYTES
    width: int = 0

    def missing_value(self, why: Missing) -> Any:
        """The slot's value when the file cannot be read."""
        return (why,) * self.width if self.width else why


PSI: Final[tuple[CounterFile, ...]] = (
    CounterFile(PSI_CPU, PSI_PART, "cpu.pressure", parse.pressure, MEDIUM_BYTES),
    CounterFile(PSI_MEMORY, PSI_PART, "memory.pressure", parse.pressure, MEDIUM_BYTES),
    CounterFile(PSI_IO, PSI_PART, "io.pressure", parse.pressure, MEDIUM_BYTES),
)
V2: Mapping[str, tuple[CounterFile, ...]] = {
    "cpu": (
        CounterFile(USAGE, CPU_PART, "cpu.stat", parse.cpu_stat_v2, MEDIUM_BYTES, 6),
        CounterFile(QUOTA, QUOTA_PART, "cpu.max", parse.cpu_max),
        CounterFile(WEIGHT, SHARING_PART, "cpu.weight", parse_sharing.cpu_weight),
        CounterFile(IDLE, SHARING_PART, "cpu.idle", parse_sharing.flag),
    ),
    "cpuset": (CounterFile(CPUS, SHARING_PART, "cpuset.cpus.effective", parse_sharing.cpu_list),),
    "memory": (
        CounterFile(CURRENT, MEMORY_PART, "memory.current", parse.number),
        CounterFile(STAT, MEMORY_PART, "memory.stat", parse.memory_stat_v2, LARGE_BYTES, 6),
        CounterFile(SWAP, MEMORY_PART, "memory.swap.current", parse.number),
        CounterFile(PEAK, MEMORY_PART, "memory.peak", parse.number),
        CounterFile(MAX, MEMORY_PART, "memory.max", parse.limit),
        CounterFile(OOM, MEMORY_PART, "memory.events", parse.oom_kills, MEDIUM_BYTES),
    ),
    "pids": (
        CounterFile(PIDS, PIDS_PART, "pids.current", parse.number),
        CounterFile(PIDS_MAX, PIDS_PART, "pids.max", parse.limit),
    ),
    "io": (CounterFile(IO_BYTES, IO_PART, "io.stat", parse.io_stat_v2, LARGE_BYTES),),
}
IO_WEIGHTS: Final[Mapping[str, tuple[CounterFile, ...]]] = {  # by controller; a scheduler of a disk has its own file
    controller: tuple(CounterFile(IO_WEIGHT, SHARING_PART, name, parse_sharing.io_weight) for name in names)
    for controller, names in (
        ("io", ("io.weight", "io.bfq.weight")),
        ("blkio", ("blkio.weight", "blkio.bfq.weight")),
    )
}
UNIFIED_CPU = CounterFile(USAGE, CPU_PART, "cpu.stat", parse.cpu_times, MEDIUM_BYTES, 3)
V1: Mapping[str, tuple[CounterFile, ...]] = {
    "cpuacct": (
        CounterFile(USAGE, CPU_PART, "cpuacct.usage", parse.number),
        CounterFile(SPLIT, CPU_PART, "cpuacct.stat", parse.cpuacct_stat, SMALL_BYTES, 2),
    ),
    "cpu": (
        CounterFile(PERIODS, CPU_PART, "cpu.stat", parse.cpu_stat_v1, MEDIUM_BYTES, 3),
        CounterFile(QUOTA, QUOTA_PART, "cpu.cfs_quota_us", parse.quota_v1),
        CounterFile(PERIOD, QUOTA_PART, "cpu.cfs_period_us", parse.number),
        CounterFile(WEIGHT, SHARING_PART, "cpu.shares", parse_sharing.cpu_shares),
        CounterFile(IDLE, SHARING_PART, "cpu.idle", parse_sharing.flag),
    ),
    "cpuset": (CounterFile(CPUS, SHARING_PART, "cpuset.effective_cpus", parse_sharing.cpu_list),),
    "memory": (
        CounterFile(CURRENT, MEMORY_PART, "memory.usage_in_bytes", parse.number),
        CounterFile(STAT, MEMORY_PART, "memory.stat", parse.memory_stat_v1, LARGE_BYTES, V1_STAT_SLOTS),
        CounterFile(PEAK, MEMORY_PART, "memory.max_usage_in_bytes", parse.number),
        CounterFile(OOM, MEMORY_PART, "memory.oom_control", parse.oom_kills, MEDIUM_BYTES),
    ),
    "pids": V2["pids"],
    "blkio": (
        CounterFile(IO_BYTES, IO_PART, "blkio.throttle.io_service_bytes_recursive", parse.blkio_v1, LARGE_BYTES),
        CounterFile(IO_OPS, IO_PART, "blkio.throttle.io_serviced_recursive", parse.blkio_v1, LARGE_BYTES),
    ),
}

SLOT_WIDTHS: Final = {USAGE: 3, SPLIT: 2, PERIODS: 3, STAT: 6}

# The value of each slot that no file fills.
EMPTY_SLOTS: Final[tuple[Any, ...]] = tuple(
    (Missing.UNSUPPORTED,) * SLOT_WIDTHS[slot] if slot in SLOT_WIDTHS else Missing.UNSUPPORTED for slot in range(SLOTS)
)


def files_to_open(cgroup: Cgroup) -> list[tuple[Path, tuple[CounterFile, ...]]]:
    """The directories to open and the files in each; every slot is filled by at most one file."""
    found: list[tuple[Path, tuple[CounterFile, ...]]] = []
    unified, v1 = cgroup.unified, dict(cgroup.v1)
    if unified is not None:
        files: tuple[CounterFile, ...] = PSI
        if "cpu" not in cgroup.controllers and exists(unified / UNIFIED_CPU.name) is True:
            files += (UNIFIED_CPU,)
            v1.pop("cpuacct", None)  # one file instead of two, in us instead of clock ticks
        for controller, its_files in V2.items():
            if controller in cgroup.controllers:
                files += its_files + _first_there(unified, IO_WEIGHTS.get(controller, ()))
        found.append((unified, files))
    for controller, its_files in V1.items():
        directory = v1.get(controller)
        if directory is not None and not is_root(directory):
            found.append((directory, its_files + _first_there(directory, IO_WEIGHTS.get(controller, ()))))
    return found


def _first_there(directory: Path, files: tuple[CounterFile, ...]) -> tuple[CounterFile, ...]:
    """The first of these files that exists, of which each would fill the same slot."""
    return tuple(file for file in files if exists(directory / file.name) is True)[:1]


def is_root(directory: Path) -> bool:
    """Whether it is the root of a v1 hierarchy, which has the host's counters. Only a root has this file."""
    return exists(directory / "cgroup.sane_behavior") is True
