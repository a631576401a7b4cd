"""CPU bandwidth and weight. v1: cpu.cfs_quota_us, cpu.cfs_period_us, cpu.shares; v2: cpu.max, cpu.weight.

Quota and period are in microseconds: at least 1 ms of quota, a period of 1 ms to 1 s. A burst must not exceed the
quota, so it is lowered first. While cpu.idle is 1 the weight cannot be changed. Source: sched-bwc.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from runtime.errors import ConflictError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.plan import Write, number, step
from runtime.limits.units import LEAST_SHARES, MOST_SHARES
from runtime.model import UNLIMITED, LimitChange, LimitName, Missing, Unlimited

PERIOD_US: Final = 100_000
LEAST_QUOTA_US: Final = 1_000
MOST_PERIOD_US: Final = 1_000_000


def shares_to_weight(shares: int) -> int:
    """What runc >= 1.3.2 and crun >= 1.23 write to cpu.weight: a curve through 2->1, 1024->100, 262144->10000."""
    exponent = math.log2(min(MOST_SHARES, max(LEAST_SHARES, shares)))
    return min(10_000, max(1, math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))))


def shares_to_weight_linear(shares: int) -> int:
    """What older runtimes write: 1024 -> 39."""
    return 1 + ((min(MOST_SHARES, max(LEAST_SHARES, shares)) - 2) * 9999) // 262142


def weight_to_shares(weight: int) -> int:
    """The largest number of shares that `shares_to_weight` turns into this weight."""
    low, high = LEAST_SHARES, MOST_SHARES
    while low < high:
        middle = (low + high + 1) // 2
        if shares_to_weight(middle) <= weight:
            low = middle
        else:
            high = middle - 1
    return low


def read_bandwidth(cgroup: Cgroup) -> tuple[float | Unlimited | Missing, int | Missing]:
    """(cores, period in microseconds)."""
    where = cgroup.where("cpu")
    if where is None:
        return Missing.UNSUPPORTED, Missing.UNSUPPORTED
    directory, version = where
    if version == 2:
        text = files.look(directory / "cpu.max")
        if isinstance(text, Missing):
            return text, text
        quota_text, _, period_text = text.partition(" ")
    else:
        quota, period = files.look(directory / "cpu.cfs_quota_us"), files.look(directory / "cpu.cfs_period_us")
        if isinstance(quota, Missing) or isinstance(period, Missing):
            missing = quota if isinstance(quota, Missing) else Missing.UNSUPPORTED
            return missing, missing
        quota_text, period_text = quota, period
    try:
        period_us = int(period_text or PERIOD_US)
        if period_us <= 0:
            return Missing.UNSUPPORTED, Missing.UNSUPPORTED
        if quota_text == "max" or int(quota_text) < 0:
            return UNLIMITED, period_us
        return int(quota_text) / period_us, period_us
    except (ValueError, OverflowError):
        return Missing.UNSUPPORTED, Missing.UNSUPPORTED


def read_shares(cgroup: Cgroup) -> int | Missing:
    """Shares; on v2 the number that converts to cpu.weight, 1024 for the default of 100."""
    where = cgroup.where("cpu")
    if where is None:
        return Missing.UNSUPPORTED
    directory, version = where
    value = number(directory / ("cpu.weight" if version == 2 else "cpu.shares"))
    if isinstance(value, Unlimited):
        return Missing.UNSUPPORTED
    if isinstance(value, Missing) or version == 1:
        return value
    return weight_to_shares(value)


def weight(cgroup: Cgroup) -> int | None:
    """cpu.weight as the v2 kernel holds it; None on v1."""
    where = cgroup.where("cpu")
    if where is None or where[1] == 1:
        return None
    value = number(where[0] / "cpu.weight")
    return value if isinstance(value, int) else None


def plan(cgroup: Cgroup, change: LimitChange) -> list[Write]:
    """The writes for cpus and shares."""
    where = cgroup.where("cpu")
    if where is None:
        return []
    directory, version = where
    writes: list[Write] = []
    if change.cpus is not None:
        writes += _bandwidth(directory, version, change.cpus, read_bandwidth(cgroup)[1])
    if change.cpu_shares is not None:
        if files.look(directory / "cpu.idle") == "1":
            raise ConflictError(
                "change the CPU weight",
                detail="the cgroup is in the idle class, where the kernel takes no weight",
                path=str(directory / "cpu.idle"),
                hint="Write 0 to cpu.idle first; that sets the weight back to normal",
            )
        name, value = (
            ("cpu.weight", shares_to_weight(change.cpu_shares)) if version == 2 else ("cpu.shares", change.cpu_shares)
        )
        writes.append(step(LimitName.CPU_SHARES, directory / name, str(value)))
    return writes


def _bandwidth(directory: Path, version: int, cpus: float | Unlimited, held: int | Missing) -> list[Write]:
    period = held if isinstance(held, int) and held > 0 else PERIOD_US
    quota: int | None = None
    if not isinstance(cpus, Unlimited):
        if round(cpus * period) < LEAST_QUOTA_US:
            period = min(MOST_PERIOD_US, math.ceil(LEAST_QUOTA_US / cpus))
        quota = max(LEAST_QUOTA_US, round(cpus * period))
    writes: list[Write] = []
    burst = directory / ("cpu.max.burst" if version == 2 else "cpu.cfs_burst_us")
    allowed = files.look(burst)
    if quota is not None and isinstance(allowed, str) and allowed.isdigit() and int(allowed) > quota:
        writes.append(Write(LimitName.CPUS, burst, str(quota), allowed))
    if version == 2:
        writes.append(step(LimitName.CPUS, directory / "cpu.max", f"{'max' if quota is None else quota} {period}"))
        return writes
    if period != held:
        writes.append(step(LimitName.CPUS, directory / "cpu.cfs_period_us", str(period)))
    writes.append(step(LimitName.CPUS, directory / "cpu.cfs_quota_us", str(-1 if quota is None else quota)))
    return writes
