"""Where samples go on the time axis, how high a graph is, and what is sent when it changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.history.annotation import Annotation, AnnotationKind
from tui.app.widgets.cells import changed
from tui.app.widgets.graph import GUTTER_CELLS, axis
from tui.present.braille import BRAILLE
from tui.present.timeline import Window, nice, place, top, window

S = 10**9


@given(now=st.integers(0, 10**15), cells=st.integers(1, 300))
def test_now_is_in_the_last_eighth_and_the_paper_lies_still(now: int, cells: int) -> None:
    shown = window(now, S, cells)
    pen = shown.cell(now)
    assert shown.slots == 2 * cells
    assert pen is not None
    assert cells - max(1, cells // 8) <= pen < cells
    after = window(now + S, S, cells)
    assert (after.first - shown.first) in (0, 2 * max(1, cells // 8))


def test_a_sample_that_is_a_little_late_makes_no_hole() -> None:
    times = [S * t // 100 for t in (100, 201, 299, 405, 498)]
    shown = Window(0, 6, S)
    assert place(times, [1.0, 2.0, 3.0, 4.0, 5.0], shown, S) == [1.0, 2.0, 3.0, 4.0, 5.0, None]


def test_silence_and_missing_values_are_gaps() -> None:
    shown = Window(0, 10, S)
    got = place([1 * S, 2 * S, 8 * S, 9 * S], [1.0, None, 3.0, 4.0], shown, S)
    assert got == [1.0, None, None, None, None, None, 3.0, 3.0, 4.0, None]


def test_what_is_outside_the_window_is_left_out() -> None:
    assert place([1 * S, 2 * S, 3 * S], [1.0, 2.0, 3.0], Window(2, 2, S), S) == [3.0, None]


@pytest.mark.parametrize(
    ("peak", "limit", "floor", "expected"),
    [
        (0.1, 0.2, 0.1, 0.25),  # under its limit: a quarter above it
        (1.9, 0.2, 0.1, 2.0),  # just lowered: what was before stays on the graph
        (0.001, None, 0.1, 0.1),  # noise stays small
        (4.2, None, 0.1, 5.0),
    ],
)
def test_the_scale_is_fixed(peak: float, limit: float | None, floor: float, expected: float) -> None:
    assert top(peak, limit=limit, floor=floor) == pytest.approx(expected)


@given(st.floats(1e-6, 1e15), st.sampled_from([1000, 1024]))
def test_a_round_number_is_above_and_not_far(value: float, base: int) -> None:
    assert value * (1 - 1e-6) <= nice(value, base=base) <= value * 2.001


def test_annotations_stand_on_the_axis_each_kind_with_its_sign() -> None:
    shown = Window(0, 80, S)
    changed, killed = AnnotationKind.LIMITS_SET, AnnotationKind.OOM_KILL
    kinds = {10: changed, 30: killed, 31: changed, 500: changed}
    parts = list(axis(shown, [], [Annotation(at * S, kind) for at, kind in kinds.items()], BRAILLE))
    line = "".join(text for _, text in parts)
    assert len(line) == GUTTER_CELLS + 40
    assert line[GUTTER_CELLS + 5] == "▲"
    assert line[GUTTER_CELLS + 15] == "✖"
    assert line.count("▲") == 1  # the one in the same cell as the harm gives way
    assert ("axis--harm", "✖") in parts


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [("abcdef", "abXdef", (2, 1)), ("abcdef", "aXcdYf", (1, 4)), ("abc", "abcdef", (3, 3)), ("aaa", "aaab", (3, 1))],
)
def test_only_what_has_changed_is_drawn_again(before: str, now: str, expected: tuple[int, int]) -> None:
    x, y, width, height = changed((("", before),), (("", now),), 7)
    assert (x, width) == expected
    assert (y, height) == (7, 1)


def test_a_line_that_changed_only_its_colours_is_drawn_whole() -> None:
    assert changed((("a", "xy"), ("b", "z")), (("a", "x"), ("b", "yz")), 0) == (0, 0, 3, 1)


@given(st.text("ab", max_size=8), st.text("ab", max_size=8))
def test_everything_outside_the_changed_stretch_is_the_same(before: str, now: str) -> None:
    x, _, width, _ = changed((("", before),), (("", now),), 0)
    if before != now:
        size = max(len(before), len(now))
        a, b = before.ljust(size), now.ljust(size)
        assert a[:x] == b[:x]
        assert a[x + width :] == b[x + width :]
