"""The last minutes: rings with gaps, bounded, and annotations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.history.annotation import AnnotatedLimit, Annotation, AnnotationKind
from collectors.history.rings import History
from collectors.sampling.frame import Frame, HostUsage, Usage
from runtime.model import ContainerRef, LimitName, Missing

S = 1_000_000_000
A, B = ContainerRef("test", "a"), ContainerRef("test", "b")


def frame(number: int, **cpu: float | Missing) -> Frame:
    usages = {ContainerRef("test", name): Usage(number * S, cpu=value) for name, value in cpu.items()}
    return Frame(number, number * S, number * S, S, 0, HostUsage(ncpu=2, cpu=0.5), usages=usages)


def test_values_come_back_in_order_with_gaps() -> None:
    history = History(10)
    for number, value in enumerate((0.5, Missing.NOT_SAMPLED, 1.5), start=1):
        history.push(frame(number, a=value))
    series = history.series(A, "cpu")
    assert series.times_ns == [S, 2 * S, 3 * S]
    assert series.values == [0.5, None, 1.5]
    assert history.host_series("cpu").values == [0.5, 0.5, 0.5]


def test_a_container_that_is_not_in_a_frame_has_a_gap() -> None:
    history = History(10)
    history.push(frame(1, a=1.0, b=1.0))
    history.push(frame(2, b=1.0))
    history.push(frame(3, a=1.0, b=1.0))
    assert history.series(A, "cpu").values == [1.0, None, 1.0]


def test_it_holds_no_more_than_its_size_and_forgets_who_has_gone() -> None:
    history = History(4)
    history.push(frame(1, a=1.0))
    for number in range(2, 8):
        history.push(frame(number, b=float(number)))
    assert history.series(B, "cpu").values == [4.0, 5.0, 6.0, 7.0]
    assert history.series(A, "cpu").values == []


def test_the_mean_of_the_last_seconds_leaves_gaps_out() -> None:
    history = History(10)
    for number, value in enumerate((9.0, 1.0, Missing.GONE, 2.0), start=1):
        history.push(frame(number, a=value))
    assert history.mean(A, "cpu", 3) == pytest.approx(1.5)
    assert history.mean(B, "cpu", 3) is None


def test_annotations_are_kept_and_forgotten_with_the_container() -> None:
    history = History(10)
    held = AnnotatedLimit(LimitName.CPUS, 0.2)
    history.annotate(A, AnnotationKind.LIMITS_SET, held, at_ns=5)
    (noted,) = history.annotations(A)
    assert noted == Annotation(5, AnnotationKind.LIMITS_SET, (held,), noted.wall_ns)
    assert noted.wall_ns == 5
    history.forget(A)
    assert history.annotations(A) == ()
    with pytest.raises(KeyError):
        history.series(A, "nonsense")


@pytest.mark.parametrize("interval", [0.1, 0.25, 1.0, 5.0])
def test_the_last_minute_is_a_minute_at_every_interval(interval: float) -> None:
    """Also when the interval changes on the way: a session's may."""
    history = History()
    history.hold(60, interval)
    count = round(60 / interval)
    for number in range(2 * count):
        at = round(number * interval * S)
        history.push(replace(frame(1, a=0.0 if number < count else 2.0), at_ns=at))
    series = history.series(A, "cpu")
    assert series.times_ns[-1] - series.times_ns[0] >= 59.8 * S
    assert history.mean(A, "cpu", 60) == pytest.approx(2.0)


def test_what_is_there_is_kept_when_the_room_changes() -> None:
    history = History(4)
    for number in range(1, 8):
        history.push(frame(number, a=float(number)))
    for interval, kept in ((0.5, [4.0, 5.0, 6.0, 7.0]), (1.0, [4.0, 5.0, 6.0, 7.0])):
        history.hold(4, interval)
        assert history.series(A, "cpu").values == kept
    history.hold(4, 0.5)
    for number in range(8, 14):
        history.push(frame(number, a=float(number)))
    assert history.series(A, "cpu").values == [float(number) for number in range(5, 14)]
    history.hold(4, 1)
    assert history.series(A, "cpu").values == [9.0, 10.0, 11.0, 12.0, 13.0]
    assert history.host_series("cpu").values == [0.5] * 5


def test_equal_samples_of_an_idle_container_are_kept_like_any_others() -> None:
    history = History(4)
    for number, (cpu, memory) in enumerate(((0.0, 7), (0.0, 7), (0.0, 8), (0.0, 8), (0.5, 8), (0.5, 8)), start=1):
        usages = {A: Usage(number * S, cpu=cpu, memory=memory)} if number != 4 else {}
        host = HostUsage(ncpu=2, cpu=0.5)
        history.push(Frame(number, number * S, number * S, S, 0, host, usages=usages))
    assert history.series(A, "cpu").values == [0.0, None, 0.5, 0.5]
    assert history.series(A, "memory").values == [8, None, 8, 8]
    assert history.series(A, "cpu", last=2).values == [0.5, 0.5]
    assert history.series(A, "cpu", last=9).values == [0.0, None, 0.5, 0.5]
    assert history.series(A, "cpu", last=2).times_ns == [5 * S, 6 * S]
