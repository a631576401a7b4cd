"""A change of limits through Docker's API where it can express it, through the kernel where it cannot.

What the API does with an update: zeros and unknown fields are ignored with status 200; NanoCpus and CpuQuota exclude
each other, so a container keeps the form that it has; memory, reservation and a NanoCpus limit cannot be lifted; Memory
needs MemorySwap beside it; memory.high is unknown. What it cannot do is written to the kernel, and the outcome says so.
In any case the kernel is the judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from runtime import limits
from runtime.errors import InvalidError, UnsupportedError
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import HostFacts
from runtime.model import (
    ContainerRef,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Unlimited,
    Verdict,
)

HELD: Final = (Verdict.APPLIED, Verdict.ROUNDED)
BESIDE: Final = "written to the kernel; Docker's API cannot do it, so its own record and a restart have the old value"


def split(
    change: LimitChange, host: Mapping[str, Any], before: Limits, facts: HostFacts
) -> tuple[dict[str, Any], frozenset[LimitName]]:
    """(the body for /update, the limits that only the kernel can be asked for)."""
    body: dict[str, Any] = {}
    kernel: set[LimitName] = set()
    if change.cpus is not None:
        _cpus(change.cpus, host, body, kernel)
    if change.cpu_shares is not None:
        body["CpuShares"] = change.cpu_shares
    if change.cpuset_cpus is not None:
        body["CpusetCpus"] = facts.cpus if isinstance(change.cpuset_cpus, Unlimited) else change.cpuset_cpus
    if change.cpuset_mems is not None:
        body["CpusetMems"] = facts.mems if isinstance(change.cpuset_mems, Unlimited) else change.cpuset_mems
    if change.pids is not None:
        body["PidsLimit"] = -1 if isinstance(change.pids, Unlimited) else change.pids
    if change.memory is not None or change.swap is not None:
        _memory(change, before, body, kernel)
    if isinstance(change.memory_reservation, int):
        body["MemoryReservation"] = change.memory_reservation
    elif change.memory_reservation is not None:
        kernel.add(LimitName.MEMORY_RESERVATION)
    if change.memory_high is not None:
        kernel.add(LimitName.MEMORY_HIGH)
    return body, frozenset(kernel)


def _cpus(cpus: float | Unlimited, host: Mapping[str, Any], body: dict[str, Any], kernel: set[LimitName]) -> None:
    nano, quota = int(host.get("NanoCpus") or 0), int(host.get("CpuQuota") or 0)
    if isinstance(cpus, Unlimited):
        if nano:
            kernel.add(LimitName.CPUS)
        else:
            body["CpuQuota"] = -1
    elif quota > 0 and not nano:
        period = int(host.get("CpuPeriod") or 0) or 100_000
        body.update(CpuQuota=max(1000, round(cpus * period)), CpuPeriod=period)
    elif quota < 0 and not nano:
        body.update(CpuQuota=max(1000, round(cpus * 100_000)), CpuPeriod=100_000)
    else:
        body["NanoCpus"] = round(cpus * 1e9)


def _memory(change: LimitChange, before: Limits, body: dict[str, Any], kernel: set[LimitName]) -> None:
    memory = change.memory if change.memory is not None else before.memory
    swap = change.swap if change.swap is not None else before.swap
    if not isinstance(memory, int):
        if isinstance(swap, int) and change.swap is not None:
            raise InvalidError(
                "limit swap alone", detail="without a memory limit the kernel bounds no swap", hint="Set memory as well"
            )
        kernel.update(name for name in (LimitName.MEMORY, LimitName.SWAP) if getattr(change, name.value) is not None)
        return
    body["Memory"] = memory
    if not isinstance(swap, Missing):
        body["MemorySwap"] = memory + swap if isinstance(swap, int) else -1


def only(change: LimitChange, names: frozenset[LimitName] | set[LimitName]) -> LimitChange:
    """The part of a change that is about `names`."""
    kept: dict[str, Any] = {name.value: value for name, value in change.items() if name in names}
    return LimitChange(**kept)


def refuse_at_rest(kernel: frozenset[LimitName]) -> None:
    """Raise for what only the kernel could be asked for, when there is no live cgroup to ask."""
    if kernel:
        raise UnsupportedError(
            f"set {', '.join(sorted(name.value.replace('_', ' ') for name in kernel))}",
            detail="Docker's API cannot do this, and the container does not run, so the kernel cannot be asked",
            hint="Start it first, or create it anew",
        )


def finish(
    ref: ContainerRef,
    cgroup: Cgroup,
    change: LimitChange,
    before: Limits,
    engine: Limits,
) -> LimitOutcome:
    """After the daemon's part: write to the kernel what it does not hold yet, and judge. Blocking."""
    first = limits.verify(ref, cgroup, change, before, engine)
    missing = {
        field.name for field in first.fields if field.verdict not in HELD and field.verdict is not Verdict.UNREADABLE
    }
    if not missing:
        return first
    second = limits.change(ref, cgroup, only(change, missing))
    by_name: dict[LimitName, FieldOutcome] = {field.name: field for field in second.fields}
    last = limits.verify(ref, cgroup, change, before, engine)
    fields: list[FieldOutcome] = []
    for field in last.fields:
        if field.name in missing and field.verdict in HELD:
            fields.append(replace(field, detail=BESIDE))
        elif field.name in missing:
            own = by_name[field.name]
            fields.append(replace(field, verdict=own.verdict, detail=own.detail))
        else:
            fields.append(field)
    return replace(last, fields=tuple(fields), error=second.error)


def at_rest(ref: ContainerRef, change: LimitChange, before: Limits, engine: Limits) -> LimitOutcome:
    """The outcome for a container that does not run: Docker's record is all there is."""
    return LimitOutcome(
        ref,
        tuple(
            FieldOutcome(
                name, value, before.get(name), engine.get(name), Missing.GONE, Verdict.UNREADABLE, "for the next start"
            )
            for name, value in change.items()
        ),
    )
