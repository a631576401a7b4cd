"""Does what a rung plans: as a lease on a container, a unit or a process, after room was made for a smaller memory."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event as Stop

from runtime.containment.lease import Lease
from runtime.containment.rung import RungId
from runtime.errors import NotFoundError, RefusedError
from runtime.kernel import threads
from runtime.limits import ReclaimProgress
from runtime.model import LimitOutcome, Ref
from tui.core.containment import outsiders
from tui.core.containment.lease_book import LeaseBook
from tui.core.containment.parties import PartyReader
from tui.core.containment.readings import Readings
from tui.core.containment.state import PlannedRung
from tui.core.subject import Subject


@dataclass(frozen=True, slots=True)
class RungTaker:
    """Takes the leases of rungs; raises what taking them raises, nothing is changed then."""

    book: LeaseBook
    parties: PartyReader
    readings: Readings

    async def take(self, planned: PlannedRung, seconds: float, *, audited: bool) -> tuple[Lease, LimitOutcome]:
        """The lease, and the limits as they were read back."""
        title = f"limit {planned.target_name}"
        reason = f"{planned.rung.id.value} for {self._subject(title, planned.victim).name}"
        if planned.target is None:
            return await self._take_outsider(title, planned, seconds, reason)
        subject = self._subject(title, planned.target)
        if planned.rung.id is RungId.MEMORY_LIMIT and isinstance(planned.change.memory, int):
            await self._make_room(title, subject, planned.change.memory)
        return await self.book.take(
            subject, planned.change, seconds=seconds, reason=reason, freeze=planned.rung.freezes, audited=audited
        )

    def _subject(self, title: str, ref: Ref) -> Subject:
        subject = self.parties.find(ref)
        if subject is None:
            raise NotFoundError(title, detail="it is gone")
        return subject

    async def _take_outsider(
        self, title: str, planned: PlannedRung, seconds: float, reason: str
    ) -> tuple[Lease, LimitOutcome]:
        found = await threads.acting(outsiders.find, self.readings.latest, planned.suspect)
        if found is None:
            raise NotFoundError(title, detail="it has ended")
        return await self.book.take_outsider(planned.suspect, found, planned.change, seconds=seconds, reason=reason)

    async def _make_room(self, title: str, subject: Subject, memory: int) -> None:
        def ignore(progress: ReclaimProgress) -> None:
            """The rung is a small step: nobody waits for its progress."""

        reached = await self.parties.hosts[subject.ref.host].reclaim(subject, memory, ignore, Stop())
        if not reached.done:
            raise RefusedError(title, detail=reached.reason)
