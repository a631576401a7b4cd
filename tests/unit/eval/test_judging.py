"""Labelled pairs from the frames of a run: who is judged, when, and what counts as named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from collectors.sampling.frame import Frame, HostUsage, Pressure, Usage
from runtime.model import ContainerRef
from tests.eval import judging
from tests.eval.observation import Observation, Told
from tests.eval.scenario import Cast, Scenario
from tui.demo.story import Report

SECOND = 1_000_000_000
NAMES = {ContainerRef("embedded", name): name for name in ("victim", "hog", "quiet")}


class Scripted:
    """Gives prepared scores, frame by frame."""

    threshold = 0.5

    def __init__(self, *scores: Mapping[tuple[str, str], float]) -> None:
        self._scores = iter(scores)

    def take(self, frame: Frame) -> Mapping[tuple[str, str], float]:
        return next(self._scores)


def observation(frames: int, *, judged_from_s: float = 0.0, outside: bool = False, some: float = 0.0) -> Observation:
    scenario = Scenario(
        name="one",
        says="",
        cast=lambda rng: Cast(actors=()),
        culprits=frozenset({("victim", "hog")}),
        judged_from_s=judged_from_s,
    )
    made = [
        Frame(
            number,
            number * SECOND,
            0,
            SECOND,
            0,
            HostUsage(ncpu=2),
            usages={
                ref: Usage(0, waiting=0.1 * number, pressure={"io": Pressure(some, some)})
                for ref, name in NAMES.items()
                if name == "victim"
            },
        )
        for number in range(1, frames + 1)
    ]
    return Observation(scenario, 2, dict(NAMES), outside, 0, 2 * SECOND, 5 * SECOND, made)


def test_a_pair_is_named_when_its_score_reaches_the_threshold_while_it_is_judged() -> None:
    before, below, above, late = ({("victim", "hog"): score} for score in (0.9, 0.4, 0.5, 0.9))
    found = judging.judged(observation(5), Scripted(before, before, below, above, late))
    hog, quiet = found
    assert (hog.suspect, hog.culprit, hog.named, hog.after_s, hog.score) == ("hog", True, True, 2.0, 0.9)
    assert (quiet.suspect, quiet.culprit, quiet.named, quiet.after_s) == ("quiet", False, False, None)
    assert (hog.scenario, hog.repeat, hog.victim) == ("one", 2, "victim")


def test_what_is_named_before_or_after_is_not_judged() -> None:
    named: Mapping[tuple[str, str], float] = {("victim", "hog"): 0.9}
    found = judging.judged(observation(7), Scripted(named, named, {}, {}, {}, {}, named))
    assert not any(pair.named for pair in found)
    found = judging.judged(observation(5, judged_from_s=2.5), Scripted(named, named, named, named, {}))
    assert not any(pair.named for pair in found)


def test_programs_of_the_host_are_a_suspect_where_the_load_is_one() -> None:
    named: Mapping[tuple[str, str], float] = {("victim", judging.OUTSIDE): 0.9}
    within = judging.judged(observation(3), Scripted(named, named, named))
    assert [pair.suspect for pair in within] == ["hog", "quiet"]
    outside = judging.judged(observation(3, outside=True), Scripted(named, named, named))
    assert [(pair.suspect, pair.culprit, pair.named) for pair in outside if pair.suspect == judging.OUTSIDE] == [
        (judging.OUTSIDE, True, True)
    ]
    assert judging.wrongly_named_outside(observation(3), Scripted(named, named, named)) == 1
    assert judging.wrongly_named_outside(observation(3), Scripted(named, named, {})) == 0
    assert judging.wrongly_named_outside(observation(3, outside=True), Scripted(named, named, named)) == 0


def test_the_wait_is_the_median_of_the_highest_stall() -> None:
    assert judging.wait(observation(5), "victim") == pytest.approx(0.5)
    assert judging.wait(observation(5, some=0.7), "victim") == pytest.approx(0.7)


def test_attribution_names_nobody_in_quiet_frames() -> None:
    found = judging.judged(observation(1), judging.AttributionDetector(NAMES))
    assert [pair.named for pair in found] == [False, False]


def test_reports_are_taken_by_when_they_came() -> None:
    seen = observation(1)
    seen.reports["victim"] = [Told(at * SECOND, Report(float(at), 10, at, (1.0,) * at)) for at in (1, 2, 3)]
    taken = seen.seconds("victim", 1 * SECOND, 3 * SECOND)
    assert [(second.answered, second.shed) for second in taken] == [(2, 2), (3, 3)]
    assert seen.seconds("nobody", 0, SECOND) == []
