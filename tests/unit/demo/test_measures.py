"""Isolation, latency impact and recovery, second by second."""

from __future__ import annotations

import math

import pytest

from collectors.attribution.evidence import Resource
from collectors.sampling.frame import IoRates, NetRates, Usage
from runtime.model import Missing
from tui.demo.measures import (
    Spread,
    isolations,
    kept_share,
    latency_impacts,
    outside_share,
    recovered_after,
    resource_use,
    seconds,
    spread,
)
from tui.demo.story import Report, Service

ALONE = Service(p50=12, p99=14, answered=50, shed=0, seconds=5)
HURT = Service(p50=780, p99=800, answered=41, shed=9, seconds=5)


def report(latency_ms: float, answered: int = 25, shed: int = 0) -> Report:
    return Report(0.0, 25, shed, (latency_ms,) * answered)


def test_a_spread_is_over_all_seconds() -> None:
    assert spread([]) is None
    assert spread(range(1, 101)) == Spread(50.5, 5, 95, 100)


def test_seconds_are_pairs_of_reports_and_a_half_one_is_left_out() -> None:
    each = seconds([report(10), report(20), report(30, 10), report(30, 5), report(99)], 0.5)
    assert [(now.answered, now.p99) for now in each] == [(50, 20), (15, 30)]


def test_a_second_without_an_answer_has_the_latency_of_the_next_one() -> None:
    """Else the worst seconds, in which nothing is answered, would count for nothing."""
    each = seconds([report(0, 0, 20), report(0, 0, 20), report(2000), report(2000)], 0.5)
    assert [(now.answered, now.shed, now.p99) for now in each] == [(0, 40, 2000), (50, 0, 2000)]
    last = seconds([report(10), report(10), report(0, 0), report(0, 0)], 0.5)
    assert math.isnan(last[1].p99)
    assert latency_impacts(last, ALONE) == [0.0]
    assert isolations(last, ALONE) == [1.0, 0.0]


def test_isolation_and_impact_of_each_second() -> None:
    each = seconds([report(14), report(28, 20), report(140, 10), report(140, 10)], 0.5)
    assert isolations(each, ALONE) == [pytest.approx(0.9), pytest.approx(0.4)]
    assert latency_impacts(each, ALONE) == [pytest.approx(1.0), pytest.approx(9.0)]


def test_recovery_is_two_good_reports_one_after_the_other() -> None:
    slow, good = report(800), report(13)
    assert recovered_after([slow, good, slow, good, good], 0.5, ALONE, HURT) == 2.0
    assert recovered_after([slow, good, slow], 0.5, ALONE, HURT) is None
    assert recovered_after([good, good], 0.5, ALONE, HURT) == 0.5
    assert recovered_after([slow, report(0, 0), good], 0.5, ALONE, HURT) is None


def test_what_a_hog_does_is_told_in_the_resource_of_the_story() -> None:
    usage = Usage(
        0,
        cpu=0.5,
        pids=7,
        io=IoRates(100.0, 20.0, 1.0, 1.0),
        net=NetRates(rx_bytes=1.0, tx_bytes=9.0, rx_packets=0, tx_packets=0, errors=0, drops=0),
    )
    found = {resource: resource_use(usage, resource) for resource in Resource}
    assert found == {
        Resource.CPU: 0.5,
        Resource.MEMORY: 0.5,
        Resource.IO: 120.0,
        Resource.NETWORK: 9.0,
        Resource.TASKS: 7,
    }
    unknown = usage._replace(io=IoRates(100.0, Missing.UNSUPPORTED, 1.0, 1.0), net=Missing.NOT_SAMPLED)
    assert resource_use(unknown, Resource.IO) is Missing.UNSUPPORTED
    assert resource_use(unknown, Resource.NETWORK) is Missing.NOT_SAMPLED


def test_what_is_kept_is_a_share_of_the_noise_and_unknown_where_either_is() -> None:
    assert kept_share(0.5, 2.0) == 0.25
    assert kept_share(3.0, 2.0) == 1.0
    assert kept_share(Missing.DENIED, 2.0) is None
    assert kept_share(None, 2.0) is None
    assert kept_share(0.5, 0.0) is None


def test_what_others_use_of_the_host() -> None:
    assert outside_share(1.5, [0.5, Missing.NOT_SAMPLED], 2) == 0.5
    assert outside_share(0.4, [0.5], 2) == 0.0
    assert outside_share(Missing.DENIED, [0.5], 2) is None
