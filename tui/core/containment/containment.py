"""Contains whoever hurts a victim: one rung of the ladder at a time, each as a lease that ends by itself.

Everything is called on the event loop. A rung is written to the kernel and read back; the victim's waiting before and
after it comes from the frames. What did not help after two rungs is put back: the suspect was the wrong one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Final

from collectors.attribution.evidence import Evidence
from collectors.sampling.frame import Frame
from runtime.containment.aimd import FLOOR_CORES
from runtime.containment.audit import NotOnDiskError
from runtime.containment.lease import Lease, LeaseState
from runtime.containment.rung import RungId
from runtime.errors import ConflictError, KernelError, NotFoundError, PytopError
from runtime.model import LimitChange, LimitOutcome, Ref
from tui.core.attribution import AttributionObserver
from tui.core.containment.adjustment import Adjustment
from tui.core.containment.change_queue import ChangeQueue, log_failure
from tui.core.containment.confirmation import Confirmation
from tui.core.containment.lease_book import REFRESH_INTERVAL_S, LeaseBook
from tui.core.containment.parties import PartyReader
from tui.core.containment.planning import RungPlanner
from tui.core.containment.probing import Probe
from tui.core.containment.readings import Readings
from tui.core.containment.rung_taker import RungTaker
from tui.core.containment.state import ClimbOutcome, PlannedRung, ProbeOutcome, TakenRung, VictimState
from tui.core.containment.track import Track, TrackKey, begin, key_of
from tui.core.undo import OwnChange

log = logging.getLogger(__name__)

LEASE_S: Final = 60.0  # unless it is confirmed
STAGGER_S: Final = 0.3  # a later rung ends before an earlier one, as they would be stepped back
ACQUITTED_S: Final = 60.0  # for which a wrong suspect is not proposed again


@dataclass(frozen=True, slots=True)
class ContainmentContext:
    """What containment needs of the session.

    Attributes:
        attribution: who hurts whom.
        update: changes limits through the engine, so that its record keeps them.
        note: adds a change to those that can be undone.
        changed: called when leases or states have changed.
    """

    _: KW_ONLY
    book: LeaseBook
    parties: PartyReader
    attribution: AttributionObserver
    update: Callable[[Ref, LimitChange], Awaitable[LimitOutcome]]
    note: Callable[[OwnChange], None]
    changed: Callable[[], None]
    read_only: bool = False


class Containment:
    """The ladder of a session."""

    name = "containment"

    def __init__(self, context: ContainmentContext) -> None:
        self._context = context
        self._book = context.book
        self._parties = context.parties
        self._readings = Readings()
        self._tracks: dict[TrackKey, Track] = {}
        self._acquitted: dict[TrackKey, int] = {}  # CLOCK_MONOTONIC of the frame at which it was found to be wrong
        self._confirmation = Confirmation(context.book, context.update, context.note)
        self._probe = Probe(context.book, context.parties.cgroup)
        self._taker = RungTaker(context.book, context.parties, self._readings)
        self._adjustment = Adjustment(self._book, self._readings, self._parties.find)
        self._busy: set[TrackKey] = set()
        self._queue = ChangeQueue(self.name)
        self._planner = RungPlanner(
            parties=context.parties,
            readings=self._readings,
            attribution=lambda: context.attribution.latest,
            tracks=self._tracks,
            is_acquitted=self._is_acquitted,
            read_only=context.read_only,
        )

    # what is known

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases that hold now on this machine, also those of other programs, the oldest first."""
        return self._book.active

    def state(self, victim: Ref) -> VictimState | None:
        """How it stands with a victim, against the suspect that was contained last; None when nothing was done."""
        tracks = self._planner.of(victim)
        return tracks[-1].state(self._readings) if tracks else None

    def states(self) -> tuple[VictimState, ...]:
        """How it stands with every victim and suspect for which something was done."""
        return tuple(track.state(self._readings) for track in self._tracks.values() if track.rungs or track.wrong)

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """Take a frame: what did not help is put back, a quota follows the waiting."""
        self._readings.take(frame, self._context.attribution.latest)
        for key, track in list(self._tracks.items()):
            if key in self._busy or track.climbing:
                continue
            if track.is_wrong(self._readings):
                track.wrong, track.touched_ns = True, frame.at_ns
                self._acquitted[key] = frame.at_ns
                self._spawn(key, partial(self._put_back, (track,), "wrong suspect"))
            elif (cores := self._adjustment.due(track)) is not None:
                self._spawn(key, partial(self._adjustment.apply, track, cores))
            elif not track.rungs and frame.at_ns - track.touched_ns > ACQUITTED_S * 1e9:
                del self._tracks[key]

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs until cancelled, by name."""
        return {self.name: self.follow}

    async def follow(self) -> None:
        """Keep the leases up to date until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_INTERVAL_S)

    async def refresh(self) -> None:
        """Read the leases now; works without `follow` too."""
        if await self._book.refresh():
            for track in self._tracks.values():
                track.refresh(self._book.known)
            self._context.changed()

    async def close(self) -> None:
        """Wait for what is under way; leases go on."""
        await self._queue.close()

    # the next rung

    async def propose(
        self, victim: Ref, *, evidence: Evidence | None = None, rung: RungId | None = None
    ) -> PlannedRung | PytopError:
        """The next rung for a victim, or the error in which climbing would end, with the reason as its detail.

        `evidence` chooses a suspect; by default the strongest that can be contained. `rung` chooses a rung.
        """
        try:
            return await self._planner.propose(victim, evidence, rung)
        except PytopError as error:
            return error

    def _is_acquitted(self, key: TrackKey) -> bool:
        at_ns = self._acquitted.get(key)
        return at_ns is not None and self._readings.now_ns - at_ns <= ACQUITTED_S * 1e9

    # up and down

    async def climb(
        self,
        victim: Ref,
        *,
        evidence: Evidence | None = None,
        rung: RungId | None = None,
        seconds: float = LEASE_S,
        audited: bool = False,
        least_cores: float = FLOOR_CORES,
    ) -> ClimbOutcome:
        """Climb the next rung as a lease of so many seconds; milder rungs are renewed with it.

        `evidence` and `rung` as for `propose`; with `audited` it waits until the audit trail has it on the disk.
        Raises what `propose` gives, and why the rung could not be climbed; the next `propose` then passes it over.
        """

        async def work() -> ClimbOutcome:
            planned = await self._planner.propose(victim, evidence, rung)
            track = self._track(planned)
            track.audited, track.least_cores = audited, least_cores
            return await self._climb(planned, track, seconds)

        return await self._queue.run(work)

    async def _climb(self, planned: PlannedRung, track: Track, seconds: float) -> ClimbOutcome:
        track.wrong, track.touched_ns = False, self._readings.now_ns
        track.climbing += 1
        try:
            lease, outcome = await self._taker.take(planned, seconds, audited=track.audited)
        except NotOnDiskError:  # nothing is known against the rung
            raise
        except PytopError as error:
            track.failed[planned.rung.id] = error.detail or str(error)
            raise
        finally:
            track.climbing -= 1
        if lease.state is not LeaseState.ACTIVE:
            why = outcome.error or "; ".join(each.detail for each in outcome.fields if each.detail) or lease.reason
            track.failed[planned.rung.id] = why
            raise KernelError(f"limit {planned.target_name}", detail=why)
        track.rungs.append(TakenRung(planned=planned, lease=lease, taken_ns=self._readings.now_ns))
        self._adjustment.begin(track, planned.change)
        self._tracks[key_of(track.evidence)] = self._tracks.pop(key_of(track.evidence))  # the newest is the last
        await self._renew(track, seconds, first=1)
        await self.refresh()
        self._context.changed()
        return ClimbOutcome(planned, lease, outcome, track.state(self._readings))

    def _track(self, planned: PlannedRung) -> Track:
        """What was done against this suspect; begun when nothing holds."""
        key = key_of(planned.evidence)
        track = self._tracks.get(key)
        if track is None or not (track.rungs or track.failed or track.climbing):
            track = self._tracks[key] = begin(planned.evidence, self._readings)
        return track

    async def _renew(self, track: Track, seconds: float, *, first: int = 0) -> None:
        """Let the rungs hold for so many seconds, later ones a little less; `first`: those before the last ones."""
        track.refresh(self._book.known)
        rungs = list(reversed(track.rungs))
        for number, each in enumerate(rungs[first:], start=first):
            if each.lease.state is LeaseState.ACTIVE:
                try:
                    await self._book.renew(each.lease, seconds + number * STAGGER_S)
                except (ConflictError, NotFoundError) as error:  # it has ended just now
                    log.info("%s", error)

    def replaced(self, outcome: LimitOutcome) -> None:
        """Limits were changed beside the ladder, or a change undone: a rung that was kept of them is none any more."""
        names = {each.name for each in outcome.fields}
        for track in self._tracks.values():
            track.rungs[:] = [
                each
                for each in track.rungs
                if each.lease.state is not LeaseState.CONFIRMED
                or each.lease.ref != outcome.ref
                or names.isdisjoint(each.lease.change.names())
            ]

    def skip(self, planned: PlannedRung) -> None:
        """Pass over a rung: the next `propose` gives the one above it."""
        track = self._track(planned)
        track.failed[planned.rung.id] = "passed over"
        track.touched_ns = self._readings.now_ns

    async def step_back(self, victim: Ref) -> Lease:
        """Take the last rung back; the lease that has ended. Raises `ConflictError` when there is none."""
        return await self._queue.run(lambda: self._step_back(victim))

    async def _step_back(self, victim: Ref) -> Lease:
        title = f"step back for {self._planner.subject(victim).name}"
        self._planner.permit(title, victim)
        track = next((each for each in reversed(self._planner.of(victim)) if each.rungs), None)
        if track is None:
            raise ConflictError(title, detail="no rung was climbed for it")
        last = track.rungs[-1]
        if last.lease.state is LeaseState.CONFIRMED:
            raise ConflictError(title, detail="it was confirmed", hint="Undo takes a confirmed change back")
        ended = await self._book.revert(last.lease, "stepped back")
        track.refresh(self._book.known)
        if last in track.rungs:
            track.rungs.remove(last)
        track.failed.clear()
        self._context.changed()
        return ended

    async def confirm(self, ref: Ref) -> tuple[Lease, ...]:
        """Keep what was done for a victim, or against a suspect: engines' records are told, and nothing is reverted.

        Raises `ConflictError` when nothing runs, or all that does is a freeze, which always ends.
        """
        title = f"confirm what was done for {self._planner.subject(ref).name}"
        self._planner.permit(title, ref)
        return await self._queue.run(lambda: self._confirm(ref))

    async def _confirm(self, ref: Ref) -> tuple[Lease, ...]:
        tracks = [track for key, track in self._tracks.items() if ref in (key.victim, key.suspect.ref)]
        rungs = {each.lease.id for track in tracks for each in track.rungs}
        leases = [each for each in self.leases if each.id in rungs or (each.ref == ref and self._book.is_own(each))]
        try:
            return await self._confirmation.confirm(ref, leases)
        finally:
            await self.refresh()
            self._context.changed()

    async def lease(self, ref: Ref, change: LimitChange, seconds: float) -> LimitOutcome:
        """Change limits for some seconds beside the ladder, as a person asks; the outcome is read back.

        Raises as `climb`; nothing is changed then. `confirm` keeps it.
        """
        subject = self._planner.subject(ref)
        title = f"change limits of {subject.name} for a time"
        self._planner.permit(title, ref)
        _, outcome = await self._queue.run(lambda: self._book.take(subject, change, seconds=seconds, reason="editor"))
        self._context.changed()
        return outcome

    async def release(self, victim: Ref, reason: str = "") -> None:
        """Take back all rungs for a victim that are not confirmed, the last first."""
        title = f"release {self._planner.subject(victim).name}"
        self._planner.permit(title, victim)
        await self._queue.run(lambda: self._put_back(self._planner.of(victim), reason))

    async def renew(self, victim: Ref, seconds: float = LEASE_S) -> None:
        """Let all rungs for a victim hold for so many seconds from now."""
        title = f"hold the rungs of {self._planner.subject(victim).name}"
        self._planner.permit(title, victim)
        for track in self._planner.of(victim):
            await self._renew(track, seconds)
        await self.refresh()

    async def renew_lease(self, lease: Lease, seconds: float) -> Lease:
        """Let one lease hold for so many seconds from now."""
        renewed = await self._book.renew(lease, seconds)
        await self.refresh()
        return renewed

    async def end_lease(self, lease: Lease, reason: str) -> Lease:
        """Take one lease back now; the rung that it held is gone."""
        return await self._queue.run(lambda: self._end_lease(lease, reason))

    async def _end_lease(self, lease: Lease, reason: str) -> Lease:
        ended = await self._book.revert(lease, reason)
        for track in self._tracks.values():
            track.refresh(self._book.known)
        self._context.changed()
        return ended

    async def _put_back(self, tracks: Sequence[Track], reason: str) -> None:
        """Take back what is not confirmed, the last first. One that fails does not keep the others."""
        failures: list[PytopError] = []
        for track in reversed(tracks):
            for each in reversed(list(track.rungs)):
                if each.lease.state is not LeaseState.ACTIVE:
                    continue
                try:
                    await self._book.revert(each.lease, reason)
                except (ConflictError, NotFoundError) as error:  # it has ended just now
                    log.info("%s", error)
                except PytopError as error:
                    failures.append(error)
            track.refresh(self._book.known)
        self._context.changed()
        if failures:
            raise failures[0]

    async def probe(self, victim: Ref, *, evidence: Evidence | None = None) -> ProbeOutcome:
        """Confirm or clear the suspect by an A/B test of about five seconds; the attribution is told.

        Raises why it cannot be probed: it is untouchable, no container, in the idle class already, not about CPU.
        """
        title = f"probe who hurts {self._planner.subject(victim).name}"
        self._planner.permit(title, victim)
        chosen = evidence or self._planner.suspected(title, victim)
        self._probe.permit(title, chosen)
        self._probe.permit_case(title, await self._parties.case(chosen, None, self._readings))
        suspect = self._planner.subject(chosen.suspect.ref or victim)
        outcome = await self._probe.run(title, chosen, self._planner.subject(victim), suspect)
        self._context.attribution.probed(victim, chosen.suspect, chosen.resource, outcome.confirmed)
        self._context.changed()
        return outcome

    def _spawn(self, key: TrackKey, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something for a track that nobody awaits; nothing else is decided about it meanwhile."""

        def ended(task: asyncio.Task[None]) -> None:
            self._busy.discard(key)
            log_failure(task)

        self._busy.add(key)
        self._queue.begin(work).add_done_callback(ended)
