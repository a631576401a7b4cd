"""Ends leases: those that are due, those that somebody ends before, and those that nobody watches any more. Blocking.

The keeper, the program that holds a lease, and the next command may do so at once: each takes the container's lock,
reads the lease again under it, and does nothing when another one was faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.containment import apply, audit, holder, keeper_lock, store
from runtime.containment.audit import AuditEntry
from runtime.containment.lease import Lease, LeaseState
from runtime.errors import ConflictError, NotFoundError, PytopError
from runtime.kernel import limit_journal, procfs
from runtime.limits.lock_file import blocking_lock

OVERDUE_S: Final = 1.0
"""By which a lease may be late before whoever looks takes it back, although there is a keeper."""


def lock_of(lease: Lease) -> Path | None:
    """The directory whose lock is that of the container; None where there is none, or no more."""
    if lease.cgroup is None:
        return None
    cgroup = apply.locate(lease.cgroup)
    return max(cgroup.directories, key=lambda path: (len(path.parts), str(path)), default=None) if cgroup else None


def end(lease_id: str, is_due: Callable[[Lease], bool] = lambda _: True, *, reason: str = "") -> Lease | None:
    """End a lease that still holds and is due, by what is noted under the lock; None when there is no such lease."""
    found = store.read(lease_id)
    if found is None or not found.active:
        return None
    with blocking_lock(lock_of(found)):
        lease = store.read(lease_id)
        if lease is None or not lease.active or not is_due(lease):
            return None
        entry = taking_back(lease, reason)
        audit.record(entry)
        ended = apply.settle(replace(lease, reason="; ".join(filter(None, (lease.reason, reason)))))
        audit.record(taken_back(entry, ended))
        return ended


def taking_back(lease: Lease, reason: str) -> AuditEntry:
    """What is noted before a lease is taken back."""
    reason = reason or ("its time was over" if is_expired(lease) else "")
    return replace(audit.of_lease(audit.TAKE_BACK, lease), old=lease.change, new=lease.before, reason=reason)


def taken_back(entry: AuditEntry, ended: Lease) -> AuditEntry:
    """The entry with what came of it."""
    done = ended.state is LeaseState.REVERTED
    outcome = ended.state.value if not ended.result else f"{ended.state.value}: {ended.result}"
    return replace(entry, read_back=ended.before if done else entry.read_back, outcome=audit.OK if done else outcome)


def is_expired(lease: Lease) -> bool:
    """Its time is over, or its boot."""
    return store.now_ns() >= lease.expires_ns or lease.boot != procfs.boot_id()


def is_overdue(lease: Lease) -> bool:
    """It should have been taken back by now."""
    return store.now_ns() >= lease.expires_ns + OVERDUE_S * 1e9 or lease.boot != procfs.boot_id()


def no_lease(title: str, found: Lease | None) -> PytopError:
    """The error for a lease that has ended."""
    if found is None:
        return NotFoundError(title, detail="there is no such lease: it has ended")
    result = f": {found.result}" if found.result else ""
    return ConflictError(f"{title} of {found.name}", detail=f"it has ended ({found.state.value}{result})")


def settle_abandoned() -> list[str]:
    """Put back what programs that were killed have left: what was lowered for a moment, and leases nobody watches.

    A lease is watched by its keeper, and by the program that holds it. What is told is in sentences. Blocking, and
    cheap when there is nothing.
    """
    words = limit_journal.restore_abandoned()
    leases = [lease for lease in store.read_all() if lease.active]
    if not leases:
        return words
    watched = keeper_lock.is_held()
    for lease in reversed(leases):  # the last one first: so each finds what it has set
        try:
            words += _settled_words(lease, watched=watched)
        except PytopError as error:
            words.append(f"the lease of {lease.name} could not be ended: {error}")
    store.sweep()
    return words


def _settled_words(lease: Lease, *, watched: bool) -> list[str]:
    def is_due(now: Lease) -> bool:
        if now.by_api:
            return not holder.is_alive(now.holder)
        return is_overdue(now) or not (watched or holder.is_alive(now.holder))

    if not is_due(lease):
        return []
    ended = end(lease.id, is_due, reason="nobody watched it any more")
    if ended is None or ended.state is LeaseState.GONE:
        return []
    result = f": {ended.result}" if ended.result else ""
    return [f"ended the lease of {lease.name} by {holder.words(lease.holder)}: {ended.state.value}{result}"]
