"""Leases that an engine's API sets, for who may not write the kernel. They are held by this program and end with it.

No keeper can end them, since it speaks to no engine; their file tells others that they are there, and of whom.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from runtime.containment import apply, audit, ending, holder, store
from runtime.containment.lease import Lease, LeaseState
from runtime.errors import ConflictError, NotFoundError, PytopError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.verdict import same
from runtime.model import LimitChange, LimitOutcome, Missing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiSetter:
    """How an engine's API changes limits, and changes them back."""

    set: Callable[[LimitChange], Awaitable[LimitOutcome]]
    revert: Callable[[LimitChange], Awaitable[LimitOutcome]]


_setters: dict[str, ApiSetter] = {}
"""By lease of this process."""


async def take(wanted: Lease, cgroup: Cgroup | None, setter: ApiSetter) -> tuple[Lease, LimitOutcome]:
    """As `leases.take`."""
    leased = await threads.acting(apply.identify, cgroup) if cgroup is not None else None
    lease = replace(wanted, by_api=True, cgroup=leased)
    entry = await threads.acting(audit.of_lease, audit.LEASE, lease)
    await threads.acting(store.write, lease)
    await threads.acting(audit.record, entry)
    _setters[lease.id] = setter
    try:
        outcome = await setter.set(wanted.change)
    except BaseException as error:
        forget(lease.id)
        await threads.acting(store.remove, lease.id)
        await threads.acting(audit.record, replace(entry, outcome=str(error) or "interrupted"))
        raise
    await threads.acting(audit.record, audit.finished(entry, outcome))
    held = {each.name: each.kernel for each in outcome.fields if not isinstance(each.kernel, Missing)}
    old = {each.name: each.before for each in outcome.fields if not isinstance(each.before, Missing)}
    lease = replace(lease, change=LimitChange.of(held), before=LimitChange.of(old))
    if not outcome.ok:
        forget(lease.id)
        await threads.acting(store.remove, lease.id)
        return replace(lease, state=LeaseState.FAILED, result=outcome.error, ended_ns=store.now_ns()), outcome
    await threads.acting(store.write, lease)
    return lease, outcome


async def revert(lease: Lease, reason: str = "") -> Lease:
    """Take a lease back through the engine: each limit that the kernel still holds as the lease has set it."""
    setter = _setters.pop(lease.id, None)
    if setter is None:
        raise ConflictError(
            f"take back the lease of {lease.name}",
            detail=f"it is held by {holder.words(lease.holder)} through the engine's API, and that alone can end it",
        )
    entry = await threads.acting(ending.taking_back, lease, reason)
    await threads.acting(audit.record, entry)
    back, settled = await threads.acting(_unchanged, lease)
    try:
        outcome = await setter.revert(back) if back else LimitOutcome(lease.ref, ())
    except NotFoundError:
        settled.say(LeaseState.GONE, "it is gone")
    except PytopError as error:
        settled.say(LeaseState.FAILED, str(error))
    else:
        if not outcome.ok:
            settled.say(LeaseState.FAILED, outcome.error or "the engine has not done it")
    ended = await threads.acting(apply.finish, lease, settled)
    await threads.acting(audit.record, ending.taken_back(entry, ended))
    if ended.active:
        _setters[lease.id] = setter
    return ended


def _unchanged(lease: Lease) -> tuple[LimitChange, apply.Settled]:
    settled = apply.Settled()
    cgroup = apply.locate(lease.cgroup) if lease.cgroup is not None else None
    if cgroup is None:
        return lease.before, settled
    limits = apply.read(cgroup, lease.change, lease.pid)
    changed = [
        name
        for name, value in lease.change.items()
        if not isinstance(limits.get(name), Missing) and same(name, limits.get(name), value) is None
    ]
    for name in changed:
        settled.say(LeaseState.CONFLICT, f"{name.value} was changed by somebody else")
    return lease.before.without(changed), settled


def forget(lease_id: str) -> None:
    """It has ended in another way."""
    _setters.pop(lease_id, None)


async def end_expired() -> None:
    """Take back those whose time is over."""
    await _end(ending.is_expired)


async def end_all() -> None:
    """Take back all of this process, which is about to end."""
    await _end(lambda _: True)


async def _end(is_due: Callable[[Lease], bool]) -> None:
    for lease_id in tuple(_setters):
        lease = await threads.acting(store.read, lease_id)
        if lease is None or not lease.active:
            forget(lease_id)
        elif is_due(lease):
            ended = await revert(lease)
            if ended.active:
                log.warning("the lease of %s could not be taken back: %s", lease.name, ended.result)
