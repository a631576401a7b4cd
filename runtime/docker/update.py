"""A change of limits through Docker's API where it can express it, through the kernel where it cannot.

What the API does with an update, measured on 20.10:

- Zeros and unknown fields are ignored with status 200, and memory.high is unknown to it.
- NanoCpus and CpuQuota exclude each other, so a container keeps the form that it has. CpuQuota -1 lifts a quota, but
  beside NanoCpus it stays in the record and wins over every later NanoCpus at the next start: never send it there.
- Memory needs MemorySwap beside it. -1 is refused for Memory, and MemorySwap -1 is recorded but not written. The
  largest size that the kernel knows is taken, written, and read back by the kernel as "unlimited".
- A MemoryReservation above Memory is recorded, and then the container cannot be started any more.

What the API cannot do is written to the kernel, with the nearest harmless value in Docker's record, and the outcome
says so. In any case the kernel is the judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from runtime import limits
from runtime.errors import InvalidError, PytopError, RefusedError, UnsupportedError
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import HostFacts
from runtime.model import (
    ContainerRef,
    FieldOutcome,
    LimitChange,
    LimitOutcome,
    Limits,
    Missing,
    Unlimited,
    Verdict,
)
from runtime.wire.documents import EVERYTHING

HELD: Final = (Verdict.APPLIED, Verdict.ROUNDED)
DEFAULT_PERIOD: Final = 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """What is there before a change.

    Attributes:
        host: Docker's record (HostConfig).
        before: the kernel's limits, or Docker's where the kernel cannot be asked.
        facts: the daemon's machine.
        cgroup_v2: its memory controller is cgroup v2's.
    """

    host: Mapping[str, Any]
    before: Limits
    facts: HostFacts
    cgroup_v2: bool

    def number(self, name: str) -> int:
        return int(self.host.get(name) or 0)


def body(change: LimitChange, held: Held) -> dict[str, Any]:
    """The document for /update; empty when the API has nothing to do with this change.

    Raises `InvalidError` for what contradicts itself, `RefusedError` for what Docker would take and choke on later.
    """
    found: dict[str, Any] = {}
    if change.cpus is not None:
        found.update(_cpus(change.cpus, held))
    if change.cpu_shares is not None:
        found["CpuShares"] = change.cpu_shares
    for field, value, everything in (
        ("CpusetCpus", change.cpuset_cpus, held.facts.cpus),
        ("CpusetMems", change.cpuset_mems, held.facts.mems),
    ):
        if value is not None:
            found[field] = everything if isinstance(value, Unlimited) else value
    if change.pids is not None:
        found["PidsLimit"] = -1 if isinstance(change.pids, Unlimited) else change.pids
    if change.memory is not None or change.swap is not None:
        found.update(_memory(change, held))
    found.update(_reservation(change, held, int(found.get("Memory", 0))))
    return found


def _cpus(cpus: float | Unlimited, held: Held) -> dict[str, Any]:
    nano, quota, period = held.number("NanoCpus"), held.number("CpuQuota"), held.number("CpuPeriod") or DEFAULT_PERIOD
    if isinstance(cpus, Unlimited):
        return {"NanoCpus": held.facts.ncpu * 1_000_000_000} if nano else {"CpuQuota": -1}
    if quota and not nano:
        return {"CpuQuota": max(1000, round(cpus * period)), "CpuPeriod": period}
    return {"NanoCpus": round(cpus * 1e9)}


def _memory(change: LimitChange, held: Held) -> dict[str, Any]:
    memory = change.memory if change.memory is not None else held.before.memory
    swap = change.swap if change.swap is not None else held.before.swap
    if isinstance(memory, int):
        if isinstance(swap, Missing):
            return {"Memory": memory}
        return {"Memory": memory, "MemorySwap": memory + swap if isinstance(swap, int) else -1}
    if isinstance(change.swap, int) and not held.cgroup_v2:
        raise InvalidError(
            "limit swap alone", detail="without a memory limit the kernel bounds no swap", hint="Set memory as well"
        )
    if change.memory is None:
        return {}
    return {"Memory": EVERYTHING, "MemorySwap": -1 if held.cgroup_v2 else EVERYTHING}


def _reservation(change: LimitChange, held: Held, memory: int) -> dict[str, Any]:
    """The reservation, never above the memory limit that Docker will have on record."""
    bound = memory or held.number("Memory") or EVERYTHING
    recorded = held.number("MemoryReservation")
    if isinstance(change.memory_reservation, int):
        return {"MemoryReservation": change.memory_reservation}
    if change.memory_reservation is not None:
        return {"MemoryReservation": bound}
    lifted = recorded > 0 and isinstance(held.before.memory_reservation, Unlimited)
    reserves = not lifted and recorded < (held.number("Memory") or EVERYTHING)
    if recorded <= bound and not (lifted and memory):
        return {}
    if not reserves:  # it follows the memory limit, at which it means nothing
        return {"MemoryReservation": bound}
    raise RefusedError(
        "set memory",
        detail=f"the memory reservation is {recorded} bytes, and Docker does not start a container with less memory",
        hint="Lower the reservation in the same change. Nothing was changed",
    )


def refuse(change: LimitChange, held: Held) -> None:
    """The checks that need no live cgroup: harm by the record and the machine's facts. Raises `RefusedError`."""
    limits.refuse(change, held.before, held.facts, None)
    if change.memory_high is not None:
        raise UnsupportedError(
            "set memory high",
            detail="Docker's API does not know it, and the container has no cgroup on this machine now",
            hint="It can be set on a running container of this machine",
        )


def finish(
    ref: ContainerRef, cgroup: Cgroup, change: LimitChange, before: Limits, engine: Limits, error: str
) -> LimitOutcome:
    """After the daemon's part: write to the kernel what it does not hold yet, and judge. Blocking.

    `error` is what the daemon answered, "" when it took the change; then nothing more is written.
    """
    first = limits.verify(ref, cgroup, change, before, engine)
    lacking = {field.name for field in first.fields if field.verdict not in (*HELD, Verdict.UNREADABLE)}
    if error or not lacking:
        return replace(first, error=error)
    wanted: dict[str, Any] = {name.value: value for name, value in change.items() if name in lacking}
    try:
        second = limits.change(ref, cgroup, LimitChange(**wanted))
    except PytopError as refused:
        return replace(first, error=str(refused))
    own = {field.name: field for field in second.fields}
    last = limits.verify(ref, cgroup, change, before, engine)
    return replace(last, fields=tuple(_beside(field, own.get(field.name)) for field in last.fields), error=second.error)


def _beside(field: FieldOutcome, own: FieldOutcome | None) -> FieldOutcome:
    """A field's outcome; `own` is that of our own write, if one was needed."""
    if own is None:
        return field
    if field.verdict not in HELD:
        return replace(field, verdict=own.verdict, detail=own.detail)
    if field.engine == field.requested:
        return replace(field, detail="Docker recorded it and did not write it, so it was written to the kernel")
    return replace(field, detail=f"written to the kernel: Docker cannot record it and keeps {field.engine}")


def unread(ref: ContainerRef, change: LimitChange, held: Held, engine: Limits, detail: str) -> LimitOutcome:
    """The outcome where no kernel can be asked: Docker's record is all there is."""
    return LimitOutcome(
        ref,
        tuple(
            FieldOutcome(name, value, held.before.get(name), engine.get(name), Missing.GONE, Verdict.UNREADABLE, detail)
            for name, value in change.items()
        ),
    )
