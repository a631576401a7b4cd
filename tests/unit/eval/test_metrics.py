"""Figures of the evaluation, against values known from elsewhere or reckoned by hand."""

from __future__ import annotations

import math
import statistics

import pytest

from tests.eval import metrics
from tests.eval.metrics import Pair, Scores, Second


def pair(*, culprit: bool, named: bool, after_s: float | None = None, wait: float = 0.0) -> Pair:
    return Pair(
        scenario="one", repeat=0, victim="v", suspect="s", culprit=culprit, named=named, after_s=after_s, wait=wait
    )


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(hits: int, of: int, low: float, high: float) -> None:
    """Newcombe 1998, table I, method 3; the same to four digits."""
    found = metrics.wilson(hits, of)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == hits / of


def test_wilson_of_all_and_of_none() -> None:
    assert metrics.wilson(50, 50).high == pytest.approx(1.0)
    assert metrics.wilson(50, 50).low < 1.0
    assert math.isnan(metrics.wilson(0, 0).value)


def test_bootstrap_is_repeatable_and_holds_the_statistic() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    found = metrics.bootstrap(values, seed=1)
    assert found == metrics.bootstrap(values, seed=1)
    assert (found.low, found.value) == (1.0, 3.0)
    assert found.high > 3.0
    assert metrics.bootstrap([2.0] * 5, statistics.fmean, seed=1) == metrics.Interval(2.0, 2.0, 2.0)
    assert math.isnan(metrics.bootstrap([], seed=1).value)


def test_scores_count_pairs_by_label_and_name() -> None:
    pairs = [
        *[pair(culprit=True, named=True)] * 9,
        pair(culprit=True, named=False),
        *[pair(culprit=False, named=True)] * 3,
        *[pair(culprit=False, named=False)] * 7,
    ]
    scores = Scores.of(pairs)
    assert (scores.tp, scores.fp, scores.fn, scores.tn) == (9, 3, 1, 7)
    assert scores.precision.value == 0.75
    assert scores.recall.value == 0.9
    assert scores.f1 == pytest.approx(2 * 0.75 * 0.9 / (0.75 + 0.9))
    assert math.isnan(Scores.of([]).precision.value)


def test_best_threshold_separates_what_can_be_separated() -> None:
    assert metrics.best_threshold([(0.9, True), (0.8, True), (0.2, False), (0.1, False)]) == 0.5
    assert metrics.best_threshold([(0.9, True), (0.5, False), (0.45, True), (0.4, True), (0.1, False)]) == 0.25
    assert metrics.best_threshold([]) == math.inf


def test_times_to_name_are_by_wait_and_infinite_for_one_that_was_missed() -> None:
    pairs = [
        pair(culprit=True, named=True, after_s=2.0, wait=0.6),
        pair(culprit=True, named=False, wait=0.7),
        pair(culprit=True, named=True, after_s=5.0, wait=0.5),
        pair(culprit=False, named=True, after_s=1.0, wait=0.9),
    ]
    assert metrics.times_to_name(pairs, high_wait=True) == [2.0, math.inf]
    assert metrics.times_to_name(pairs, high_wait=False) == [5.0]


def test_percentile_is_of_the_nearest_rank() -> None:
    assert metrics.percentile(range(1, 101), 0.99) == 99
    assert metrics.percentile([3, 1, 2], 0.05) == 1
    assert math.isnan(metrics.percentile([], 0.5))


def test_isolation_and_latency_impact_as_resctl_demo_has_them() -> None:
    seconds = [Second(50, 0, (10.0, 10.0, 30.0)), Second(25, 25, (40.0,)), Second(60, 0, ()), Second(0, 50, ())]
    assert metrics.isolation(seconds, 50.0) == [1.0, 0.5, 1.0, 0.0]
    assert metrics.latency_impact(seconds, 20.0) == [0.0, 1.0]
    assert metrics.p99(seconds) == 40.0


def test_recovered_share_of_what_the_harm_had_added() -> None:
    assert metrics.recovered_share(10, 110, 30) == 0.8
    assert metrics.recovered_share(10, 110, 5) == 1.0
    assert metrics.recovered_share(10, 110, 200) == 0.0
    assert math.isnan(metrics.recovered_share(10, 10, 10))


def test_recovery_begins_with_the_first_of_some_good_samples() -> None:
    at = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert metrics.recovery_s(at, [9, 3, 9, 3, 3, 3], bound_ms=5) == 4.0
    assert metrics.recovery_s(at, [9, 3, 9, 3, 3, 9], bound_ms=5) is None
    assert metrics.recovery_s(at, [3, 3, 9, 9, 9, 9], bound_ms=5, steady=2) == 1.0
    assert metrics.recovery_s([], [], bound_ms=5) is None
