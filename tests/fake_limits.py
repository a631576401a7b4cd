"""The limits of a fake engine's containers: what a kernel would hold, and the outcome of a change. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from runtime import limits
from runtime.limits import HostFacts
from runtime.model import (
    UNLIMITED,
    DeviceRate,
    FieldOutcome,
    LimitChange,
    LimitName,
    Limits,
    Missing,
    Value,
    Verdict,
)

PAGE_BYTES: Final = 4096
UNLIMITED_LIMITS: Final = Limits(
    cpus=UNLIMITED,
    cpu_period=100_000,
    cpu_burst=0,
    cpu_shares=1024,
    cpu_idle=False,
    memory=UNLIMITED,
    memory_high=UNLIMITED,
    memory_reservation=UNLIMITED,
    swap=UNLIMITED,
    pids=UNLIMITED,
    io_weight=100,
    io_read_bps=(),
    io_write_bps=(),
    io_read_iops=(),
    io_write_iops=(),
    net_egress=UNLIMITED,
    net_ingress=UNLIMITED,
)
Scripted = Mapping[LimitName, tuple[Verdict, Any, str]]
"""What comes of a field that is not simply applied: the verdict, what the kernel holds then, and the detail."""


def fresh(machine: HostFacts) -> Limits:
    """What a container without any limit has."""
    return replace(UNLIMITED_LIMITS, cpuset_cpus=machine.cpus, cpuset_mems=machine.mems)


def changed(current: Limits, change: LimitChange, machine: HostFacts) -> Limits:
    """What is held after a change: memory in whole pages, a CPU set that is lifted is the machine's."""
    held: dict[str, Any] = {
        name.value: _held(current.get(name), name, value, machine) for name, value in change.items()
    }
    return replace(current, **held)


def _held(before: Value | Missing, name: LimitName, value: Value, machine: HostFacts) -> Value:
    if value is UNLIMITED and name in (LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS):
        return machine.cpus if name is LimitName.CPUSET_CPUS else machine.mems
    if name in (LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.MEMORY_RESERVATION) and isinstance(value, int):
        return value // PAGE_BYTES * PAGE_BYTES
    if isinstance(value, tuple):
        rates = {each.device: each for each in (before if isinstance(before, tuple) else ())}
        rates |= {each.device: each for each in value}
        return tuple(sorted(DeviceRate(each.device, each.rate) for each in rates.values() if each.rate != UNLIMITED))
    return value


def outcomes(
    before: Limits, after: Limits, recorded: Limits, change: LimitChange, machine: HostFacts, *, scripted: Scripted
) -> tuple[FieldOutcome, ...]:
    """What came of each field on a live container, judged as every engine's change is (`limits.same`)."""
    found = []
    for name, value in change.items():
        kernel = after.get(name)
        wanted = _held(before.get(name), name, value, machine) if value is UNLIMITED else value
        verdict, detail = limits.same(name, kernel, wanted) or Verdict.IGNORED, ""
        if name in scripted:
            verdict, kernel, detail = scripted[name]
        found.append(FieldOutcome(name, value, before.get(name), recorded.get(name), kernel, verdict, detail=detail))
    return tuple(found)


def outcomes_at_rest(before: Limits, recorded: Limits, change: LimitChange) -> tuple[FieldOutcome, ...]:
    """What came of each field where there is no kernel to ask."""
    return tuple(
        FieldOutcome(name, value, before.get(name), recorded.get(name), Missing.GONE, Verdict.UNREADABLE)
        for name, value in change.items()
    )
