"""The wall clock of what has been: steps and suspensions move no mark and no label of before."""

from __future__ import annotations

import time

import pytest

from collectors.history.annotation import Annotation, AnnotationKind
from collectors.history.rings import History
from collectors.history.wall_clock import ClockStretch, WallClock
from collectors.sampling.frame import Frame, HostUsage
from tui.app.widgets.graph import axis
from tui.present.braille import BRAILLE
from tui.present.timeline import Window

S = 10**9
NOON_S = 1_800_000_000 // 3600 * 3600


def frame(at_s: int, wall_s: int) -> Frame:
    return Frame(at_s, at_s * S, wall_s * S, S, 0, HostUsage(ncpu=1), usages={})


@pytest.mark.parametrize("step_s", [3600, -3600, 7], ids=["suspended", "stepped back", "a little"])
def test_labels_of_before_a_step_stay(step_s: int) -> None:
    history, shown = History(300), Window(0, 240, S)
    for second in range(120):
        history.push(frame(second, NOON_S + second))
    before = drawn(history, shown)
    for second in range(120, 240):
        history.push(frame(second, NOON_S + second + step_s))
    after = drawn(history, shown)
    assert after[:50] == before[:50]
    assert stamp(NOON_S + 30) in after
    assert stamp((NOON_S + 210 + step_s) // 30 * 30) in after


def test_annotations_show_the_wall_clock_of_their_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    history, ref = History(), object()
    history.annotate(ref, AnnotationKind.STARTED)  # type: ignore[arg-type]
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * S)
    history.annotate(ref, AnnotationKind.ENDED)  # type: ignore[arg-type]
    first, second = history.annotations(ref)  # type: ignore[arg-type]
    assert second.at_ns - first.at_ns < 10 * S
    assert abs(second.wall_ns - first.wall_ns - 3600 * S) < 10 * S


def test_slewing_is_no_step_and_the_past_is_forgotten() -> None:
    clock = WallClock()
    for second in range(1000):
        clock.note(second * S, second * S + second * 1000, max(0, second - 100) * S)
    assert clock.stretches(0, 1000 * S) == [ClockStretch(0, 1000 * S, 0)]
    for second in range(1000, 1300):
        clock.note(second * S, second * S + 60 * S, (second - 100) * S)
    assert clock.stretches(1100 * S, 1300 * S) == [ClockStretch(1100 * S, 1300 * S, 60 * S)]
    assert WallClock().stretches(0, S) == []


def drawn(history: History, shown: Window) -> str:
    clock = history.clock.stretches(shown.start_ns, shown.end_ns)
    marks = [Annotation(110 * S, AnnotationKind.STARTED)]
    return "".join(text for _, text in axis(shown, clock, marks, BRAILLE))


def stamp(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))
