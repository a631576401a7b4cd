"""The demo's arithmetic and where its story stands."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.demo.story import (
    Report,
    Service,
    StoryStep,
    isolation,
    latency_impact,
    loaded,
    parse_report,
    percentile,
    recovery,
    service,
    step,
)

ALONE = Service(p50=12, p99=13, answered=50, shed=0, seconds=5)
HURT = Service(p50=780, p99=800, answered=41, shed=9, seconds=5)
CONTAINED = Service(p50=13, p99=32, answered=50, shed=0, seconds=5)


def test_a_report_is_read() -> None:
    line = {"at": 0.5, "sent": 25, "shed": 1, "latency_ms": [11.9, 12.1]}
    assert parse_report(json.dumps(line).encode()) == Report(0.5, 25, 1, (11.9, 12.1))


@given(st.binary())
def test_anything_else_in_the_log_is_no_report(line: bytes) -> None:
    assert parse_report(line) is None or b"latency_ms" in line


@pytest.mark.parametrize(
    "line", [b"[1,2]", b'{"at": 1}', b'{"at":1,"sent":1,"shed":0,"latency_ms":null}', b"\xff\xfe", b"[" * 9999]
)
def test_broken_reports_are_no_reports(line: bytes) -> None:
    assert parse_report(line) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_enough_are_at_most_it(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9


def test_a_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(percentile([], 0.99))


def test_reports_add_up() -> None:
    reports = [Report(0.5, 25, 5, (10.0,) * 20), Report(1.0, 25, 15, (30.0,) * 10)]
    assert service(reports, 0.5) == Service(p50=10.0, p99=30.0, answered=30.0, shed=20.0, seconds=1.0)


def test_no_answer_is_no_service() -> None:
    assert service([Report(0.5, 25, 25, ())], 0.5) is None
    assert service([], 0.5) is None


def test_isolation_and_impact() -> None:
    assert isolation(HURT, ALONE) == pytest.approx(0.82)
    assert isolation(CONTAINED, ALONE) == 1.0
    assert latency_impact(HURT, ALONE) == pytest.approx(800 / 13 - 1)
    assert latency_impact(ALONE, ALONE) == 0.0


def test_recovery_is_the_share_of_the_damage_that_went_away() -> None:
    assert recovery(HURT, CONTAINED, ALONE) == pytest.approx((800 - 32) / (800 - 13))
    assert recovery(HURT, HURT, ALONE) == 0.0
    assert recovery(ALONE, CONTAINED, ALONE) == 0.0, "nothing was hurt, so nothing recovered"


def test_the_story_goes_by_what_is_measured() -> None:
    assert step(None, None, True, False, False) is StoryStep.STARTING
    assert step(None, ALONE, True, False, False) is StoryStep.ALONE
    assert step(ALONE, ALONE, True, False, False) is StoryStep.ALONE
    assert step(ALONE, HURT, True, True, False) is StoryStep.HURT
    assert step(ALONE, HURT, True, True, True) is StoryStep.LIMITED
    assert step(ALONE, CONTAINED, True, True, True) is StoryStep.RECOVERED
    assert step(ALONE, CONTAINED, True, True, False) is StoryStep.HURT
    assert step(ALONE, CONTAINED, False, True, False) is StoryStep.ENDED


def test_recovered_is_said_only_when_the_victim_has_recovered() -> None:
    """At p99 1431 ms it was said, on a host where the victim alone had 400. Looked for elsewhere: the demo without a
    screen takes the share of the added p99 alone, and prints all of it."""
    slow = Service(p50=60, p99=400, answered=50, shed=0, seconds=4)
    worse = Service(p50=900, p99=1700, answered=30, shed=20, seconds=4)
    still = Service(p50=700, p99=1431, answered=35, shed=15, seconds=4)
    better = Service(p50=60, p99=450, answered=50, shed=0, seconds=4)
    assert step(slow, still, True, True, True, worse) is StoryStep.LIMITED
    assert step(slow, better, True, True, True, worse) is StoryStep.RECOVERED
    assert step(slow, Service(p50=60, p99=450, answered=30, shed=20, seconds=4), True, True, True) is StoryStep.LIMITED
    assert loaded(slow)
    assert not loaded(ALONE)
