"""Which files of a cgroup a sweep reads when, and which of them stay open.

A container is at rest while CPU time, the three stall totals (a task in uninterruptible sleep uses no CPU and suffers
all the same) and memory in use stand still, and on v2 the block devices' counters, to which the kernel's write-back
adds without the container's CPU (on v1 that is counted at the root).

A task begins to wait for memory or a block device only by running, and to wait for CPU by being woken. So as long as
CPU time stands still, the totals of memory and io go on as before: those that stood still in a sweep in which CPU time
did, too, need no look until it moves; nor do any while those of the host stand still (`host_stalls`). What else can
change at rest is the age of page cache, and what somebody writes: a limit, which is heard of, or a process into the
cgroup. Both are found when its turn comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from collectors.sampling.layout import (
    CPUS,
    CURRENT,
    IDLE,
    IO_BYTES,
    IO_OPS,
    IO_WEIGHT,
    MAX,
    OOM,
    PEAK,
    PERIOD,
    PERIODS,
    PIDS,
    PIDS_MAX,
    PSI_CPU,
    PSI_IO,
    PSI_MEMORY,
    QUOTA,
    SPLIT,
    STAT,
    SWAP,
    USAGE,
    WEIGHT,
    CounterFile,
)
from runtime.model import UNLIMITED

FULL_READ_INTERVAL_S: Final = 60.0  # a container at rest is read in full once in this time, a part of them per sweep
KEPT_FILES: Final = 7  # descriptors of files per container; with the one of its process, 8

LIMIT_SLOTS: Final = frozenset({QUOTA, PERIOD, MAX, PIDS_MAX, WEIGHT, IDLE, CPUS, IO_WEIGHT})
WEIGHT_SLOTS: Final = frozenset({WEIGHT, IDLE, IO_WEIGHT})  # of these, what changes only when somebody writes
SOMETIMES_SLOTS: Final = frozenset({PERIODS, PEAK, OOM, SWAP, IO_OPS})  # see `sometimes_to_read`

STALL_SLOTS: Final = frozenset({PSI_MEMORY, PSI_IO})  # read when it has moved and in the first sweep after that

_MOVEMENT_SLOTS: Final = frozenset({USAGE, PSI_CPU, CURRENT})
_KEPT_FIRST: Final = (USAGE, PSI_CPU, CURRENT, STAT, IO_BYTES, PIDS, PSI_IO, PSI_MEMORY, SPLIT, PERIODS)


def is_movement(file: CounterFile) -> bool:
    """Whether the file is read in every sweep, to see whether the container has moved."""
    return file.slot in _MOVEMENT_SLOTS or file.name == "io.stat"


def kept_open(files: Sequence[CounterFile]) -> frozenset[int]:
    """The slots of the files that stay open: those that are read most often."""
    there = {file.slot for file in files}
    return frozenset([slot for slot in _KEPT_FIRST if slot in there][:KEPT_FILES])


def sometimes_to_read(slots: Sequence[Any], *, io_moved: bool) -> list[int]:
    """Which of `SOMETIMES_SLOTS` may have changed in a container that has moved.

    `slots` are the values of all; `io_moved`: bytes went to or came from a block device. What changes only by events of
    the whole host is read after those (`collectors.sampling.memory_events`).
    """
    found = [IO_OPS] if io_moved else []
    if slots[QUOTA] is not UNLIMITED:  # v1: periods are counted only while there is a quota
        found.append(PERIODS)
    current, peak = slots[CURRENT], slots[PEAK]
    if not isinstance(current, int) or not isinstance(peak, int) or current > peak:
        found.append(PEAK)
    if slots[SWAP] != 0:
        found.append(SWAP)
    return found
