"""The simple detectors on frames whose answer is known."""

from __future__ import annotations

import pytest

from collectors.sampling.frame import Frame, HostUsage, IoRates, Pressure, Usage
from runtime.model import ContainerRef, Missing
from tests.eval import baselines
from tests.eval.baselines import Baseline

VICTIM, HOG, QUIET = (ContainerRef("embedded", name) for name in ("victim", "hog", "quiet"))
SECOND = 1_000_000_000


def usage(cpu: float, *, some: float = 0.0, full: float = 0.0, read: float = 0.0, io: float = 0.0) -> Usage:
    return Usage(
        0,
        cpu=cpu,
        memory=1 << 20,
        io=IoRates(read, 0.0, read / 4096, 0.0),
        pressure={"cpu": Pressure(some, full), "memory": Pressure(0.0, 0.0), "io": Pressure(io, io)},
    )


def frame(number: int, host_cpu: float = 1.5, **usages: Usage) -> Frame:
    refs = {"victim": VICTIM, "hog": HOG, "quiet": QUIET}
    return Frame(
        number,
        number * SECOND,
        0,
        SECOND,
        0,
        HostUsage(ncpu=2, cpu=host_cpu),
        usages={refs[name]: each for name, each in usages.items()},
    )


def test_usage_alone_is_the_share_of_the_host() -> None:
    frames = [frame(1, victim=usage(0.5), hog=usage(1.0)), frame(2, victim=usage(0.5), hog=usage(0.6))]
    assert baselines.usage_alone(frames, VICTIM, HOG) == pytest.approx(0.4)


def test_share_is_of_what_all_but_the_victim_used_the_host_included() -> None:
    frames = [frame(1, host_cpu=1.75, victim=usage(0.5), hog=usage(1.0), quiet=usage(0.0))]
    assert baselines.share(frames, VICTIM, HOG, "cpu") == pytest.approx(0.8)
    assert baselines.share(frames, VICTIM, QUIET, "cpu") == 0.0


@pytest.mark.parametrize(("name", "expected"), [("some x share", 0.8), ("full x share", 0.4)])
def test_stall_times_share(name: str, expected: float) -> None:
    frames = [frame(1, victim=usage(0.5, some=0.8, full=0.4), hog=usage(1.0))]
    assert baselines.SCORES[name](frames, VICTIM, HOG) == pytest.approx(expected)


def test_the_resource_counts_that_explains_most() -> None:
    frames = [frame(1, victim=usage(0.1, some=0.1, io=0.6), hog=usage(0.0, read=3e6), quiet=usage(0.9, read=1e6))]
    assert baselines.SCORES["some x share"](frames, VICTIM, HOG) == pytest.approx(0.45)


def test_correlation_goes_by_what_moves_together() -> None:
    frames = [
        frame(
            number,
            victim=usage(0.5, some=0.1 * (number % 3)),
            hog=usage(0.3 * (number % 3)),
            quiet=usage(0.2 * ((number + 1) % 2)),
        )
        for number in range(1, 9)
    ]
    assert baselines.correlation(frames, VICTIM, HOG) == pytest.approx(1.0)
    assert baselines.correlation(frames, VICTIM, QUIET) < 0.5


def test_pearson_without_movement_is_nothing() -> None:
    assert baselines.pearson([1, 1, 1], [1, 2, 3]) == 0.0
    assert baselines.pearson([1, 2], [1, 2]) == 0.0
    assert baselines.pearson([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)


def test_a_window_forgets_and_missing_figures_count_as_nothing() -> None:
    detector = Baseline(baselines.usage_alone, window_s=2.0)
    detector.take(frame(1, victim=usage(0.5), hog=usage(2.0)))
    detector.take(frame(2, victim=usage(0.5), hog=Usage(0, cpu=Missing.NOT_SAMPLED)))
    scores = detector.take(frame(3, victim=usage(0.5), hog=usage(1.0)))
    assert scores[VICTIM, HOG] == pytest.approx(0.25)
    assert (VICTIM, VICTIM) not in scores


def test_every_detector_has_a_threshold() -> None:
    assert baselines.SCORES.keys() == baselines.THRESHOLDS.keys()
