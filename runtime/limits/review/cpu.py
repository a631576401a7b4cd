"""Findings about a change of CPU limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from runtime.kernel.cpu_bandwidth import MIN_QUOTA_US, exact_quota_us, period_or_default, quota_us
from runtime.limits.controllers.cpu import MAX_PERIOD_US
from runtime.limits.review.facts import HostFacts, RecentUse
from runtime.limits.review.finding import Finding, Severity
from runtime.limits.units import format_cpus, format_microseconds
from runtime.model import LimitChange, LimitName, Limits, Unlimited

MIN_CPUS: Final = 0.01
MIN_TOLD_CPUS: Final = 0.05  # of what it waited for


def findings(change: LimitChange, current: Limits, host: HostFacts, use: RecentUse) -> Iterator[Finding]:
    """For cores, period, burst, weight and the idle class."""
    yield from _cores(change, host, use)
    yield from _period(change, current)
    yield from _burst(change, current)
    yield from _weight(change, current)


def _cores(change: LimitChange, host: HostFacts, use: RecentUse) -> Iterator[Finding]:
    cpus, name = change.cpus, LimitName.CPUS
    if isinstance(cpus, float | int):
        cores = _cores_in_words(cpus)
        if cpus < MIN_CPUS:
            yield Finding(name, Severity.REFUSE, f"{cores}: less than {MIN_CPUS} of a core would stop it for good")
        elif cpus > host.ncpu:
            yield Finding(name, Severity.WARNING, f"{cores}: this machine has {host.ncpu}, so it limits nothing")
        elif use.cpu is not None:
            yield _demand(cpus, use.cpu, use.cpu_waited)
    elif isinstance(cpus, Unlimited):
        yield Finding(name, Severity.INFO, f"no CPU limit: it may use all {host.ncpu} cores")


def _demand(cpus: float, used: float, waited: float) -> Finding:
    """What it wants is what it used and what it waited for: one that was starved would use more as soon as it may."""
    demand, cores = used + waited, _cores_in_words(cpus)
    beyond = f" and waited for {waited:.1f} more" if waited >= MIN_TOLD_CPUS else ""
    if demand <= cpus * 1.05:
        return Finding(LimitName.CPUS, Severity.INFO, f"{cores}: it used {used:.2f}{beyond} in the last minute")
    how = "most of the time" if demand > 2 * cpus else "at times"
    text = f"{cores}: it used {used:.1f}{beyond} in the last minute, so it will be throttled {how}"
    return Finding(LimitName.CPUS, Severity.WARNING, text)


def _cores_in_words(cores: float) -> str:
    return f"{format_cpus(cores)} core{'' if cores == 1 else 's'}"


def _resulting_bandwidth(change: LimitChange, current: Limits) -> tuple[float | None, int]:
    """Cores (None when unlimited) and period after the change."""
    cores = change.cpus if change.cpus is not None else current.cpus
    period = change.cpu_period if change.cpu_period is not None else current.cpu_period
    return (
        cores if isinstance(cores, float | int) else None,
        period_or_default(period),
    )


def _period(change: LimitChange, current: Limits) -> Iterator[Finding]:
    if change.cpu_period is None:
        return
    name, (cores, period) = LimitName.CPU_PERIOD, _resulting_bandwidth(change, current)
    shown = format_microseconds(period)
    if cores is None:
        yield Finding(name, Severity.INFO, f"{shown}: without a CPU limit it changes nothing now")
    elif exact_quota_us(cores, period) < MIN_QUOTA_US:
        least = min(MAX_PERIOD_US, math.ceil(MIN_QUOTA_US / cores / 1000) * 1000)
        text = f"{shown}: {format_cpus(cores)} cores of it are less than the kernel's least portion of 1ms"
        yield Finding(name, Severity.REFUSE, f"{text}; at least {format_microseconds(least)}")
    else:
        portion = format_microseconds(exact_quota_us(cores, period))
        text = (
            f"{shown}: its {format_cpus(cores)} cores come in portions of {portion}, and it waits when one is used up"
        )
        yield Finding(name, Severity.INFO, text)


def _burst(change: LimitChange, current: Limits) -> Iterator[Finding]:
    cores, period = _resulting_bandwidth(change, current)
    quota = None if cores is None else quota_us(cores, period)
    burst, previous = change.cpu_burst, current.cpu_burst
    if burst is None:
        if quota is not None and isinstance(previous, int) and previous > quota:
            name = LimitName.CPUS if change.cpus is not None else LimitName.CPU_PERIOD
            if change.cpus is not None or change.cpu_period is not None:
                text = f"the burst falls from {format_microseconds(previous)} to {format_microseconds(quota)} with it"
                yield Finding(name, Severity.WARNING, text)
        return
    name, shown = LimitName.CPU_BURST, format_microseconds(burst)
    if burst == 0:
        yield Finding(name, Severity.INFO, "no burst: what it does not use of a period is lost")
    elif quota is None:
        yield Finding(name, Severity.INFO, f"{shown}: without a CPU limit it changes nothing now")
    elif burst > quota:
        text = (
            f"{shown}: more than the {format_microseconds(quota)} that it has in each period, which the kernel refuses"
        )
        yield Finding(name, Severity.REFUSE, text)
    else:
        most = (quota + burst) / period
        text = f"{shown}: after quiet ones it may use {_cores_in_words(most)} for one period"
        yield Finding(name, Severity.INFO, text)


def _weight(change: LimitChange, current: Limits) -> Iterator[Finding]:
    shares, idle = change.cpu_shares, change.cpu_idle
    if shares is not None:
        if current.cpu_idle is True and idle is not False:
            text = f"{shares} shares: it is in the idle class, which has no weight; leave the class in the same change"
            yield Finding(LimitName.CPU_SHARES, Severity.REFUSE, text)
        text = f"{shares} shares: {shares / 1024:.3g} times the normal share, and only while others want the CPU too"
        yield Finding(LimitName.CPU_SHARES, Severity.INFO, text)
    if idle:
        text = "idle class: it runs only when nobody else wants the CPU; the best first step against a hog"
        yield Finding(LimitName.CPU_IDLE, Severity.INFO, text)
    elif idle is False and current.cpu_idle is True:
        back = shares if shares is not None else current.cpu_shares
        text = f"out of the idle class, back to {back} shares"
        yield Finding(LimitName.CPU_IDLE, Severity.INFO, text)
