"""Leases for who has an event loop: take, renew, confirm, take back. Each holds the container's lock meanwhile.

The kernel's part is in `apply`, the end at its time in `keeper_process`, and what is left by the dead in `ending`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from runtime.containment import apply, ending, holder, keeper, store
from runtime.containment.lease import CONTAINER, Lease, LeaseState
from runtime.errors import ConflictError, DeniedError, InvalidError, NotFoundError, PytopError
from runtime.kernel import cgroups, procfs, threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.self_protection import protect_own_container, protect_self
from runtime.limits.lock import change_lock, with_warning
from runtime.limits.verdict import same
from runtime.model import (
    GroupRef,
    LimitChange,
    LimitOutcome,
    Missing,
    Ref,
)
from runtime.model.limits import NO_CHANGE

log = logging.getLogger(__name__)

read_all = store.read_all
settle_abandoned = ending.settle_abandoned


@dataclass(frozen=True, slots=True)
class ApiSetter:
    """How an engine's API changes limits, for who may not write the kernel."""

    set: Callable[[LimitChange], Awaitable[LimitOutcome]]
    revert: Callable[[LimitChange], Awaitable[LimitOutcome]]


_by_api: dict[str, ApiSetter] = {}
"""Leases of this process that only an engine's API can take back."""


async def take(
    ref: Ref,
    name: str,
    cgroup: Cgroup | None,
    change: LimitChange,
    *,
    pid: int | None,
    seconds: float,
    reason: str = "",
    freeze: bool = False,
    force: bool = False,
    by_api: ApiSetter | None = None,
    target: str = CONTAINER,
) -> tuple[Lease, LimitOutcome]:
    """Change limits of a cgroup, and freeze it, for some seconds. The outcome is read back from the kernel.

    `pid` is a process of it, by which its network is found. Where this user may not write the kernel and `by_api` is
    given, the engine is asked: such a lease ends with this program (`Lease.by_api`). A lease whose state is FAILED has
    set nothing; the outcome says why.

    Raises what `limits.change` does, `ConflictError` naming the holder when another program's lease holds one of these
    limits, and `KernelError` when the lease cannot be noted: nothing is changed then.
    """
    title = f"limit {name} for {seconds:g} s"
    if not seconds > 0:
        raise InvalidError(title, detail="a lease needs a time")
    if not change and not freeze:
        raise InvalidError(title, detail="there is nothing to change")
    now = store.now_ns()
    wanted = Lease(
        id=store.new_id(),
        ref=ref,
        name=name,
        target=target,
        boot=procfs.boot_id(),
        change=change,
        before=NO_CHANGE,
        frozen=freeze,
        created_ns=now,
        expires_ns=now + int(seconds * 1e9),
        holder=await threads.acting(holder.current),
        reason=reason,
        pid=pid,
    )
    if cgroup is None:
        if by_api is None:
            raise NotFoundError(title, detail="it has no cgroup of its own on this machine")
        return await _take_by_api(wanted, None, by_api)
    try:
        return await _take_in_kernel(title, wanted, cgroup, force=force)
    except DeniedError:
        if by_api is None or freeze:
            raise
        return await _take_by_api(wanted, cgroup, by_api)


async def _take_in_kernel(title: str, wanted: Lease, cgroup: Cgroup, *, force: bool) -> tuple[Lease, LimitOutcome]:
    async with change_lock(cgroup, title) as unlocked:
        lease = await threads.acting(_begin, title, wanted, cgroup)
        unkept = await keeper.ensure()
        lease, outcome = await threads.acting(lambda: apply.establish(lease, cgroup, force=force))
    return lease, with_warning(with_warning(outcome, unlocked), unkept)


def _begin(title: str, wanted: Lease, cgroup: Cgroup) -> Lease:
    """Check that it may be done, and note it."""
    protect_self(title, cgroup, wanted.pid, unknown_is_ours=isinstance(wanted.ref, GroupRef))
    protect_own_container(title, wanted.ref.id)
    leased = replace(wanted, cgroup=apply.identify(cgroup))
    ours = [each for each in store.read_all() if each.active and each.is_of(leased)]
    for each in ours:
        if holder.is_own(each.holder) or not holder.is_alive(each.holder):
            continue
        names = sorted(name.value for name in each.shares(leased))
        if names or (each.frozen and leased.frozen):
            detail = f"{holder.words(each.holder)} holds a lease of {', '.join(names) or 'its freezing'}"
            raise ConflictError(title, detail=detail, hint="It ends by itself, or that program ends it")
    if leased.frozen and cgroups.is_frozen(cgroup) and not any(each.frozen for each in ours):
        raise ConflictError(title, detail="it is frozen already, and not by a lease")
    return apply.note(leased, cgroup)


# by the engine's API


async def _take_by_api(wanted: Lease, cgroup: Cgroup | None, setter: ApiSetter) -> tuple[Lease, LimitOutcome]:
    leased = await threads.acting(apply.identify, cgroup) if cgroup is not None else None
    lease = replace(wanted, by_api=True, cgroup=leased)
    await threads.acting(store.write, lease)
    _by_api[lease.id] = setter
    try:
        outcome = await setter.set(wanted.change)
    except BaseException:
        del _by_api[lease.id]
        await threads.acting(store.remove, lease.id)
        raise
    held = {each.name: each.kernel for each in outcome.fields}
    old = {each.name: each.before for each in outcome.fields}
    lease = replace(
        lease,
        change=LimitChange.of({name: value for name, value in held.items() if not isinstance(value, Missing)}),
        before=LimitChange.of({name: value for name, value in old.items() if not isinstance(value, Missing)}),
    )
    if not outcome.ok:
        del _by_api[lease.id]
        await threads.acting(store.remove, lease.id)
        return replace(lease, state=LeaseState.FAILED, result=outcome.error, ended_ns=store.now_ns()), outcome
    await threads.acting(store.write, lease)
    return lease, outcome


async def _revert_by_api(lease: Lease, reason: str) -> Lease:
    """Take a lease back through the engine: each limit that the kernel still holds as the lease has set it."""
    setter = _by_api.pop(lease.id, None)
    lease = replace(lease, reason="; ".join(filter(None, (lease.reason, reason))))
    if setter is None:
        raise ConflictError(
            f"take back the lease of {lease.name}",
            detail=f"it is held by {holder.words(lease.holder)} through the engine's API, and that alone can end it",
        )
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
    if ended.active:
        _by_api[lease.id] = setter
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


# the end of a lease, and its renewal


async def renew(lease_id: str, seconds: float) -> Lease:
    """Let a lease end in so many seconds from now. Raises `ConflictError` when it has ended."""

    def work(lease: Lease) -> Lease:
        renewed = replace(lease, expires_ns=store.now_ns() + int(seconds * 1e9))
        store.write(renewed)
        return renewed

    lease = await _locked("renew the lease", lease_id, work)
    await keeper.ensure()
    return lease


async def confirmed(lease_id: str) -> Lease:
    """End a lease without taking it back: the caller has told the engine's record. Raises as `renew`."""

    def work(lease: Lease) -> Lease:
        for each in store.read_all():
            if each.active and each.id != lease.id and each.created_ns < lease.created_ns and each.shares(lease):
                names = each.shares(lease)
                store.write(replace(each, change=each.change.without(names), before=each.before.without(names)))
        ended = replace(lease, state=LeaseState.CONFIRMED, ended_ns=store.now_ns())
        store.write(ended)
        return ended

    lease = await _locked("confirm the lease", lease_id, work)
    _by_api.pop(lease_id, None)
    return lease


async def revert(lease_id: str, reason: str = "") -> Lease:
    """End a lease now: what the kernel still holds of it is taken back, what others have changed is left (CONFLICT).

    Raises as `renew`.
    """
    found = await threads.acting(store.read, lease_id)
    if found is not None and found.active and found.by_api:
        return await _revert_by_api(found, reason)
    ended = await threads.acting(lambda: ending.end(lease_id, reason=reason))
    if ended is None:
        raise _no_lease("take back the lease", found)
    return ended


def _no_lease(title: str, found: Lease | None) -> PytopError:
    if found is None:
        return NotFoundError(title, detail="there is no such lease: it has ended")
    result = f": {found.result}" if found.result else ""
    return ConflictError(f"{title} of {found.name}", detail=f"it has ended ({found.state.value}{result})")


async def _locked(title: str, lease_id: str, work: Callable[[Lease], Lease]) -> Lease:
    found = await threads.acting(store.read, lease_id)
    async with _lease_lock(found, title):
        lease = await threads.acting(store.read, lease_id)
        if lease is None or not lease.active:
            raise _no_lease(title, lease)
        return await threads.acting(work, lease)


def _lease_lock(lease: Lease | None, title: str) -> AbstractAsyncContextManager[str]:
    return change_lock(ending.lock_of(lease) if lease is not None else None, title)


async def reapply(ref: Ref, cgroup: Cgroup, pid: int | None) -> tuple[Lease, ...]:
    """Give a container that was started again its leases again, until they run out; the result is those.

    Called when its cgroup or first process has become another one. What had been set ended with the old one.
    """
    found = [each for each in await threads.acting(store.read_all) if each.active and each.ref == ref]
    again: list[Lease] = []
    for lease in found:
        if lease.by_api or lease.cgroup is None or not holder.is_own(lease.holder):
            continue
        async with change_lock(cgroup, f"limit {lease.name} again"):
            renewed = await threads.acting(_reapply, lease.id, cgroup, pid)
        if renewed is not None:
            again.append(renewed)
    return tuple(again)


def _reapply(lease_id: str, cgroup: Cgroup, pid: int | None) -> Lease | None:
    lease = store.read(lease_id)
    if lease is None or not lease.active or ending.is_expired(lease):
        return None
    try:
        return apply.establish_again(lease, cgroup, pid)
    except PytopError as error:
        log.warning("the lease of %s after its restart: %s", lease.name, error)
        return None
