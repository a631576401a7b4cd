"""CPU bandwidth. v1: cpu.cfs_quota_us, cpu.cfs_period_us, cpu.cfs_burst_us; v2: cpu.max, cpu.max.burst.

Quota, period and burst are in microseconds: at least 1 ms of quota, a period of 1 ms to 1 s, a burst of at most the
quota, so it is lowered before the quota and raised after it. Source: sched-bwc.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runtime.kernel import cpu_bandwidth, files
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.cpu_bandwidth import (
    DEFAULT_PERIOD_US,
    MIN_QUOTA_US,
    exact_quota_us,
    period_or_default,
    quota_us,
)
from runtime.limits.step import FileWrite, Step, read_number, write_step
from runtime.model import LIMITS, UNLIMITED, LimitChange, LimitName, Missing, Unlimited

MAX_PERIOD_US: Final = LIMITS[LimitName.CPU_PERIOD].maximum


def read_bandwidth(cgroup: Cgroup) -> tuple[float | Unlimited | Missing, int | Missing]:
    """(cores, period in microseconds)."""
    where = cgroup.where("cpu")
    if where is None:
        return Missing.UNSUPPORTED, Missing.UNSUPPORTED
    directory, version = where
    if version == 2:
        text = files.try_read(directory / "cpu.max")
        if isinstance(text, Missing):
            return text, text
        quota_text, _, period_text = text.partition(" ")
    else:
        quota, period = files.try_read(directory / "cpu.cfs_quota_us"), files.try_read(directory / "cpu.cfs_period_us")
        if isinstance(quota, Missing) or isinstance(period, Missing):
            missing = quota if isinstance(quota, Missing) else Missing.UNSUPPORTED
            return missing, missing
        quota_text, period_text = quota, period
    try:
        period_us = int(period_text or DEFAULT_PERIOD_US)
        if period_us <= 0:
            return Missing.UNSUPPORTED, Missing.UNSUPPORTED
        return UNLIMITED if quota_text == "max" else cpu_bandwidth.cores(int(quota_text), period_us), period_us
    except (ValueError, OverflowError):
        return Missing.UNSUPPORTED, Missing.UNSUPPORTED


def read_burst(cgroup: Cgroup) -> int | Missing:
    """The burst in microseconds: unused quota that may accumulate."""
    where = cgroup.where("cpu")
    if where is None:
        return Missing.UNSUPPORTED
    value = read_number(_burst_file(*where))
    return Missing.UNSUPPORTED if isinstance(value, Unlimited) else value


def _burst_file(directory: Path, version: int) -> Path:
    return directory / ("cpu.max.burst" if version == 2 else "cpu.cfs_burst_us")


@dataclass(frozen=True, slots=True)
class _Bandwidth:
    """Bandwidth in microseconds; `quota` None is unlimited, `burst` None is a kernel without bursts."""

    quota: int | None
    period: int
    burst: int | None


def steps(cgroup: Cgroup, change: LimitChange) -> list[Step]:
    """The writes for cores, period and burst: a quota alone keeps the period, and a period alone the cores."""
    where = cgroup.where("cpu")
    if where is None or (change.cpus is None and change.cpu_period is None and change.cpu_burst is None):
        return []
    directory, version = where
    cores, period = read_bandwidth(cgroup)
    burst = read_burst(cgroup)
    current = _Bandwidth(
        quota=exact_quota_us(cores, period) if isinstance(cores, float) and isinstance(period, int) else None,
        period=period_or_default(period),
        burst=burst if isinstance(burst, int) else None,
    )
    wanted = _wanted(change, current)
    name = next(name for name, _ in change.items() if name in _OWN)
    before: list[Step] = []
    after: list[Step] = []
    if wanted.burst is not None and current.burst is not None and wanted.burst != current.burst:
        owner = LimitName.CPU_BURST if change.cpu_burst is not None else name
        part = before if wanted.burst < current.burst else after
        part.append(FileWrite(owner, _burst_file(directory, version), str(wanted.burst), str(current.burst)))
    if change.cpus is None and change.cpu_period is None:
        return before + after
    if version == 2:
        quota = "max" if wanted.quota is None else str(wanted.quota)
        return [*before, write_step(name, directory / "cpu.max", f"{quota} {wanted.period}"), *after]
    return [*before, *_v1(directory, name, current, wanted), *after]


_OWN: Final = (LimitName.CPUS, LimitName.CPU_PERIOD, LimitName.CPU_BURST)


def _wanted(change: LimitChange, current: _Bandwidth) -> _Bandwidth:
    """Quota, period and burst after the change; the burst is capped at the quota."""
    period = change.cpu_period if change.cpu_period is not None else current.period
    if isinstance(change.cpus, Unlimited) or (change.cpus is None and current.quota is None):
        quota = None
    else:
        cores = change.cpus if change.cpus is not None else (current.quota or 0) / current.period
        if change.cpu_period is None and exact_quota_us(cores, period) < MIN_QUOTA_US:
            period = min(MAX_PERIOD_US, math.ceil(MIN_QUOTA_US / cores))
        quota = quota_us(cores, period)
    burst = change.cpu_burst if change.cpu_burst is not None else current.burst
    if change.cpu_burst is None and burst is not None and quota is not None:
        burst = min(burst, quota)
    return _Bandwidth(quota, period, burst)


def consistent(limits: LimitChange) -> LimitChange:
    """Limits that are set together, as the kernel requires: the period long enough, the burst within the quota."""
    if not isinstance(limits.cpus, float | int):
        return limits
    current = _Bandwidth(None, period_or_default(limits.cpu_period), limits.cpu_burst)
    wanted = _wanted(LimitChange(cpus=limits.cpus), current)
    period = wanted.period if limits.cpu_period is not None or wanted.period != DEFAULT_PERIOD_US else None
    return replace(limits, cpu_period=period, cpu_burst=wanted.burst)


def _v1(directory: Path, name: LimitName, current: _Bandwidth, wanted: _Bandwidth) -> list[Step]:
    """Writes of both files, ordered so that the bandwidth in between never exceeds both the old and the new one."""
    quota = write_step(name, directory / "cpu.cfs_quota_us", str(-1 if wanted.quota is None else wanted.quota))
    if wanted.period == current.period:
        return [quota]
    period = write_step(name, directory / "cpu.cfs_period_us", str(wanted.period))
    falls = wanted.quota is not None and current.quota is not None and wanted.quota < current.quota
    return [quota, period] if falls else [period, quota]
