"""The kernel's part of a daemon's change of limits: headroom before it, the missing writes after it, and the revert.

If the kernel refuses a part of a change, the rest is reverted too: in the kernel here, and in the daemon's record by
the request that is made of `revert`.

Some daemons hand their whole record to the OCI runtime at every update (Podman from 5.4 on). A limit that was written
to the kernel alone would be lost when another limit is changed, so it is written again. What another client has changed
meanwhile is left as it is: then it is in the daemon's record, or the kernel holds something else than that record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from runtime.errors import PytopError
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

HELD: Final = (Verdict.APPLIED, Verdict.ROUNDED)
_LISTS: Final = frozenset({LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS})


@asynccontextmanager
async def headroom(cgroup: Cgroup | None, change: LimitChange) -> AsyncIterator[None]:
    """Around a daemon's write: a memory limit below what is in use finds room for it, so that nothing is killed.

    The daemon writes memory.max at once, and on cgroup v2 that kills what cannot be reclaimed. Raises `KernelError`
    when there is no room: nothing has been changed then.
    """
    made = await asyncio.to_thread(memory.make_headroom, cgroup, change) if cgroup is not None else None
    try:
        yield
    finally:
        if made is not None:
            await asyncio.to_thread(made.restore)


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
    """Finish what an engine's daemon has begun, and judge all of it by the kernel. Blocking.

    `before` is the kernel's before the change, `earlier` and `recorded` are the engine's record before and after it,
    `name` is what it is called, and `refused` is what it answered when it did not take the change, or failed half-way.
    """
    first = apply.verify(ref, cgroup, change, before, recorded, pid=pid)
    lacking = {field.name for field in first.fields if field.verdict not in (*HELD, Verdict.UNREADABLE)}
    wanted = change.only(lacking).merge(_disturbed(change, before, apply.read(cgroup), earlier, recorded))
    if not wanted:
        return with_persistence(first, recorded)
    try:
        second = apply.change(ref, cgroup, wanted, force=True, pid=pid)
    except PytopError as error:
        return with_persistence(replace(first, error="; ".join(filter(None, (refused, str(error))))), recorded)
    own = {field.name: field for field in second.fields if field.name in lacking}
    last = apply.verify(ref, cgroup, change, before, recorded, pid=pid)
    fields = tuple(_beside(field, own.get(field.name), name, refused) for field in last.fields)
    return with_persistence(replace(last, fields=fields, error=second.error), recorded)


def _disturbed(change: LimitChange, before: Limits, now: Limits, earlier: Limits, recorded: Limits) -> LimitChange:
    """Limits that the daemon has changed unasked, with the values to put back."""
    asked = change.names()
    found: dict[LimitName, Value] = {}
    for name in LimitName:
        held, left = before.get(name), now.get(name)
        if name in asked or asked & CHANGED_WITH.get(name, frozenset()):
            continue
        if isinstance(held, Missing) or isinstance(left, Missing) or isinstance(held, tuple):
            continue
        if same(name, left, held) is None and _by_the_daemon(name, left, earlier.get(name), recorded.get(name)):
            found[name] = held
    return LimitChange.of(found)


def _by_the_daemon(name: LimitName, now: HeldValue, earlier: HeldValue, recorded: HeldValue) -> bool:
    """It wrote what it had recorded all the time, or keeps no record of this limit; else another client was there."""
    if isinstance(recorded, Missing):
        return True
    every = isinstance(recorded, Unlimited) and name in _LISTS  # the kernel tells which ones that are
    return earlier == recorded and (every or same(name, now, recorded) is not None)


def _beside(field: FieldOutcome, own: FieldOutcome | None, name: str, refused: str) -> FieldOutcome:
    """A field's outcome; `own` is that of our own write, if one was needed."""
    if own is None:
        return field
    if field.verdict not in HELD:
        return replace(field, verdict=own.verdict, detail=own.detail)
    if refused and field.engine is not Missing.UNSUPPORTED:
        words = f"written to the kernel: {name} refused it ({refused})"
    elif same(field.name, field.engine, field.requested) is not None:
        words = f"{name} recorded it and did not write it, so it was written to the kernel"
    else:
        words = f"written to the kernel: {name} does not keep it"
    return replace(field, detail="; ".join(filter(None, (words, own.detail))))


def revert(names: Iterable[LimitName], then: Limits, now: Limits) -> LimitChange:
    """The change that makes these limits again what they were; without those that were not known."""
    found: dict[LimitName, Value] = {}
    for name in names:
        value = then.get(name)
        if not isinstance(value, Missing):
            found[name] = _with_lifted(value, now.get(name))
    return LimitChange.of(found)


def _with_lifted(then: Value, now: Value | Missing) -> Value:
    """Of disks, those that had no limit lose the one that they have now."""
    if not isinstance(then, tuple) or not isinstance(now, tuple):
        return then
    known = {each.device for each in then}
    return (*then, *(DeviceRate(each.device, UNLIMITED) for each in now if each.device not in known))


def restore(ref: Ref, cgroup: Cgroup, before: Limits, pid: int | None = None) -> list[str]:
    """Have the kernel hold again what it held, and nothing else. Blocking. Returns why it does not, in words."""
    now = apply.read(cgroup, pid)
    wanted = revert([name for name in LimitName if _moved(before.get(name), now.get(name))], before, now)
    if not wanted:
        return []
    try:
        outcome = apply.change(ref, cgroup, wanted, force=True, pid=pid)
    except PytopError as error:
        return [str(error)]
    return [outcome.error] if outcome.error else []


def _moved(then: Value | Missing, now: Value | Missing) -> bool:
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
    """The outcome of a change that failed in part, once the kernel holds again what it held. Blocking.

    `recorded` is the engine's record by now, and `stuck` says what the engine could not undo in it.
    """
    words = [*stuck, *restore(outcome.ref, cgroup, before, pid)]
    now = apply.read(cgroup, pid)
    fields: list[FieldOutcome] = []
    for field in outcome.fields:
        held, verdict, detail = now.get(field.name), field.verdict, field.detail
        if _moved(field.before, held):
            verdict, detail = Verdict.FAILED, "could not be taken back: " + "; ".join(words)
        elif verdict in HELD:
            verdict, detail = Verdict.ROLLED_BACK, "taken back"
        fields.append(
            replace(
                field,
                kernel=held,
                engine=recorded.get(field.name),
                verdict=verdict,
                detail=detail,
                persistent=None,
            )
        )
    error = "; ".join([outcome.error, *(f"not taken back: {text}" for text in words)])
    return replace(outcome, fields=tuple(fields), error=error)


def annotated(outcome: LimitOutcome, words: str) -> LimitOutcome:
    """The outcome with `words` at each limit that the next start undoes and of which nothing else is said."""
    fields = (
        replace(field, detail=words) if field.persistent is False and not field.detail else field
        for field in outcome.fields
    )
    return replace(outcome, fields=tuple(fields))
