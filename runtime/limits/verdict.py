"""The outcome of a change: compares each requested limit with what the kernel holds afterwards.

The kernel rounds bytes down to pages and bandwidth to whole microseconds; v1 clamps and v2 converts CPU weights.
A limit that still has its old value was ignored, whatever the answer to the write was.
"""

from __future__ import annotations

import mmap
from dataclasses import replace
from typing import Final

from runtime.errors import InvalidError
from runtime.kernel import cpu_weight
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.controllers import cpuset, memory, weight
from runtime.limits.units import cpuset_numbers, format_value
from runtime.model import (
    UNLIMITED,
    DeviceRate,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Ref,
    Unlimited,
    Value,
    Verdict,
)

PAGE_BYTES: Final = mmap.PAGESIZE
CPU_TOLERANCE_CORES: Final = 0.001  # one microsecond in the shortest period
HeldValue = Value | Missing


def outcome_of(
    ref: Ref, cgroup: Cgroup, wanted: LimitChange, before: Limits, now: Limits, engine: Limits | None
) -> LimitOutcome:
    """The outcome of a change with one verdict per limit; `now` is what the kernel holds."""
    outcomes: list[FieldOutcome] = []
    for name, value in wanted.items():
        current = now.get(name)
        verdict, detail = _verdict_of(cgroup, name, value, before.get(name), current)
        says: HeldValue = engine.get(name) if engine is not None else value
        outcomes.append(FieldOutcome(name, value, before.get(name), says, current, verdict, detail=detail))
    return LimitOutcome(ref, tuple(outcomes))


def _verdict_of(
    cgroup: Cgroup, name: LimitName, value: Value, before: HeldValue, current: HeldValue
) -> tuple[Verdict, str]:
    if isinstance(current, Missing):
        return Verdict.UNREADABLE, str(current)
    wanted: HeldValue = value
    if isinstance(value, Unlimited) and name in (LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS):
        wanted = cpuset.available(cgroup, "cpus" if name is LimitName.CPUSET_CPUS else "mems")
    verdict = same(name, current, wanted)
    if name is LimitName.MEMORY_RESERVATION and value in (0, UNLIMITED):
        verdict = Verdict.APPLIED if current == memory.no_reservation(cgroup) else None
    if name is LimitName.CPU_SHARES and current != value:
        verdict = None
    if verdict is None and name is LimitName.CPU_SHARES and isinstance(value, int):
        now = weight.weight(cgroup)
        if now is not None and now in (cpu_weight.shares_to_weight(value), cpu_weight.shares_to_weight_linear(value)):
            return Verdict.APPLIED, f"cpu.weight {now}"
    if verdict is None:
        words = (
            "the kernel still holds the old value"
            if current == before
            else f"the kernel holds {format_value(name, current)}"
        )
        return (Verdict.IGNORED if current == before else Verdict.FAILED), words
    return verdict, ""


def with_persistence(outcome: LimitOutcome, recorded: Limits) -> LimitOutcome:
    """The outcome with each field's `persistent`: whether the engine's record holds what the container has now.

    `recorded` is what `Engine.recorded` says after the change. It is None for a limit that was not changed.
    """
    return replace(
        outcome, fields=tuple(replace(f, persistent=_is_persistent(f, recorded.get(f.name))) for f in outcome.fields)
    )


def _is_persistent(field: FieldOutcome, recorded: HeldValue) -> bool | None:
    if field.verdict not in (Verdict.APPLIED, Verdict.ROUNDED, Verdict.UNREADABLE):
        return None
    if isinstance(recorded, Missing):
        return False if recorded is Missing.UNSUPPORTED else None
    if same(field.name, recorded, field.requested) is not None:
        return True
    return not isinstance(field.requested, tuple) and same(field.name, recorded, field.kernel) is not None


def same(name: LimitName, current: HeldValue, wanted: HeldValue) -> Verdict | None:
    """APPLIED when the kernel holds the value, ROUNDED when it holds the nearest possible one, else None."""
    if current == wanted:
        return Verdict.APPLIED
    if name is LimitName.MEMORY_RESERVATION and {current, wanted} == {0, UNLIMITED}:
        return Verdict.APPLIED  # no reservation: v1 writes its largest number for it and v2 0
    if isinstance(current, (Unlimited, Missing)) or isinstance(wanted, (Unlimited, Missing)):
        return None
    if isinstance(current, tuple) or isinstance(wanted, tuple):
        return (
            Verdict.APPLIED
            if isinstance(current, tuple) and isinstance(wanted, tuple) and _rates(current, wanted)
            else None
        )
    if isinstance(current, str) or isinstance(wanted, str):
        return Verdict.APPLIED if _same_list(str(current), str(wanted)) else None
    if name is LimitName.CPU_SHARES:  # v2 stores a weight, to which several numbers of shares convert
        return (
            Verdict.APPLIED
            if cpu_weight.shares_to_weight(int(current)) == cpu_weight.shares_to_weight(int(wanted))
            else None
        )
    if name is LimitName.CPUS:
        difference = abs(current - wanted)
        return Verdict.APPLIED if difference < 1e-9 else Verdict.ROUNDED if difference < CPU_TOLERANCE_CORES else None
    if name in (LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.MEMORY_RESERVATION):
        return Verdict.ROUNDED if abs(current - wanted) < PAGE_BYTES else None
    if name in (LimitName.NET_EGRESS, LimitName.NET_INGRESS):
        return Verdict.ROUNDED if abs(current - wanted) < 8 else None  # the kernel stores whole bytes per second
    if name is LimitName.SWAP:  # on v1 the difference of two rounded numbers
        return Verdict.ROUNDED if abs(current - wanted) < 2 * PAGE_BYTES else None
    return None


def _rates(current: tuple[DeviceRate, ...], wanted: tuple[DeviceRate, ...]) -> bool:
    """Whether each requested device has the requested rate; other devices are not compared."""
    now = {each.device: each.rate for each in current}
    return all(now.get(each.device, UNLIMITED) == each.rate for each in wanted)


def _same_list(first: str, second: str) -> bool:
    try:
        return cpuset_numbers(first) == cpuset_numbers(second)
    except InvalidError:
        return False
