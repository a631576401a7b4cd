"""Limits of the embedded engine's containers: those on record, the check of a change, and the change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from runtime import limits
from runtime.engines.embedded.config import DEFAULT_PIDS
from runtime.engines.embedded.state.record import KEY, ContainerRecord
from runtime.errors import InvalidError, PytopError, UnsupportedError
from runtime.kernel import filesystems
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US
from runtime.model import (
    NETWORK_LIMITS,
    UNLIMITED,
    ContainerRef,
    ContainerSpec,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Value,
    Verdict,
)

_SUCCESS: Final = (Verdict.APPLIED, Verdict.ROUNDED)


def wanted(record: ContainerRecord) -> LimitChange:
    """The limits that the next start sets: those of the spec, and the default limit of tasks."""
    asked = record.spec.limits
    return asked if asked.pids is not None else replace(asked, pids=DEFAULT_PIDS)


def persisted_limits(record: ContainerRecord, hierarchies: Hierarchies) -> Limits:
    """The limits after the next start, with the kernel's default where none is set."""
    host = limits.host_facts()
    no_reservation = UNLIMITED if "memory" in hierarchies.v1 else 0
    asked: dict[LimitName, Value | Missing] = dict(wanted(record).items())
    for name, everything in ((LimitName.CPUSET_CPUS, host.cpus), (LimitName.CPUSET_MEMS, host.mems)):
        if asked.get(name) is UNLIMITED:
            asked[name] = everything
    if asked.get(LimitName.MEMORY_RESERVATION) in (0, UNLIMITED):
        asked[LimitName.MEMORY_RESERVATION] = no_reservation
    fresh = Limits(
        cpus=UNLIMITED,
        cpu_period=DEFAULT_PERIOD_US,
        cpu_burst=0,
        cpu_shares=1024,
        cpu_idle=False,
        cpuset_cpus=host.cpus,
        cpuset_mems=host.mems,
        memory=UNLIMITED,
        memory_high=UNLIMITED,
        memory_reservation=no_reservation,
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
    return fresh.merge(asked | dict.fromkeys(_unsupported(record.spec, hierarchies), Missing.UNSUPPORTED))


def _unsupported(spec: ContainerSpec, hierarchies: Hierarchies) -> dict[LimitName, str]:
    found = limits.unsupported_limits(hierarchies)
    if spec.network != "bridge":
        found.update(dict.fromkeys(NETWORK_LIMITS, "the container has no network (it was made with --network none)"))
    return found


def check(change: LimitChange, spec: ContainerSpec, hierarchies: Hierarchies) -> None:
    """Raise `InvalidError` for a wrong change, `UnsupportedError` with the reason for a limit that is not possible."""
    limits.validate(change)
    absent = _unsupported(spec, hierarchies)
    for name, _ in change.items():
        if name in absent:
            raise UnsupportedError(f"set {name.value.replace('_', ' ')}", detail=absent[name])


def refuse(change: LimitChange, held: LimitChange) -> None:
    """Raise `RefusedError` for a change that would do harm at the next start; `held` are the limits on record."""
    known = Limits.of(dict(held.without({LimitName.CPU_IDLE}).items()))
    limits.refuse(change, known, limits.host_facts(), None)


def update(
    record: ContainerRecord,
    change: LimitChange,
    hierarchies: Hierarchies,
    cgroup: Cgroup,
    keep: Callable[[LimitChange], ContainerRecord],
) -> LimitOutcome:
    """Change limits of a live container, or those of the next start; `keep` records those that were set."""
    if not change:
        raise InvalidError("The change of limits asks for nothing", hint="name at least one limit")
    check(change, record.spec, hierarchies)
    if not record.state.live:
        return _at_rest(record, change, hierarchies, keep)
    outcome = limits.change(ContainerRef(KEY, record.id), cgroup, change, pid=record.pid)
    kept = change.only({f.name for f in outcome.fields if f.verdict in _SUCCESS})
    why = ""
    if kept:
        try:
            record = keep(kept)
        except PytopError as error:
            if not (record.damage or filesystems.refuses(error)):
                raise
            why = f"until restart, since it could not be recorded: {error}"
    outcome = limits.with_persistence(outcome, persisted_limits(record, hierarchies))
    return replace(outcome, fields=tuple(_unrecorded(each, why) if why else each for each in outcome.fields))


def _unrecorded(field: FieldOutcome, why: str) -> FieldOutcome:
    """A limit that is set but could not be recorded; a value equal to that on record survives a restart."""
    return replace(field, detail=f"{field.detail}; {why}".lstrip("; ")) if field.persistent is False else field


def _at_rest(
    record: ContainerRecord,
    change: LimitChange,
    hierarchies: Hierarchies,
    keep: Callable[[LimitChange], ContainerRecord],
) -> LimitOutcome:
    refuse(change, record.spec.limits)
    before: Limits = persisted_limits(record, hierarchies)
    after = persisted_limits(keep(change), hierarchies)

    def field(name: LimitName, value: Value) -> FieldOutcome:
        detail = "applies at the next start"
        return FieldOutcome(
            name,
            value,
            before.get(name),
            after.get(name),
            Missing.GONE,
            Verdict.UNREADABLE,
            detail=detail,
            persistent=True,
        )

    return LimitOutcome(ContainerRef(KEY, record.id), tuple(field(name, value) for name, value in change.items()))
