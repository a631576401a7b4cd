"""The renderer of graphs: what is drawn, what is a gap, and that each meaning has a glyph of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.present.braille import ASCII, BLOCKS, BRAILLE, Charset, Ink, charset, draw, inks

SETS = pytest.mark.parametrize("glyphs", [BRAILLE, BLOCKS, ASCII], ids=lambda c: c.name)
fractions = st.lists(st.none() | st.floats(0, 1.5), max_size=40)


def test_braille_shows_both_values_of_a_cell() -> None:
    assert draw([0.25, 1.0], 1, BRAILLE) == ["⣸"]
    assert draw([0.25, 1.0, 1.0, 0.5], 2, BRAILLE) == ["⢸⡇", "⣼⣿"]


@pytest.mark.parametrize(("glyphs", "rows"), [(BLOCKS, ["▄", "█"]), (ASCII, [":", "#"])])
def test_the_others_show_the_higher_value(glyphs: Charset, rows: list[str]) -> None:
    assert draw([0.1, 0.78], 2, glyphs) == rows


@SETS
def test_nothing_used_is_drawn_and_nothing_measured_is_not(glyphs: Charset) -> None:
    zero, gap = draw([0.0, 0.0, None, None], 3, glyphs)[-1]
    assert zero != " "
    assert gap == " "


@SETS
def test_time_held_back_has_its_own_glyph_even_when_it_is_little_or_there_is_no_room(glyphs: Charset) -> None:
    little = draw([0.5, 0.5], 4, glyphs, held=[0.001, 0.0])
    assert [row == glyphs.throttled for row in little] == [False, True, False, False]
    assert draw([1.0, 1.0], 4, glyphs, held=[0.5, 0.5])[0] == glyphs.throttled
    much = draw([0.25, 0.25], 4, glyphs, held=[0.75, 0.75])
    assert much[:3] == [glyphs.throttled] * 3


@SETS
def test_the_limit_line_goes_where_nothing_else_is(glyphs: Charset) -> None:
    rows = draw([1.0, 1.0, 0.1, 0.1, None, None], 4, glyphs, limit=0.6)
    assert rows[1][1:] == glyphs.limit * 2
    assert glyphs.limit not in rows[1][0] + rows[0] + rows[2] + rows[3]


@SETS
@given(values=fractions, held=fractions, height=st.integers(1, 9))
def test_rows_are_always_of_one_width(
    glyphs: Charset, values: list[float | None], held: list[float | None], height: int
) -> None:
    rows = draw(values, height, glyphs, held=held[: len(values)], limit=0.5)
    assert len(rows) == height
    assert {len(row) for row in rows} == {-(-len(values) // 2)}
    for row in rows:
        assert "".join(text for _, text in inks(row, glyphs)) == row


def test_a_row_is_cut_where_its_meaning_changes() -> None:
    assert list(inks("⣿ ▒▒╌╌⣿", BRAILLE)) == [
        (Ink.USE, "⣿ "),
        (Ink.THROTTLED, "▒▒"),
        (Ink.LIMIT, "╌╌"),
        (Ink.USE, "⣿"),
    ]


@SETS
def test_no_glyph_means_two_things(glyphs: Charset) -> None:
    levels = {glyphs.glyph(a, b) for a in range(glyphs.steps + 1) for b in range(glyphs.steps + 1)}
    assert not levels & {glyphs.throttled, glyphs.limit, glyphs.change_sign, glyphs.harm_sign}
    if glyphs is ASCII:
        assert all(glyph.isascii() for glyph in levels | {glyphs.throttled, glyphs.limit, glyphs.axis, glyphs.tick})


@pytest.mark.parametrize(
    ("ascii_only", "term", "glyphs"), [(True, "xterm", ASCII), (False, "linux", BLOCKS), (False, "xterm", BRAILLE)]
)
def test_what_a_terminal_can_show(ascii_only: bool, term: str, glyphs: Charset) -> None:
    assert charset(ascii_only, term) is glyphs
