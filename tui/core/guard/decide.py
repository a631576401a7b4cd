"""Decides what the guard does: pure, from a policy, a situation and what was remembered.

A harm that holds is answered with one rung at a time against the strongest suspect that the policy lets be contained,
with a pause between two. A victim that has been calm for long enough gets one rung taken back on trial; a harm that
returns brings it back, and each such return doubles the calm before the next trial. Everything that is held is renewed
at half of its time, so that it ends by itself with the guard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from collectors.attribution.evidence import CONTAINABLE, Confidence, Evidence, Suspect, SuspectKind
from collectors.sampling.frame import Pressure, Usage
from runtime.model import Missing, Ref
from tui.core.guard.policy import RESOURCE_OF, Aim, Candidate, Policy
from tui.core.guard.situation import (
    Decision,
    GuardAction,
    GuardReason,
    Harm,
    HarmedPair,
    HeldLease,
    Situation,
    VictimWatch,
)

MAX_DOUBLINGS: Final = 6  # of the calm before a trial
RENEW_SHARE: Final = 0.5  # of a lease's time that is left when it is renewed
_SURE: Final = frozenset({Confidence.STRONG, Confidence.CONFIRMED})
_OWN_LIMITS: Final = frozenset({SuspectKind.OWN_QUOTA, SuspectKind.OWN_LIMIT})
"""Causes whose part is not in the figures that are compared with targets, so they clear nobody else."""

Watches = Mapping[Ref, VictimWatch]


def decide(policy: Policy, situation: Situation, watches: Watches) -> tuple[tuple[Decision, ...], Watches]:
    """One decision for each victim, and what is to be remembered for the next frame."""
    figures = {ref: tuple(_figures(policy, situation, ref)) for ref in _victims(policy, situation)}
    harms = {ref: _harms(known) for ref, known in figures.items()}
    following: dict[Ref, VictimWatch] = {}
    decisions: list[Decision] = []
    for ref, known in figures.items():
        watch = watches.get(ref, VictimWatch())
        if known:
            watch = _observed(watch, harmed=bool(harms[ref]), now_s=situation.now_s)
        left = situation.actions_left - sum(each.action is GuardAction.CLIMB for each in decisions)
        busy = {each.suspect for each in decisions if each.action is GuardAction.CLIMB and each.suspect is not None}
        case = _Case(
            policy, replace(situation, actions_left=left), ref, watch, harms, busy | _busy(policy, situation, watches)
        )
        decision = _decide(case) if known else Decision(ref, GuardAction.NOTHING, GuardReason.UNMEASURED)
        following[ref] = _remembered(watch, decision, situation.now_s)
        decisions.append(decision)
    return (*decisions, *_of_the_gone(situation, figures)), following


@dataclass(frozen=True, slots=True)
class _Case:
    """One victim. `harms` are those of all victims; `busy` are suspects that got a rung a moment ago."""

    policy: Policy
    situation: Situation
    victim: Ref
    watch: VictimWatch
    harms: Mapping[Ref, tuple[Harm, ...]]
    busy: frozenset[Suspect] | set[Suspect]

    @property
    def leases(self) -> tuple[HeldLease, ...]:
        return self.situation.held.get(self.victim, ())

    def since(self, moment_s: float | None) -> float:
        """Seconds since a moment; without one, infinite."""
        return float("inf") if moment_s is None else self.situation.now_s - moment_s


def _decide(case: _Case) -> Decision:
    return _harmed(case) if case.harms[case.victim] else _calm(case)


def _harmed(case: _Case) -> Decision:
    policy, watch, harms = case.policy, case.watch, case.harms[case.victim]
    if watch.harmed_since is None or case.since(watch.harmed_since) < policy.hold_s:
        return _keep(case, GuardReason.TOO_SHORT)
    evidence, reason = _chosen(case, harms)
    suspect = evidence.suspect if evidence is not None else None
    if evidence is None or suspect is None or reason is not None:
        return _keep(case, reason or GuardReason.NO_EVIDENCE, suspect)
    if case.since(watch.climbed_at) < policy.cool_down_s or suspect in case.busy:
        return _keep(case, GuardReason.COOLING_DOWN, suspect)
    if policy.dry_run and case.leases:
        return _keep(case, GuardReason.REPORTED, suspect)
    if case.situation.actions_left <= 0:
        return _keep(case, GuardReason.BUDGET_SPENT, suspect)
    why = GuardReason.STILL_HARMED if case.leases else GuardReason.HARMED
    if watch.released_at is not None:
        why = GuardReason.HARM_RETURNED
    return Decision(case.victim, GuardAction.CLIMB, why, suspect=suspect, evidence=evidence, harm=harms[0])


def _calm(case: _Case) -> Decision:
    policy, watch = case.policy, case.watch
    on_trial = watch.released_at is not None
    if not case.leases:
        if not on_trial:
            return _keep(case, GuardReason.WITHIN_TARGETS)
        ended = case.since(watch.released_at) >= policy.trial_s
        return _keep(case, GuardReason.RECOVERED if ended else GuardReason.ON_TRIAL)
    last = case.leases[-1]
    needed_s = policy.trial_s if on_trial else policy.calm_s * 2 ** min(watch.failed_trials, MAX_DOUBLINGS)
    calm_s = min(case.since(watch.calm_since), case.since(watch.released_at))
    if calm_s < needed_s:
        return _keep(case, GuardReason.ON_TRIAL if on_trial else GuardReason.CALM_TOO_SHORT, last.suspect)
    if _is_needed(case, last.suspect):
        return _keep(case, GuardReason.SHARED, last.suspect)
    return Decision(case.victim, GuardAction.RELEASE, GuardReason.TRIAL, suspect=last.suspect, leases=(last.id,))


def _keep(case: _Case, reason: GuardReason, suspect: Suspect | None = None) -> Decision:
    """Nothing new: what is held is renewed when half of its time is over."""
    harm = next(iter(case.harms[case.victim]), None)
    left_s = case.policy.lease_s * RENEW_SHARE
    due = tuple(lease.id for lease in case.leases if lease.expires_s - case.situation.now_s < left_s)
    action = GuardAction.RENEW if due else GuardAction.NOTHING
    return Decision(case.victim, action, reason, suspect=suspect, harm=harm, leases=due)


def _chosen(case: _Case, harms: tuple[Harm, ...]) -> tuple[Evidence | None, GuardReason | None]:
    """The strongest evidence against a suspect that may be contained; else the strongest, and why it is not."""
    refused: tuple[Evidence, GuardReason] | None = None
    for evidence in _evidence(case, harms):
        if evidence.suspect.kind in _OWN_LIMITS:
            reason: GuardReason | None = GuardReason.NOBODY
        elif evidence.suspect.kind not in CONTAINABLE:
            return refused or (evidence, GuardReason.NOBODY)
        else:
            reason = _why_not(case, evidence)
        if reason is None:
            return evidence, None
        refused = refused or (evidence, reason)
    return refused or (None, None)


def _evidence(case: _Case, harms: tuple[Harm, ...]) -> Iterator[Evidence]:
    """Evidence about the victim on the resources on which it is harmed; a p99 does not say on which."""
    resources = {RESOURCE_OF.get(harm.aim) for harm in harms}
    for evidence in case.situation.attribution.by_victim.get(case.victim, ()):
        if None in resources or evidence.resource in resources:
            yield evidence


def _why_not(case: _Case, evidence: Evidence) -> GuardReason | None:
    """Why a container, unit or process is not contained for this victim now."""
    suspect, situation = evidence.suspect, case.situation
    candidate = candidate_of(situation, suspect)
    if evidence.confidence not in _SURE:
        return GuardReason.NOT_SURE
    if candidate is None:
        return GuardReason.NO_EVIDENCE  # it has ended
    if case.policy.forbids(candidate):
        return GuardReason.UNTOUCHABLE
    if case.policy.protection(candidate) is not None:
        return GuardReason.PROTECTED
    if case.policy.permission(candidate) is None:
        return GuardReason.NOT_LISTED
    return situation.refused.get(HarmedPair(case.victim, suspect))


def candidate_of(situation: Situation, suspect: Suspect) -> Candidate | None:
    """What patterns are compared with; None for a container that does not live."""
    if suspect.kind is SuspectKind.CONTAINER:
        return situation.candidates.get(suspect.ref) if suspect.ref is not None else None
    return Candidate(suspect.kind, suspect.name)


def _is_needed(case: _Case, suspect: Suspect) -> bool:
    """Another victim is harmed, and there is evidence against this suspect."""
    by_victim = case.situation.attribution.by_victim
    return any(
        each.suspect == suspect and each.confidence in _SURE
        for ref, harms in case.harms.items()
        if harms and ref != case.victim
        for each in by_victim.get(ref, ())
    )


def _busy(policy: Policy, situation: Situation, watches: Watches) -> frozenset[Suspect]:
    """Suspects of the last rungs that were taken within the cool-down, for whichever victim."""
    return frozenset(
        held[-1].suspect
        for ref, held in situation.held.items()
        if held
        and ref in watches
        and (at := watches[ref].climbed_at) is not None
        and situation.now_s - at < policy.cool_down_s
    )


# figures


def _victims(policy: Policy, situation: Situation) -> list[Ref]:
    return [ref for ref, candidate in situation.candidates.items() if policy.protection(candidate) is not None]


def _figures(policy: Policy, situation: Situation, ref: Ref) -> Iterator[Harm]:
    """The figures of a victim that are known, beside their targets."""
    entry = policy.protection(situation.candidates[ref])
    usage = situation.usages.get(ref)
    for aim, target in entry.targets.items() if entry is not None else ():
        figure = situation.p99_ms.get(ref) if aim is Aim.P99_MS else _share(aim, usage)
        if figure is not None:
            yield Harm(aim, figure, target)


def _share(aim: Aim, usage: Usage | None) -> float | None:
    if usage is None:
        return None
    if aim is Aim.CPU_WAIT:
        value: float | Missing = usage.waiting
    else:
        pressure = usage.pressure.get(RESOURCE_OF[aim].value, Pressure())
        value = pressure.some if aim is Aim.MEMORY_PRESSURE else pressure.full
    return None if isinstance(value, Missing) else value


def _harms(figures: tuple[Harm, ...]) -> tuple[Harm, ...]:
    """Those above their targets, the worst in proportion first."""
    above = (each for each in figures if each.figure > each.target)
    return tuple(sorted(above, key=lambda each: -each.figure / each.target if each.target else float("-inf")))


# what is remembered


def _observed(watch: VictimWatch, *, harmed: bool, now_s: float) -> VictimWatch:
    if harmed:
        return replace(watch, calm_since=None, harmed_since=now_s if watch.harmed_since is None else watch.harmed_since)
    return replace(watch, harmed_since=None, calm_since=now_s if watch.calm_since is None else watch.calm_since)


def _remembered(watch: VictimWatch, decision: Decision, now_s: float) -> VictimWatch:
    if decision.action is GuardAction.CLIMB:
        failed = watch.failed_trials + (watch.released_at is not None)
        return replace(watch, climbed_at=now_s, released_at=None, failed_trials=failed)
    if decision.action is GuardAction.RELEASE:
        return replace(watch, released_at=now_s)
    if decision.reason is GuardReason.RECOVERED:
        return replace(watch, climbed_at=None, released_at=None, failed_trials=0)
    return watch


def _of_the_gone(situation: Situation, victims: Mapping[Ref, object]) -> Iterator[Decision]:
    """Leases for victims that have ended, or are not protected any more."""
    for ref, held in situation.held.items():
        if held and ref not in victims:
            ids = tuple(lease.id for lease in held)
            yield Decision(ref, GuardAction.RELEASE, GuardReason.VICTIM_GONE, suspect=held[-1].suspect, leases=ids)
