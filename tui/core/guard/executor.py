"""Does what the guard has decided, by the session's containment, and knows which leases are the guard's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from collectors.attribution.evidence import Evidence, Suspect
from runtime.containment import audit
from runtime.containment.audit import NotOnDiskError
from runtime.containment.budget import ActionBudget
from runtime.containment.ladder import LADDERS
from runtime.containment.lease import Lease, LeaseState
from runtime.containment.rung import RungId
from runtime.errors import PytopError
from runtime.kernel import threads
from runtime.model import LimitName, Ref
from tui.core.containment.state import ClimbOutcome, PlannedRung, TakenRung, VictimState
from tui.core.guard import bounds
from tui.core.guard.policy import DEFAULT_MIN_CPUS, Candidate, Containable, Policy
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import Decision, GuardAction, GuardReason, HarmedPair, HeldLease

REFUSED_S: Final = 60.0  # for which a pair is left alone when there is no rung for it
WRONG_SUSPECT_S: Final = 600.0  # ... when containing it did not help
CONTESTED_S: Final = 600.0  # ... when somebody else has ended what the guard had begun
# reasons of leases that end, as the audit trail has them
RELEASED: Final = "guard: trial"
STOPPED: Final = "guard: ended"
OUT_OF_BOUNDS: Final = "guard: out-of-bounds"


class GuardedContainment(Protocol):
    """What the guard asks of `tui.core.containment.containment.Containment`."""

    def states(self) -> tuple[VictimState, ...]: ...

    async def propose(
        self, victim: Ref, *, evidence: Evidence | None = None, rung: RungId | None = None
    ) -> PlannedRung | PytopError: ...

    async def climb(
        self,
        victim: Ref,
        *,
        evidence: Evidence | None = None,
        rung: RungId | None = None,
        seconds: float = ...,
        audited: bool = ...,
        least_cores: float = ...,
    ) -> ClimbOutcome: ...

    async def renew_lease(self, lease: Lease, seconds: float) -> Lease: ...

    async def end_lease(self, lease: Lease, reason: str) -> Lease: ...


class OwnRung(NamedTuple):
    """A rung that the guard has climbed. Its lease may be replaced, as the quota of one that follows the waiting is."""

    victim: Ref
    suspect: Suspect
    rung: RungId


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a pair is left alone, and until when, on the clock of frames."""

    reason: GuardReason
    until_s: float


class Executor:
    """Climbs, renews and releases. Times are those of frames, CLOCK_MONOTONIC in seconds."""

    def __init__(
        self,
        containment: GuardedContainment,
        policy: Policy,
        *,
        boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        why_not_on_disk: Callable[[], str] = audit.why_not_on_disk,
    ) -> None:
        """`why_not_on_disk` says why the audit trail cannot be kept on the disk, "" while it can."""
        self._containment = containment
        self._policy = policy
        self._boot_ns = boot_ns
        self._why_not_on_disk = why_not_on_disk
        self._budget = ActionBudget(policy.actions_per_hour)
        self._own: dict[OwnRung, float] = {}  # when each ends, as far as was known
        self._imagined: dict[Ref, HeldLease] = {}  # in a dry run
        self._refused: dict[HarmedPair, _Refusal] = {}

    # what a situation is made of

    def leases(self, now_s: float) -> Mapping[Ref, tuple[HeldLease, ...]]:
        """The guard's leases by victim, the oldest first."""
        found: dict[Ref, list[HeldLease]] = {ref: [lease] for ref, lease in self._imagined.items()}
        for own, taken in self._rungs():
            left_s = (taken.lease.expires_ns - self._boot_ns()) / 1e9
            self._own[own] = now_s + left_s
            found.setdefault(own.victim, []).append(HeldLease(taken.lease.id, own.suspect, now_s + left_s))
        return {ref: tuple(leases) for ref, leases in found.items()}

    def actions_left(self, now_s: float) -> int:
        """How many rungs may be climbed in this hour."""
        return self._budget.left(now_s)

    def refused(self, now_s: float) -> Mapping[HarmedPair, GuardReason]:
        """Pairs that are left alone for a while."""
        self._refused = {pair: each for pair, each in self._refused.items() if each.until_s > now_s}
        return {pair: each.reason for pair, each in self._refused.items()}

    def settle(self, now_s: float, alive: Callable[[Suspect], bool]) -> list[tuple[OwnRung, GuardReason | None]]:
        """What has ended otherwise than by the guard, with why its suspect is left alone now, if it is.

        `alive` tells whether a suspect is still there: with it its limits have ended, and nobody has done anything.
        """
        there = {own for own, _ in self._rungs()}
        wrong = {
            HarmedPair(each.victim, each.evidence.suspect) for each in self._containment.states() if each.wrong_suspect
        }
        for pair in wrong & {HarmedPair(own.victim, own.suspect) for own in self._own}:
            self._refuse(pair, GuardReason.WRONG_SUSPECT, now_s + WRONG_SUSPECT_S)  # it is just being put back
        lost: list[tuple[OwnRung, GuardReason | None]] = []
        for own in [own for own in self._own if own not in there]:
            pair = HarmedPair(own.victim, own.suspect)
            reason: GuardReason | None = None
            if pair in wrong:
                reason = GuardReason.WRONG_SUSPECT
            elif self._own[own] > now_s + 1 and alive(own.suspect):
                reason = GuardReason.CONTESTED
                self._refuse(pair, reason, now_s + CONTESTED_S)
            del self._own[own]
            lost.append((own, reason))
        return lost

    def _rungs(self) -> Iterator[tuple[OwnRung, TakenRung]]:
        """The guard's own rungs whose leases run."""
        for state in self._containment.states():
            for taken in state.rungs:
                own = OwnRung(state.victim, state.evidence.suspect, taken.id)
                if own in self._own and taken.lease.state is LeaseState.ACTIVE:
                    yield own, taken

    def _refuse(self, pair: HarmedPair, reason: GuardReason, until_s: float) -> None:
        self._refused[pair] = _Refusal(reason, until_s)

    # acting

    async def do(self, decision: Decision, candidate: Candidate | None, now_s: float) -> GuardEvent:
        """Do what was decided; what came of it. `candidate` is the suspect of a climb."""
        match decision.action:
            case GuardAction.CLIMB:
                return await self._climb(decision, candidate, now_s)
            case GuardAction.RENEW:
                return await self._renew(decision, now_s)
            case GuardAction.RELEASE:
                return await self._release(decision)
            case GuardAction.NOTHING:
                return _event(GuardEventKind.NOT_DONE, decision)

    async def release_all(self) -> list[GuardEvent]:
        """Take back everything that is the guard's, the newest first."""
        self._imagined.clear()
        events = []
        for own, taken in reversed(list(self._rungs())):
            decision = Decision(own.victim, GuardAction.RELEASE, GuardReason.STOPPING, suspect=own.suspect)
            events.append(await self._end(decision, own, taken, STOPPED))
        return events

    async def _climb(self, decision: Decision, candidate: Candidate | None, now_s: float) -> GuardEvent:
        victim, evidence = decision.victim, decision.evidence
        entry = self._policy.permission(candidate) if candidate is not None else None
        if evidence is None or entry is None:
            return _event(GuardEventKind.NOT_DONE, decision, reason=GuardReason.NOT_LISTED)
        pair = HarmedPair(victim, evidence.suspect)
        planned = await self._propose(victim, evidence, entry)
        if isinstance(planned, GuardReason | PytopError):
            reason = planned if isinstance(planned, GuardReason) else GuardReason.LADDER_ENDS
            self._refuse(pair, reason, now_s + REFUSED_S)
            error = planned if isinstance(planned, PytopError) else None
            return _event(GuardEventKind.NOT_DONE, decision, reason=reason, error=error)
        if self._policy.dry_run:
            self._budget.spend(pair, now_s)
            self._imagined[victim] = HeldLease("", evidence.suspect, now_s + self._policy.lease_s)
            return _event(GuardEventKind.WOULD_DO, decision, planned=planned, seconds=self._policy.lease_s)
        unkept = await threads.acting(self._why_not_on_disk)
        if unkept:
            return _event(GuardEventKind.NOT_DONE, decision, reason=GuardReason.NOT_ON_DISK, detail=unkept)
        return await self._take(decision, entry, planned, now_s)

    async def _propose(
        self, victim: Ref, evidence: Evidence, entry: Containable
    ) -> PlannedRung | GuardReason | PytopError:
        """The next rung that the policy allows: where the next one is too sharp, a milder one that comes after it."""
        planned = await self._containment.propose(victim, evidence=evidence)
        if isinstance(planned, PytopError):
            return planned
        reason = bounds.why_not(entry, planned)
        if reason is GuardReason.LAST_RUNG:
            ladder = [rung.id for rung in LADDERS[evidence.resource]]
            for rung in ladder[ladder.index(planned.rung.id) + 1 :]:
                if not bounds.allows(entry, rung):
                    continue
                other = await self._containment.propose(victim, evidence=evidence, rung=rung)
                if not isinstance(other, PytopError) and bounds.why_not(entry, other) is None:
                    return other
        return planned if reason is None else reason

    async def _take(self, decision: Decision, entry: Containable, planned: PlannedRung, now_s: float) -> GuardEvent:
        victim, suspect = decision.victim, planned.suspect
        try:
            outcome = await self._containment.climb(
                victim,
                evidence=decision.evidence,
                rung=planned.rung.id,
                seconds=self._policy.lease_s,
                audited=True,
                least_cores=entry.floors.get(LimitName.CPUS, DEFAULT_MIN_CPUS),
            )
        except NotOnDiskError as error:
            return _event(GuardEventKind.NOT_DONE, decision, reason=GuardReason.NOT_ON_DISK, error=error)
        except PytopError as error:
            return _event(GuardEventKind.FAILED, decision, planned=planned, error=error)
        self._budget.spend(HarmedPair(victim, suspect), now_s)
        beyond = bounds.why_not(entry, outcome.planned)  # it was planned once more, by newer figures
        own = OwnRung(victim, suspect, planned.rung.id)
        if beyond is not None:
            self._refuse(HarmedPair(victim, suspect), beyond, now_s + REFUSED_S)
            await self._containment.end_lease(outcome.lease, OUT_OF_BOUNDS)
            return _event(GuardEventKind.NOT_DONE, decision, reason=beyond)
        self._own[own] = now_s + self._policy.lease_s
        return _event(GuardEventKind.DONE, decision, planned=planned, lease=outcome.lease, seconds=self._policy.lease_s)

    async def _renew(self, decision: Decision, now_s: float) -> GuardEvent:
        seconds = self._policy.lease_s
        if self._policy.dry_run:
            held = self._imagined[decision.victim]
            self._imagined[decision.victim] = HeldLease(held.id, held.suspect, now_s + seconds)
            return _event(GuardEventKind.WOULD_DO, decision, seconds=seconds)
        for own, taken in list(self._rungs()):
            if taken.lease.id in decision.leases:
                try:
                    await self._containment.renew_lease(taken.lease, seconds)
                except PytopError as error:
                    return _event(GuardEventKind.FAILED, decision, error=error)
                self._own[own] = now_s + seconds
        return _event(GuardEventKind.DONE, decision, seconds=seconds)

    async def _release(self, decision: Decision) -> GuardEvent:
        if self._policy.dry_run:
            self._imagined.pop(decision.victim, None)
            return _event(GuardEventKind.WOULD_DO, decision)
        event = _event(GuardEventKind.DONE, decision)
        for own, taken in reversed(list(self._rungs())):
            if taken.lease.id in decision.leases:
                event = await self._end(decision, own, taken, RELEASED)
                if event.kind is GuardEventKind.FAILED:
                    break
        return event

    async def _end(self, decision: Decision, own: OwnRung, taken: TakenRung, reason: str) -> GuardEvent:
        try:
            ended = await self._containment.end_lease(taken.lease, reason)
        except PytopError as error:
            return _event(GuardEventKind.FAILED, decision, planned=taken.planned, error=error)
        self._own.pop(own, None)
        done = ended.state in (LeaseState.REVERTED, LeaseState.GONE)
        kind = GuardEventKind.DONE if done else GuardEventKind.FAILED
        return _event(kind, decision, planned=taken.planned, lease=ended, detail="" if done else ended.result)


def _event(
    kind: GuardEventKind,
    decision: Decision,
    *,
    reason: GuardReason | None = None,
    planned: PlannedRung | None = None,
    lease: Lease | None = None,
    seconds: float | None = None,
    error: PytopError | None = None,
    detail: str = "",
) -> GuardEvent:
    """An event without names, which the loop adds."""
    change = lease.change if lease is not None else planned.change if planned is not None else None
    return GuardEvent(
        kind,
        time.time_ns(),
        decision=decision if reason is None else replace(decision, action=GuardAction.NOTHING, reason=reason),
        rung=planned.rung.id if planned is not None else None,
        target=planned.target_name if planned is not None else "",
        change=change,
        leases=(lease.id,) if lease is not None else decision.leases,
        seconds=seconds,
        error=error,
        detail=detail,
    )
