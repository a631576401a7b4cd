"""How long a container has waited for CPU that others used, read now: for what is too short for a sweep."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from collectors.sampling import parse
from runtime.errors import PytopError, UnsupportedError
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Missing


@dataclass(frozen=True, slots=True)
class WaitingTotal:
    """Nanoseconds since the cgroup was made: waited, and held back by its own quota; `at_ns` is CLOCK_MONOTONIC."""

    at_ns: int
    full_ns: int
    throttled_ns: int


def read_total(cgroup: Cgroup) -> WaitingTotal:
    """The totals now. Blocks.

    Raises `UnsupportedError` where the kernel does not tell, `PytopError` when a file cannot be read.
    """
    title = "read how long it waits for CPU"
    if cgroup.unified is None:
        raise UnsupportedError(title, detail="pressure is counted in the unified hierarchy, where it has no cgroup")
    try:
        full = parse.pressure((cgroup.unified / "cpu.pressure").read_bytes()).full_ns
        where = cgroup.where("cpu")
        stat = (where[0] / "cpu.stat").read_bytes() if where is not None else b""
    except OSError as error:
        raise PytopError.from_os(title, error) from error
    if isinstance(full, Missing):
        raise UnsupportedError(title, detail="the kernel's pressure of CPU has no full line (Linux 5.13)")
    numbers = parse.cpu_stat_v2(stat)[5] if where is not None and where[1] == 2 else parse.cpu_stat_v1(stat)[2]
    return WaitingTotal(time.monotonic_ns(), full, 0 if isinstance(numbers, Missing) else numbers)


def share_between(first: WaitingTotal, last: WaitingTotal, ncpu: int | None = None) -> float:
    """The share of the time between two totals that it waited, as `Usage.waiting`."""
    elapsed = last.at_ns - first.at_ns
    if elapsed <= 0:
        return 0.0
    own = (last.throttled_ns - first.throttled_ns) / max(1, ncpu or os.cpu_count() or 1)
    return min(1.0, max(0.0, (last.full_ns - first.full_ns - own) / elapsed))
