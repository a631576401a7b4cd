"""Findings about the effect of a change before it is made. Pure: host facts and recent use are arguments.

A finding of severity REFUSE means harm, or a request that this machine cannot fulfil: then nothing may be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.errors import RefusedError
from runtime.limits.review import cpu, io
from runtime.limits.review.facts import HostFacts, RecentUse
from runtime.limits.review.finding import Finding, Severity
from runtime.limits.units import cpuset_numbers, human_bytes
from runtime.model import LimitChange, LimitName, Limits, Missing, Unlimited

MIN_MEMORY_BYTES: Final = 6 * 1024 * 1024
MAX_UNITLESS_BYTES: Final = 64 * 1024  # a smaller number was hardly meant in bytes
TIGHT_FACTOR: Final = 1.1  # a memory limit below this multiple of the use leaves no headroom


def review(change: LimitChange, current: Limits, host: HostFacts, use: RecentUse | None) -> tuple[Finding, ...]:
    """Every finding about a change, worst first."""
    seen = use or RecentUse()
    found = [
        *cpu.findings(change, current, host, seen),
        *_cpuset(change, host),
        *_memory(change, current, host, seen),
        *_pids(change, host, seen),
        *io.findings(change, host, seen),
    ]
    order = (Severity.REFUSE, Severity.WARNING, Severity.INFO)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def refuse(change: LimitChange, current: Limits, host: HostFacts, use: RecentUse | None) -> None:
    """Raise `RefusedError` with every finding of severity REFUSE."""
    found = [finding for finding in review(change, current, host, use) if finding.severity is Severity.REFUSE]
    if found:
        seen = use or RecentUse()
        below = isinstance(change.memory, int) and change.memory < (seen.unreclaimable or 0)
        way = "; with --reclaim it is made to give back first what it can" if below else ""
        raise RefusedError(
            f"set {', '.join(finding.name.value.replace('_', ' ') for finding in found)}",
            detail="; ".join(finding.text for finding in found),
            hint=f"Nothing was changed{way}",
        )


def _cpuset(change: LimitChange, host: HostFacts) -> Iterator[Finding]:
    for name, value, there in (
        (LimitName.CPUSET_CPUS, change.cpuset_cpus, host.cpus),
        (LimitName.CPUSET_MEMS, change.cpuset_mems, host.mems),
    ):
        if isinstance(value, str):
            unknown = cpuset_numbers(value) - cpuset_numbers(there)
            what = "CPUs" if name is LimitName.CPUSET_CPUS else "memory nodes"
            if unknown:
                yield Finding(name, Severity.REFUSE, f"{value}: this machine has the {what} {there}")
            elif name is LimitName.CPUSET_CPUS:
                count = len(cpuset_numbers(value))
                yield Finding(name, Severity.INFO, f"CPUs {value}: it runs on {count} of {host.ncpu}")


def _memory(change: LimitChange, current: Limits, host: HostFacts, use: RecentUse) -> Iterator[Finding]:
    memory, name = change.memory, LimitName.MEMORY
    if isinstance(memory, int):
        size = human_bytes(memory)
        if memory < MIN_MEMORY_BYTES:
            meant = f"; a number alone is bytes, {memory}m is megabytes" if 0 < memory < MAX_UNITLESS_BYTES else ""
            text = f"{size}: less than {human_bytes(MIN_MEMORY_BYTES)} kills most programs{meant}"
            yield Finding(name, Severity.REFUSE, text)
        elif use.unreclaimable is not None and use.memory is not None and memory < use.unreclaimable:
            yield _below_use(memory, use.memory, use.unreclaimable, _swappable(change, current, host, use))
        elif memory > host.memory_total:
            total = human_bytes(host.memory_total)
            yield Finding(name, Severity.WARNING, f"{size}: this machine has {total}, so it limits nothing")
        elif use.memory is not None and memory < use.memory:
            text = f"{size}: it uses {human_bytes(use.memory)}, so file cache will be dropped at once"
            yield Finding(name, Severity.WARNING, text)
        elif use.memory is not None and memory < TIGHT_FACTOR * use.memory:
            yield Finding(
                name, Severity.WARNING, f"{size}: it uses {human_bytes(use.memory)}, which leaves little room"
            )
    high = change.memory_high
    if isinstance(high, int) and use.unreclaimable is not None and high < use.unreclaimable:
        text = f"{human_bytes(high)}: it holds {human_bytes(use.unreclaimable)}, so it will be slowed down all the time"
        yield Finding(LimitName.MEMORY_HIGH, Severity.WARNING, text)
    reservation, limit = change.memory_reservation, memory if memory is not None else current.memory
    if isinstance(reservation, int) and isinstance(limit, int) and reservation > limit:
        text = f"{human_bytes(reservation)}: more than the memory limit of {human_bytes(limit)}"
        yield Finding(LimitName.MEMORY_RESERVATION, Severity.REFUSE, text)
    if isinstance(memory, int) and change.swap is None and isinstance(current.swap, Unlimited) and host.swap_total:
        text = f"{human_bytes(memory)}: beyond it, it may fill the machine's {human_bytes(host.swap_total)} of swap"
        yield Finding(name, Severity.WARNING, f"{text}: limit swap too")
    if isinstance(change.swap, int) and change.swap > 0 and host.swap_total == 0:
        yield Finding(LimitName.SWAP, Severity.INFO, "this machine has no swap, so it changes nothing now")


def _below_use(memory: int, used: int, stays: int, swappable: int) -> Finding:
    """The finding for a limit below the use without cache: the rest is swapped if it fits, else the kernel kills."""
    size = human_bytes(memory)
    if stays - memory <= swappable:
        text = f"{size}: it uses {human_bytes(used)}, so {human_bytes(stays - memory)} go to swap, which is slow"
        return Finding(LimitName.MEMORY, Severity.WARNING, text)
    text = (
        f"{size}: it uses {human_bytes(used)}, and {human_bytes(stays)} of it cannot be reclaimed; "
        "the kernel would kill it"
    )
    return Finding(LimitName.MEMORY, Severity.REFUSE, text)


def _swappable(change: LimitChange, current: Limits, host: HostFacts, use: RecentUse) -> int:
    """Bytes of anonymous memory that fit into swap, limited by the machine's and by the container's swap."""
    limit = change.swap if change.swap is not None else current.swap
    own = max(0, limit - (use.swap or 0)) if isinstance(limit, int) else host.swap_free
    return min(host.swap_free, own, use.anon or 0)


def _pids(change: LimitChange, host: HostFacts, use: RecentUse) -> Iterator[Finding]:
    pids, name = change.pids, LimitName.PIDS
    if isinstance(pids, int):
        if pids < 1:
            yield Finding(name, Severity.REFUSE, f"{pids}: at least 1")
        elif pids > host.pid_max:
            yield Finding(name, Severity.WARNING, f"{pids}: the kernel allows {host.pid_max}, so it limits nothing")
        elif use.pids is not None and pids < use.pids:
            text = f"{pids}: it has {use.pids} tasks; they stay, and nothing new can be started"
            yield Finding(name, Severity.WARNING, text)


def missing_limits(change: LimitChange, current: Limits) -> Iterator[tuple[LimitName, Missing]]:
    """The limits of a change that the kernel does not offer here, with the reason."""
    for name, _ in change.items():
        value = current.get(name)
        if isinstance(value, Missing):
            yield name, value
