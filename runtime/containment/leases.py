"""Leases for who has an event loop: take, renew, confirm, take back. Each holds the container's lock meanwhile.

The kernel's part is in `apply`, the end at its time in `keeper_process`, and what is left by the dead in `ending`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from runtime.containment import apply, audit, ending, holder, keeper, store
from runtime.containment import by_api as by_api_leases
from runtime.containment.by_api import ApiSetter
from runtime.containment.lease import CONTAINER, Lease, LeaseState
from runtime.errors import ConflictError, DeniedError, InvalidError, NotFoundError, PytopError
from runtime.kernel import cgroups, procfs, threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.self_protection import protect_own_container, protect_self
from runtime.limits.lock import change_lock, with_warning
from runtime.model import GroupRef, LimitChange, LimitOutcome, Ref
from runtime.model.limits import NO_CHANGE

log = logging.getLogger(__name__)

MAX_WAIT_NS: Final = 200_000_000
"""Between the note of a lease and its write, after which its time is counted anew."""

read_all = store.read_all
settle_abandoned = ending.settle_abandoned


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
    must_be_on_disk: bool = False,
) -> tuple[Lease, LimitOutcome]:
    """Change limits of a cgroup, and freeze it, for some seconds. The outcome is read back from the kernel.

    `pid` is a process of it, by which its network is found. Where this user may not write the kernel and `by_api` is
    given, the engine is asked: such a lease ends with this program (`Lease.by_api`). A lease whose state is FAILED has
    set nothing; the outcome says why. `must_be_on_disk` changes nothing unless the audit trail's entry is on the disk.

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
        return await by_api_leases.take(wanted, None, by_api)
    try:
        return await _take_in_kernel(title, wanted, cgroup, force=force, must_be_on_disk=must_be_on_disk)
    except DeniedError:
        if by_api is None or freeze:
            raise
        return await by_api_leases.take(wanted, cgroup, by_api)


async def _take_in_kernel(
    title: str, wanted: Lease, cgroup: Cgroup, *, force: bool, must_be_on_disk: bool
) -> tuple[Lease, LimitOutcome]:
    async with change_lock(cgroup, title) as unlocked:
        lease = await threads.acting(_begin, title, wanted, cgroup)
        unkept = await keeper.ensure()
        lease, outcome = await threads.acting(
            lambda: _establish(lease, cgroup, force=force, must_be_on_disk=must_be_on_disk)
        )
    unwritten = await threads.acting(audit.why_not_on_disk)
    for warning in (unlocked, unkept, unwritten):
        outcome = with_warning(outcome, warning)
    return lease, outcome


def _establish(lease: Lease, cgroup: Cgroup, *, force: bool, must_be_on_disk: bool) -> tuple[Lease, LimitOutcome]:
    """Record it, then set it; what came of it is recorded too. Its time begins when it is set."""
    waited_ns = store.now_ns() - lease.created_ns
    if waited_ns > MAX_WAIT_NS:  # for a keeper: it would be over before it has begun
        lease = replace(lease, created_ns=lease.created_ns + waited_ns, expires_ns=lease.expires_ns + waited_ns)
        store.write(lease)
    entry = audit.of_lease(audit.LEASE, lease)
    try:
        audit.record(entry, must_be_on_disk=must_be_on_disk)
    except PytopError:
        store.remove(lease.id)
        raise
    try:
        lease, outcome = apply.establish(lease, cgroup, force=force)
    except PytopError as error:
        audit.record(replace(entry, outcome=str(error)))
        raise
    audit.record(audit.finished(entry, outcome))
    return lease, outcome


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
        audit.record(replace(audit.of_lease(audit.CONFIRM, ended), read_back=ended.change, outcome=audit.OK))
        return ended

    lease = await _locked("confirm the lease", lease_id, work)
    by_api_leases.forget(lease_id)
    return lease


async def revert(lease_id: str, reason: str = "") -> Lease:
    """End a lease now: what the kernel still holds of it is taken back, what others have changed is left (CONFLICT).

    Raises as `renew`.
    """
    found = await threads.acting(store.read, lease_id)
    if found is not None and found.active and found.by_api:
        return await by_api_leases.revert(found, reason)
    ended = await threads.acting(lambda: ending.end(lease_id, reason=reason))
    if ended is None:
        raise ending.no_lease("take back the lease", found)
    return ended


async def _locked(title: str, lease_id: str, work: Callable[[Lease], Lease]) -> Lease:
    found = await threads.acting(store.read, lease_id)
    async with _lease_lock(found, title):
        lease = await threads.acting(store.read, lease_id)
        if lease is None or not lease.active:
            raise ending.no_lease(title, lease)
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


def any_active() -> bool:
    """Whether anybody of this user holds a lease. Blocking, cheap."""
    return any(lease.active for lease in store.read_all())


async def keep_keeper() -> None:
    """For the session, while it runs: start a keeper again that was killed, and end what none ends at its time."""
    while True:
        try:
            await keeper.watch()
            await by_api_leases.end_expired()
        except (OSError, PytopError) as error:
            log.warning("watch over leases: %s", error)
        await asyncio.sleep(keeper.WATCH_INTERVAL_S)


async def close() -> None:
    """For the session, at its end: take back what only this program can."""
    await by_api_leases.end_all()
