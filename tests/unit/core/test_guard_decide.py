"""The table of situations by which the guard's decisions are held, and whole stories of harm that comes and goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from collectors.attribution.evidence import (
    NO_ATTRIBUTION,
    Attribution,
    Confidence,
    Evidence,
    Resource,
    Suspect,
    SuspectKind,
)
from collectors.sampling.frame import Pressure, Usage
from runtime.model import ContainerRef, Missing
from tui.core.guard.decide import Watches, decide
from tui.core.guard.policy import Aim, Candidate, Containable, Policy, Protected, Selector
from tui.core.guard.situation import (
    Decision,
    GuardAction,
    GuardReason,
    HarmedPair,
    HeldLease,
    Situation,
    VictimWatch,
)

API, WEB, HOG, OTHER = (ContainerRef("docker", name) for name in ("api", "web", "hog", "other"))
HOG_SUSPECT, OTHER_SUSPECT = (Suspect(SuspectKind.CONTAINER, ref) for ref in (HOG, OTHER))
NOW_S = 1000.0
POLICY = Policy(
    path="/etc/guard.toml",
    protect=(
        Protected(
            selector=Selector(names=("api", "web")),
            targets={Aim.CPU_WAIT: 0.2, Aim.MEMORY_PRESSURE: 0.5, Aim.P99_MS: 50.0},
        ),
    ),
    contain=(
        Containable(selector=Selector(names=("hog", "other", "api"), units=("b*",)), last_rung="idle", floors={}),
    ),
    never=(Selector(names=("never*",)),),
)


def candidates(*refs: ContainerRef) -> dict[Any, Candidate]:
    return {ref: Candidate(SuspectKind.CONTAINER, ref.id, ref.engine) for ref in refs}


def evidence(
    suspect: Suspect = HOG_SUSPECT,
    *,
    victim: ContainerRef = API,
    resource: Resource = Resource.CPU,
    confidence: Confidence = Confidence.STRONG,
    score: float = 0.4,
) -> Evidence:
    return Evidence(victim, suspect, resource, score, wait=0.8, share=0.5, confidence=confidence, since_ns=0)


def against(*found: Evidence) -> Attribution:
    by_victim: dict[Any, tuple[Evidence, ...]] = {}
    for each in found:
        by_victim[each.victim] = (*by_victim.get(each.victim, ()), each)
    return Attribution(0, by_victim)


def waiting(share: float | Missing, memory: float | None = None) -> Usage:
    pressure = {} if memory is None else {"memory": Pressure(memory, 0.0)}
    return Usage(0, waiting=share, pressure=pressure)


def situation(wait: float | Missing = 0.8, *found: Evidence, **more: Any) -> Situation:
    """The victim waits that long, and there is evidence."""
    given: dict[str, Any] = {
        "now_s": NOW_S,
        "candidates": candidates(API, HOG, OTHER),
        "usages": {API: waiting(wait)},
        "attribution": against(*found) if found else NO_ATTRIBUTION,
        "actions_left": 9,
    }
    return Situation(**(given | more))


def lease(id: str = "1", suspect: Suspect = HOG_SUSPECT, left_s: float = 50.0) -> HeldLease:
    return HeldLease(id, suspect, NOW_S + left_s)


HARMED = VictimWatch(harmed_since=NOW_S - 100)
CALM = VictimWatch(calm_since=NOW_S - 100, climbed_at=NOW_S - 200)
HELD = {API: (lease("1"), lease("2"))}
DUE = {API: (lease("1", left_s=20), lease("2"))}
UNIT = Suspect(SuspectKind.UNIT, name="backup.service")
PROCESS = Suspect(SuspectKind.PROCESS, name="cc1", pid=7)
A, R = GuardAction, GuardReason

TABLE: Mapping[str, tuple[Situation, VictimWatch, GuardAction, GuardReason]] = {
    "within its targets": (situation(0.1, evidence()), VictimWatch(), A.NOTHING, R.WITHIN_TARGETS),
    "exactly at its target": (situation(0.2, evidence()), VictimWatch(), A.NOTHING, R.WITHIN_TARGETS),
    "harm begins": (situation(0.8, evidence()), VictimWatch(), A.NOTHING, R.TOO_SHORT),
    "harm not yet long enough": (
        situation(0.8, evidence()),
        VictimWatch(harmed_since=NOW_S - 2.9),
        A.NOTHING,
        R.TOO_SHORT,
    ),
    "harm long enough": (situation(0.8, evidence()), VictimWatch(harmed_since=NOW_S - 3), A.CLIMB, R.HARMED),
    "confirmed by a probe": (situation(0.8, evidence(confidence=Confidence.CONFIRMED)), HARMED, A.CLIMB, R.HARMED),
    "no evidence": (situation(0.8), HARMED, A.NOTHING, R.NO_EVIDENCE),
    "evidence on another resource": (situation(0.8, evidence(resource=Resource.IO)), HARMED, A.NOTHING, R.NO_EVIDENCE),
    "evidence not strong": (situation(0.8, evidence(confidence=Confidence.SUSPECTED)), HARMED, A.NOTHING, R.NOT_SURE),
    "cleared by a probe": (situation(0.8, evidence(confidence=Confidence.CLEARED)), HARMED, A.NOTHING, R.NOT_SURE),
    "its own quota": (situation(0.8, evidence(Suspect(SuspectKind.OWN_QUOTA))), HARMED, A.NOTHING, R.NOBODY),
    "its own quota and a hog": (
        situation(0.8, evidence(Suspect(SuspectKind.OWN_QUOTA)), evidence()),
        HARMED,
        A.CLIMB,
        R.HARMED,
    ),
    "its own threads": (situation(0.8, evidence(Suspect(SuspectKind.ITSELF)), evidence()), HARMED, A.NOTHING, R.NOBODY),
    "diffuse load": (situation(0.8, evidence(Suspect(SuspectKind.DIFFUSE))), HARMED, A.NOTHING, R.NOBODY),
    "the hypervisor": (situation(0.8, evidence(Suspect(SuspectKind.HYPERVISOR))), HARMED, A.NOTHING, R.NOBODY),
    "invisible": (situation(0.8, evidence(Suspect(SuspectKind.INVISIBLE))), HARMED, A.NOTHING, R.NOBODY),
    "a unit that is listed": (situation(0.8, evidence(UNIT)), HARMED, A.CLIMB, R.HARMED),
    "a process that is not listed": (situation(0.8, evidence(PROCESS)), HARMED, A.NOTHING, R.NOT_LISTED),
    "the suspect has ended": (situation(0.8, evidence(), candidates=candidates(API)), HARMED, A.NOTHING, R.NO_EVIDENCE),
    "the suspect holds the guard": (
        situation(0.8, evidence(), refused={HarmedPair(API, HOG_SUSPECT): R.UNTOUCHABLE}),
        HARMED,
        A.NOTHING,
        R.UNTOUCHABLE,
    ),
    "the suspect is protected": (
        situation(
            0.8,
            evidence(victim=WEB, suspect=Suspect(SuspectKind.CONTAINER, API)),
            candidates=candidates(WEB, API),
            usages={WEB: waiting(0.8)},
        ),
        HARMED,
        A.NOTHING,
        R.PROTECTED,
    ),
    "wrong suspect": (
        situation(0.8, evidence(), refused={HarmedPair(API, HOG_SUSPECT): R.WRONG_SUSPECT}),
        HARMED,
        A.NOTHING,
        R.WRONG_SUSPECT,
    ),
    "wrong suspect, and another one": (
        situation(0.8, evidence(), evidence(OTHER_SUSPECT), refused={HarmedPair(API, HOG_SUSPECT): R.WRONG_SUSPECT}),
        HARMED,
        A.CLIMB,
        R.HARMED,
    ),
    "cooling down": (situation(0.8, evidence()), replace(HARMED, climbed_at=NOW_S - 4.9), A.NOTHING, R.COOLING_DOWN),
    "cooled down": (
        situation(0.8, evidence(), held=HELD),
        replace(HARMED, climbed_at=NOW_S - 5),
        A.CLIMB,
        R.STILL_HARMED,
    ),
    "budget spent": (situation(0.8, evidence(), actions_left=0), HARMED, A.NOTHING, R.BUDGET_SPENT),
    "budget spent, and a lease is due": (
        situation(0.8, evidence(), actions_left=0, held=DUE),
        HARMED,
        A.RENEW,
        R.BUDGET_SPENT,
    ),
    "harmed, no evidence any more, and a lease is due": (situation(0.8, held=DUE), HARMED, A.RENEW, R.NO_EVIDENCE),
    "memory pressure": (
        situation(0.0, evidence(resource=Resource.MEMORY), usages={API: waiting(0.0, memory=0.6)}),
        HARMED,
        A.CLIMB,
        R.HARMED,
    ),
    "memory pressure, evidence on CPU": (
        situation(0.0, evidence(), usages={API: waiting(0.0, memory=0.6)}),
        HARMED,
        A.NOTHING,
        R.NO_EVIDENCE,
    ),
    "p99": (situation(0.0, evidence(resource=Resource.IO), p99_ms={API: 51.0}), HARMED, A.CLIMB, R.HARMED),
    "p99 within its target": (
        situation(0.0, evidence(), p99_ms={API: 50.0}),
        VictimWatch(),
        A.NOTHING,
        R.WITHIN_TARGETS,
    ),
    "unmeasured": (situation(Missing.DENIED, evidence(), held=DUE), HARMED, A.NOTHING, R.UNMEASURED),
    "calm too short": (situation(0.1, held=HELD), replace(CALM, calm_since=NOW_S - 29), A.NOTHING, R.CALM_TOO_SHORT),
    "calm too short, and a lease is due": (
        situation(0.1, held=DUE),
        replace(CALM, calm_since=NOW_S - 29),
        A.RENEW,
        R.CALM_TOO_SHORT,
    ),
    "calm for long enough": (situation(0.1, held=HELD), CALM, A.RELEASE, R.TRIAL),
    "calm, after a trial failed": (
        situation(0.1, held=HELD),
        replace(CALM, calm_since=NOW_S - 59, failed_trials=1),
        A.NOTHING,
        R.CALM_TOO_SHORT,
    ),
    "calm for twice as long, after a trial failed": (
        situation(0.1, held=HELD),
        replace(CALM, calm_since=NOW_S - 60, failed_trials=1),
        A.RELEASE,
        R.TRIAL,
    ),
    "on trial": (situation(0.1, held=HELD), replace(CALM, released_at=NOW_S - 14), A.NOTHING, R.ON_TRIAL),
    "the next one on trial": (situation(0.1, held=HELD), replace(CALM, released_at=NOW_S - 15), A.RELEASE, R.TRIAL),
    "the last one on trial": (situation(0.1), replace(CALM, released_at=NOW_S - 14), A.NOTHING, R.ON_TRIAL),
    "recovered": (situation(0.1), replace(CALM, released_at=NOW_S - 15), A.NOTHING, R.RECOVERED),
    "harm returns": (situation(0.8, evidence()), replace(HARMED, released_at=NOW_S - 4), A.CLIMB, R.HARM_RETURNED),
    "the victim has ended": (
        situation(0.8, candidates=candidates(HOG), held=HELD),
        VictimWatch(),
        A.RELEASE,
        R.VICTIM_GONE,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_situation(name: str) -> None:
    given, watch, action, reason = TABLE[name]
    victim = next(iter(given.usages))
    decisions, _ = decide(POLICY, given, {victim: watch})
    decision = decisions[0]
    assert (decision.action, decision.reason) == (action, reason)
    if action is A.RELEASE:
        assert decision.leases == (("1", "2") if reason is R.VICTIM_GONE else ("2",))  # the sharpest one first
    if action is A.RENEW:
        assert decision.leases == ("1",)
    if action is A.CLIMB:
        assert decision.suspect is not None
        assert decision.harm is not None
        assert decision.harm.figure > decision.harm.target


def test_the_never_touch_list_is_above_all() -> None:
    policy = replace(POLICY, never=(Selector(names=("hog",)),))
    ((decision,), _) = decide(policy, situation(0.8, evidence()), {API: HARMED})
    assert (decision.action, decision.reason) == (A.NOTHING, R.UNTOUCHABLE)


def test_without_a_word_in_the_policy_nobody_is_touched() -> None:
    given = situation(0.8, evidence())
    assert decide(replace(POLICY, protect=()), given, {}) == ((), {})
    ((decision,), _) = decide(replace(POLICY, contain=()), given, {API: HARMED})
    assert (decision.action, decision.reason) == (A.NOTHING, R.NOT_LISTED)


def test_a_dry_run_reports_the_first_rung_and_does_not_go_on() -> None:
    policy = replace(POLICY, dry_run=True)
    ((first,), _) = decide(policy, situation(0.8, evidence()), {API: HARMED})
    assert first.action is A.CLIMB
    ((second,), _) = decide(policy, situation(0.8, evidence(), held={API: (lease(),)}), {API: HARMED})
    assert (second.action, second.reason) == (A.NOTHING, R.REPORTED)


def both(*found: Evidence, **more: Any) -> Situation:
    usages = {API: waiting(0.8), WEB: waiting(0.8)}
    return situation(0.8, *found, candidates=candidates(API, WEB, HOG), **({"usages": usages} | more))


def test_two_victims_of_one_suspect_get_one_rung_at_a_time() -> None:
    found = evidence(), evidence(victim=WEB)
    decisions, watches = decide(POLICY, both(*found), {API: HARMED, WEB: HARMED})
    assert [(each.action, each.reason) for each in decisions] == [(A.CLIMB, R.HARMED), (A.NOTHING, R.COOLING_DOWN)]
    later = both(*found, now_s=NOW_S + 1, held={API: (lease(),)})
    decisions, watches = decide(POLICY, later, watches)
    assert [each.reason for each in decisions] == [R.COOLING_DOWN, R.COOLING_DOWN]


def test_one_budget_is_shared_by_all_victims() -> None:
    found = evidence(), evidence(OTHER_SUSPECT, victim=WEB)
    given = both(*found, actions_left=1)
    given = replace(given, candidates=candidates(API, WEB, HOG, OTHER))
    decisions, _ = decide(POLICY, given, {API: HARMED, WEB: HARMED})
    assert [(each.action, each.reason) for each in decisions] == [(A.CLIMB, R.HARMED), (A.NOTHING, R.BUDGET_SPENT)]


def test_what_another_victim_needs_is_not_released() -> None:
    usages = {API: waiting(0.0), WEB: waiting(0.8)}
    given = both(evidence(victim=WEB), usages=usages, held=HELD)
    decisions, _ = decide(POLICY, given, {API: CALM, WEB: VictimWatch(harmed_since=NOW_S)})
    assert decisions[0].reason is R.SHARED
    assert decisions[0].action is A.NOTHING


class Story:
    """Frames a second apart; each climb is a lease, each release ends one."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.now_s = NOW_S
        self.held: tuple[HeldLease, ...] = ()
        self.watches: Watches = {}
        self.log: list[tuple[float, Decision]] = []

    def run(self, seconds: int, wait: float) -> list[tuple[float, GuardAction]]:
        begun = len(self.log)
        for _ in range(seconds):
            self.now_s += 1
            self.held = tuple(each for each in self.held if each.expires_s > self.now_s)
            given = situation(wait, evidence(), now_s=self.now_s, held={API: self.held})
            (decision,), self.watches = decide(self.policy, given, self.watches)
            self._act(decision)
        return [(at - NOW_S, each.action) for at, each in self.log[begun:]]

    def _act(self, decision: Decision) -> None:
        expires_s = self.now_s + self.policy.lease_s
        if decision.action is A.CLIMB:
            self.held += (HeldLease(str(self.now_s), HOG_SUSPECT, expires_s),)
        elif decision.action is A.RELEASE:
            self.held = tuple(each for each in self.held if each.id not in decision.leases)
        elif decision.action is A.RENEW:
            self.held = tuple(
                replace(each, expires_s=expires_s) if each.id in decision.leases else each for each in self.held
            )
        if decision.action is not A.NOTHING:
            self.log.append((self.now_s, decision))


def test_a_hog_that_goes_on_is_held_by_renewals_and_tried_ever_more_rarely() -> None:
    story = Story()
    assert story.run(10, 0.8) == [(4, A.CLIMB), (9, A.CLIMB)]
    story.held = story.held[:1]
    calm = story.run(35, 0.0)
    assert calm[-1][1] is A.RELEASE
    assert not story.held
    gaps = []
    for _ in range(3):
        returned = story.run(6, 0.8)
        assert [action for _, action in returned] == [A.CLIMB]
        assert story.log[-1][1].reason is R.HARM_RETURNED
        begun = story.now_s
        while story.held:
            story.run(1, 0.0)
        gaps.append(story.now_s - begun)
    assert gaps == sorted(gaps)
    assert gaps[2] >= 2 * gaps[1] - 5 >= 4 * gaps[0] - 15
    assert [each.action for _, each in story.log].count(A.RENEW) > 5  # 60 s leases over minutes


def test_a_burst_shorter_than_the_hold_does_nothing() -> None:
    story = Story()
    for _ in range(20):
        assert story.run(3, 0.9) == []
        assert story.run(1, 0.1) == []


def test_after_a_recovery_the_calm_is_the_first_again() -> None:
    story = Story()
    story.run(5, 0.8)
    story.run(35, 0.0)
    story.run(6, 0.8)  # returned once
    story.run(65, 0.0)
    assert not story.held
    assert story.watches[API].failed_trials == 1
    story.run(16, 0.0)
    assert story.watches[API] == VictimWatch(calm_since=story.watches[API].calm_since)


def test_a_harm_that_a_second_rung_ends_is_not_climbed_further() -> None:
    story = Story()
    assert story.run(9, 0.8) == [(4, A.CLIMB), (9, A.CLIMB)]
    assert A.CLIMB not in [action for _, action in story.run(100, 0.1)]
