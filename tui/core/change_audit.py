"""The session's part of the audit trail: each change that is made here, and those of others that it learns of.

A change by others is known by an engine's update event, or by a difference that the drift detector finds. Neither says
who it was: the entry's `by` says how it is known. What a lease explains is no change by others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from runtime.containment import audit, holder, leases, store
from runtime.containment.audit import AuditEntry
from runtime.errors import PytopError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Container, Event, EventKind, LimitChange, LimitName, LimitOutcome, Limits, Missing, Ref
from tui.core.drift.detector import Drift
from tui.core.hosts.frames import LOCAL
from tui.core.lease_restarts import LeaseRestarts
from tui.core.subject import Subject

MAX_WAITING: Final = 256
"""Changes by others that are not recorded yet; older ones are dropped."""
OWN_EVENT_S: Final = 5.0
"""After a change from here, for which the engine's update event is taken for the answer to it."""
ANOTHER: Final = "another program"


class ChangeAudit:
    """Records changes, and has leases watched over. One that is not `enabled` does nothing."""

    def __init__(
        self,
        limits: Callable[[Ref], Awaitable[Limits]],
        find: Callable[[Ref], Subject | None],
        cgroup: Callable[[Subject], Cgroup | None],
        *,
        enabled: bool,
    ) -> None:
        """`limits` reads the kernel's, `find` knows what is listed, `cgroup` finds that of a live one, and blocks."""
        self.enabled = enabled
        self._limits = limits
        self._find = find
        self._restarts = LeaseRestarts(cgroup)
        self._waiting: deque[AuditEntry] = deque(maxlen=MAX_WAITING)
        self._wake = asyncio.Event()
        self._own: dict[Ref, float] = {}  # until when an update event is an answer to a change from here
        self._drifts: Mapping[Ref, tuple[Drift, ...]] = {}

    def loops(self, *, read_only: bool) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What the session runs."""
        if not self.enabled:
            return {}
        watching = {"leases": leases.keep_keeper, "lease restarts": self._restarts.follow}
        return {"audit": self.follow, **({} if read_only else watching)}

    async def close(self) -> None:
        """End what ends with this program."""
        if self.enabled:
            await leases.close()

    # from here

    async def begin(self, ref: Ref, change: LimitChange) -> AuditEntry:
        """Before a change: it is noted in the run directory when this returns."""
        self._own[ref] = float("inf")
        entry = self._entry(audit.CHANGE, ref)
        entry = replace(entry, new=change, who=await threads.acting(holder.current))
        await threads.acting(audit.record, entry)
        return entry

    async def end(self, entry: AuditEntry, result: LimitOutcome | BaseException) -> str:
        """After it; the result is "", or why the trail is not on the disk."""
        self._own[entry.ref] = asyncio.get_running_loop().time() + OWN_EVENT_S
        if isinstance(result, LimitOutcome):
            entry = audit.finished(entry, result)
        else:
            entry = replace(entry, outcome=str(result) or type(result).__name__)
        await threads.acting(audit.record, entry)
        return await threads.acting(audit.why_not_on_disk)

    # by others

    def happened(self, event: Event) -> None:
        """An engine has reported something."""
        if not self.enabled:
            return
        now = asyncio.get_running_loop().time()
        self._own = {ref: until for ref, until in self._own.items() if until > now}
        if event.kind is EventKind.UPDATED and event.ref not in self._own:
            by = f"{event.ref.engine.capitalize()} (update event)"
            self._add(replace(self._entry(audit.ELSEWHERE, event.ref), by=by))

    def drifted(self, drifts: Mapping[Ref, tuple[Drift, ...]]) -> None:
        """These limits differ from what is expected."""
        if not self.enabled:
            return
        before, self._drifts = self._drifts, drifts
        for ref, found in drifts.items():
            known = {(each.name, each.kernel) for each in before.get(ref, ())}
            new = [each for each in found if (each.name, each.kernel) not in known]
            if new:
                held = LimitChange.of({each.name: each.kernel for each in new})
                old = LimitChange.of({each.name: each.expected for each in new})
                entry = replace(self._entry(audit.ELSEWHERE, ref), by=ANOTHER, old=old, new=held, read_back=held)
                self._add(entry)

    def inventory(self, containers: Iterable[Container]) -> None:
        """What is listed now."""
        if self.enabled:
            self._restarts.inventory(each for each in containers if each.ref.host == LOCAL)

    def _add(self, entry: AuditEntry) -> None:
        self._waiting.append(entry)
        self._wake.set()

    async def follow(self) -> None:
        """Record what others have done, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._record(self._waiting.popleft())

    async def _record(self, entry: AuditEntry) -> None:
        leased = await threads.measuring(_leased, entry.ref)
        if entry.new and entry.new.names() <= leased:
            return
        if not entry.new:
            try:
                limits = await self._limits(entry.ref)
            except PytopError:  # it has ended
                return
            held = {name: value for name, value in limits.items() if not isinstance(value, Missing)}
            entry = replace(entry, read_back=LimitChange.of(held))
        who = await threads.acting(holder.current)
        await threads.acting(audit.record, replace(entry, who=who, outcome=audit.OK))

    def _entry(self, action: str, ref: Ref) -> AuditEntry:
        subject = self._find(ref)
        name = subject.name if subject is not None else ref.short
        return AuditEntry(
            id=audit.new_id(), when_ns=audit.now_ns(), action=action, ref=ref, name=name, who=holder.UNKNOWN
        )


def _leased(ref: Ref) -> frozenset[LimitName]:
    """The limits that leases hold, or have held a moment ago."""
    names = (lease.change.names() for lease in store.read_all() if lease.ref == ref)
    return frozenset[LimitName]().union(*names)
