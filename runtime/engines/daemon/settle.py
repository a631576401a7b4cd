"""The kernel's part of a daemon's change of limits: headroom before it, missing writes after it, and the revert.

If the kernel refuses a part of a change, the rest is reverted too: in the kernel here, and in the daemon's record by
a request made from `revert`.

Some daemons pass their whole record to the OCI runtime at every update (Podman from 5.4 on). A limit that was written
only to the kernel would be lost when another limit is changed, so it is written again. A change that another client
made meanwhile is kept: then the daemon's record has it, or the kernel holds another value than that record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from runtime.errors import PytopError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import apply
from runtime.limits.controllers import memory
from runtime.limits.dependencies import CHANGED_WITH
from runtime.limits.verdict import HeldValue, same, with_persistence
from runtime.model import (
    UNLIMITED,
    ContainerRef,
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

SUCCESSFUL_VERDICTS: Final = (Verdict.APPLIED, Verdict.ROUNDED)
_CPUSET_LISTS: Final = frozenset({LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS})


@asynccontextmanager
async def headroom(cgroup: Cgroup | None, change: LimitChange) -> AsyncIterator[None]:
    """Around a daemon's write: reclaims memory first when the new limit is below the use, so that nothing is killed.

    The daemon writes memory.max directly, and on cgroup v2 that kills when too little can be reclaimed. Raises
    `KernelError` when there is not enough headroom: nothing has been changed then.
    """
    if cgroup is None:
        yield
        return
    made = await threads.acquiring(lambda: memory.make_headroom(cgroup, change), _restore)
    try:
        yield
    finally:
        if made is not None:
            await threads.acting(made.restore)


def _restore(made: memory.Headroom | None) -> None:
    if made is not None:
        made.restore()


def settle(
    ref: ContainerRef,
    cgroup: Cgroup,
    change: LimitChange,
    before: Limits,
    recorded: Limits,
    *,
    earlier: Limits,
    name: str,
    refused: str = "",
    pid: int | None = None,
) -> LimitOutcome:
    """Write the limits that an engine's daemon did not apply, and compare all with the kernel. Blocking.

    `before` are the kernel's limits before the change, `earlier` and `recorded` are the engine's record before and
    after it, `name` is the engine's, and `refused` is the daemon's error when it refused the change or failed half-way.
    """
    first = apply.verify(ref, cgroup, change, before, recorded, pid=pid)
    missing = {field.name for field in first.fields if field.verdict not in (*SUCCESSFUL_VERDICTS, Verdict.UNREADABLE)}
    wanted = change.only(missing).merge(_disturbed(change, before, apply.read(cgroup), earlier, recorded))
    if not wanted:
        return with_persistence(first, recorded)
    try:
        second = apply.change(ref, cgroup, wanted, force=True, pid=pid)
    except PytopError as error:
        return with_persistence(replace(first, error="; ".join(filter(None, (refused, str(error))))), recorded)
    own = {field.name: field for field in second.fields if field.name in missing}
    last = apply.verify(ref, cgroup, change, before, recorded, pid=pid)
    fields = tuple(_merged_field(field, own.get(field.name), name, refused) for field in last.fields)
    return with_persistence(replace(last, fields=fields, error=second.error), recorded)


def _disturbed(change: LimitChange, before: Limits, now: Limits, earlier: Limits, recorded: Limits) -> LimitChange:
    """Limits that the daemon has changed without a request, with the values to restore."""
    asked = change.names()
    restored: dict[LimitName, Value] = {}
    for name in LimitName:
        previous, current = before.get(name), now.get(name)
        if name in asked or asked & CHANGED_WITH.get(name, frozenset()):
            continue
        if isinstance(previous, Missing) or isinstance(current, Missing) or isinstance(previous, tuple):
            continue
        if same(name, current, previous) is None and _by_the_daemon(
            name, current, earlier.get(name), recorded.get(name)
        ):
            restored[name] = previous
    return LimitChange.of(restored)


def _by_the_daemon(name: LimitName, now: HeldValue, earlier: HeldValue, recorded: HeldValue) -> bool:
    """Whether the daemon wrote its unchanged record, or has no record of this limit; else another client changed it."""
    if isinstance(recorded, Missing):
        return True
    every = isinstance(recorded, Unlimited) and name in _CPUSET_LISTS  # the kernel holds the full list then
    return earlier == recorded and (every or same(name, now, recorded) is not None)


def _merged_field(field: FieldOutcome, own: FieldOutcome | None, name: str, refused: str) -> FieldOutcome:
    """A field's outcome; `own` is the outcome of this program's write, if one was needed."""
    if own is None:
        return field
    if field.verdict not in SUCCESSFUL_VERDICTS:
        return replace(field, verdict=own.verdict, detail=own.detail)
    if refused and field.engine is not Missing.UNSUPPORTED:
        words = f"written to the kernel: {name} refused it ({refused})"
    elif same(field.name, field.engine, field.requested) is not None:
        words = f"{name} recorded it and did not write it, so it was written to the kernel"
    else:
        words = f"written to the kernel: {name} does not keep it"
    return replace(field, detail="; ".join(filter(None, (words, own.detail))))


def revert(names: Iterable[LimitName], then: Limits, now: Limits) -> LimitChange:
    """The change that restores these limits, without those that were not known."""
    restored: dict[LimitName, Value] = {}
    for name in names:
        value = then.get(name)
        if not isinstance(value, Missing):
            restored[name] = _with_lifted(value, now.get(name))
    return LimitChange.of(restored)


def _with_lifted(then: Value, now: Value | Missing) -> Value:
    """The value to restore; disks that had no limit before get an unlimited rate."""
    if not isinstance(then, tuple) or not isinstance(now, tuple):
        return then
    known = {each.device for each in then}
    return (*then, *(DeviceRate(each.device, UNLIMITED) for each in now if each.device not in known))


def restore(ref: Ref, cgroup: Cgroup, before: Limits, pid: int | None = None) -> list[str]:
    """Restore the kernel's limits. Blocking. Returns messages about those that could not be restored."""
    now = apply.read(cgroup, pid)
    wanted = revert([name for name in LimitName if _differs(before.get(name), now.get(name))], before, now)
    if not wanted:
        return []
    try:
        outcome = apply.change(ref, cgroup, wanted, force=True, pid=pid)
    except PytopError as error:
        return [str(error)]
    return [outcome.error] if outcome.error else []


def _differs(then: Value | Missing, now: Value | Missing) -> bool:
    return then != now and not isinstance(then, Missing) and not isinstance(now, Missing)


def take_back(
    outcome: LimitOutcome,
    cgroup: Cgroup,
    before: Limits,
    recorded: Limits,
    *,
    stuck: Iterable[str] = (),
    pid: int | None = None,
) -> LimitOutcome:
    """The outcome of a change that failed in part and was reverted in the kernel. Blocking.

    `recorded` is the engine's current record, and `stuck` are messages about what could not be reverted in it.
    """
    words = [*stuck, *restore(outcome.ref, cgroup, before, pid)]
    now = apply.read(cgroup, pid)
    fields: list[FieldOutcome] = []
    for field in outcome.fields:
        current, verdict, detail = now.get(field.name), field.verdict, field.detail
        if _differs(field.before, current):
            verdict, detail = Verdict.FAILED, "could not be taken back: " + "; ".join(words)
        elif verdict in SUCCESSFUL_VERDICTS:
            verdict, detail = Verdict.ROLLED_BACK, "taken back"
        fields.append(
            replace(
                field,
                kernel=current,
                engine=recorded.get(field.name),
                verdict=verdict,
                detail=detail,
                persistent=None,
            )
        )
    error = "; ".join([outcome.error, *(f"not taken back: {text}" for text in words)])
    return replace(outcome, fields=tuple(fields), error=error)


def annotated(outcome: LimitOutcome, words: str) -> LimitOutcome:
    """The outcome with the detail `words` at each limit without a detail that the next start would undo."""
    fields = (
        replace(field, detail=words) if field.persistent is False and not field.detail else field
        for field in outcome.fields
    )
    return replace(outcome, fields=tuple(fields))
