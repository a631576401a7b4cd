"""Number of tasks: pids.max, the same file on v1 and v2. "-1" is EINVAL: no limit is "max"."""

from __future__ import annotations

from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.step import FileWrite, read_number, write_step
from runtime.model import LimitChange, LimitName, Missing, Unlimited


def read(cgroup: Cgroup) -> int | Unlimited | Missing:
    """pids.max."""
    where = cgroup.where("pids")
    return Missing.UNSUPPORTED if where is None else read_number(where[0] / "pids.max")


def current(cgroup: Cgroup) -> int | None:
    """Tasks now; None when unknown."""
    where = cgroup.where("pids")
    value = read_number(where[0] / "pids.current") if where is not None else None
    return value if isinstance(value, int) else None


def steps(cgroup: Cgroup, change: LimitChange) -> list[FileWrite]:
    """One write."""
    where = cgroup.where("pids")
    if where is None or change.pids is None:
        return []
    text = "max" if isinstance(change.pids, Unlimited) else str(change.pids)
    return [write_step(LimitName.PIDS, where[0] / "pids.max", text)]
