"""The lines of the guard: every event, every reason and every target has its words, and names are made safe."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.attribution.evidence import Suspect, SuspectKind
from runtime.containment.rung import RungId
from runtime.errors import KernelError, RefusedError
from runtime.model import ContainerRef, LimitChange
from tui.core.guard.policy import Aim
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import Decision, GuardAction, GuardReason, Harm
from tui.present.guard_text import HARMS, REASONS, line
from tui.present.messages import say

API = ContainerRef("docker", "api")
HOG = Suspect(SuspectKind.CONTAINER, ContainerRef("docker", "hog"))
HARM = Harm(Aim.CPU_WAIT, 0.79, 0.2)
A, K, R = GuardAction, GuardEventKind, GuardReason


def event(kind: GuardEventKind, action: GuardAction, reason: GuardReason, **more: Any) -> GuardEvent:
    decision = Decision(API, action, reason, suspect=HOG, harm=more.pop("harm", None))
    given: dict[str, Any] = {"victim": "api", "suspect": "hog"}
    return GuardEvent(kind, 0, decision=decision, **(given | more))


IDLE: dict[str, Any] = {"rung": RungId.CPU_IDLE, "target": "hog", "change": LimitChange(cpu_idle=True), "seconds": 60.0}
LINES = [
    (
        event(K.DONE, A.CLIMB, R.HARMED, harm=HARM, **IDLE),
        "api: waits 79% of the time for CPU (target 20%), because of hog: cpu idle of hog (CPU idle on), for 60 s"
        " (harmed for long enough)",
    ),
    (
        event(
            K.DONE,
            A.CLIMB,
            R.STILL_HARMED,
            harm=HARM,
            rung=RungId.FREEZE,
            target="hog",
            change=LimitChange(),
            seconds=60.0,
        ),
        "api: waits 79% of the time for CPU (target 20%), because of hog: freeze of hog (it stands still), for 60 s"
        " (still harmed)",
    ),
    (
        event(K.WOULD_DO, A.CLIMB, R.HARMED, harm=Harm(Aim.P99_MS, 80.25, 50.0), **IDLE),
        "api: has a p99 of 80.2 ms (target 50 ms), because of hog: would set cpu idle of hog (CPU idle on), for 60 s"
        " (harmed for long enough)",
    ),
    (
        event(K.DONE, A.RENEW, R.CALM_TOO_SHORT, seconds=60.0),
        "api: within its targets, not yet for long enough: goes on for 60 s",
    ),
    (
        event(K.WOULD_DO, A.RENEW, R.REPORTED, seconds=60.0),
        "api: what would come after that is not known in a dry run: would go on for 60 s",
    ),
    (
        event(K.DONE, A.RELEASE, R.TRIAL, **IDLE),
        "api: on trial, whether the harm returns: cpu idle of hog is taken back",
    ),
    (event(K.WOULD_DO, A.RELEASE, R.TRIAL), "api: on trial, whether the harm returns: would take back what it had set"),
    (event(K.NOT_DONE, A.NOTHING, R.WITHIN_TARGETS), "api: within its targets"),
    (
        event(K.NOT_DONE, A.NOTHING, R.NOT_LISTED, harm=HARM),
        "api: waits 79% of the time for CPU (target 20%), because of hog: nothing is done, the policy does not let"
        " it be contained",
    ),
    (
        event(K.NOT_DONE, A.NOTHING, R.LADDER_ENDS, harm=HARM, error=RefusedError("contain", detail="no rung is left")),
        "api: waits 79% of the time for CPU (target 20%), because of hog: nothing is done, there is no further step"
        " (no rung is left)",
    ),
    (
        event(K.NOT_DONE, A.NOTHING, R.NOT_ON_DISK, harm=HARM, detail="not on disk: full"),
        "api: waits 79% of the time for CPU (target 20%), because of hog: nothing is done, it waits for the audit trail"
        " (not on disk: full)",
    ),
    (
        event(K.FAILED, A.CLIMB, R.HARMED, error=KernelError("limit hog", detail="EBUSY"), **IDLE),
        "api: cpu idle of hog: limit hog: EBUSY",
    ),
    (
        event(K.LOST, A.NOTHING, R.CONTESTED, rung=RungId.CPU_IDLE),
        "api: cpu idle against hog has ended: somebody else has taken it back",
    ),
    (
        GuardEvent(K.NO_FIGURE, 0, victim="api", error=RefusedError("run /bin/p99", detail="it ended with 3")),
        "api: its p99 is not known: run /bin/p99: it ended with 3",
    ),
    (GuardEvent(K.STOPPED, 0), "ended: what it held was taken back"),
]


@pytest.mark.parametrize(("given", "words"), LINES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_line(given: GuardEvent, words: str) -> None:
    assert line(given) == words


def test_a_start_says_by_which_policy_and_whether_it_is_dry() -> None:
    started = GuardEvent(K.STARTED, 0)
    assert line(started, policy="/etc/guard.toml") == "guards by /etc/guard.toml"
    assert line(started, policy="/etc/guard.toml", dry_run=True) == "a dry run by /etc/guard.toml: it changes nothing"


def test_every_reason_and_every_target_has_words() -> None:
    assert set(REASONS) == set(GuardReason)
    assert set(HARMS) == set(Aim)
    for message in HARMS.values():
        assert "(target " in say(message, figure=0.5, target=0.2)


def test_names_from_outside_are_made_safe() -> None:
    given = event(K.DONE, A.CLIMB, R.HARMED, harm=HARM, **(IDLE | {"target": "h\x1b[31m"}), victim="a\n\x07b")
    assert "\x1b" not in line(given)
    assert "\n" not in line(given)
    assert "\x07" not in line(given)
