"""CPU time of a container that has no cgroup of its own: the sum over its first process and everything below it.

It is less exact than a cgroup's counter: what a process has used whose parent does not wait for it is lost with its
end, and what was started inside from outside (`docker exec`) is not below the first process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from collectors.sampling.sample import CpuCounters
from runtime.kernel import procfs
from runtime.kernel.procfs import PROC
from runtime.model import Missing

_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def cpu_and_threads(pid: int, proc: Path = PROC) -> tuple[CpuCounters, int | Missing]:
    """The CPU time of the processes, and the number of their threads; both `Missing.GONE` when the first has ended."""
    known = [procfs.cpu_times(each, proc=proc) for each in procfs.descendants(pid, proc=proc)]
    times = [each for each in known if each is not None]
    if not times:
        return CpuCounters(Missing.GONE, Missing.GONE, Missing.GONE), Missing.GONE
    user, system = (_TICK_NS * sum(getattr(each, kind) for each in times) for kind in ("user", "system"))
    return CpuCounters(user + system, user, system), sum(each.threads for each in times)
