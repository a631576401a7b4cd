"""Which columns fit in which width, and how a row is put together."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from collectors.history.rings import History
from runtime.model import UNLIMITED, Missing, State
from tests.app.fakes import container, town, usage
from tui.core.subject import Subject
from tui.present import glyphs, table
from tui.present.table import COLUMN_IDS, DEFAULT_COLUMNS, TREND, RowStyle, at, columns, head, row, row_style

FLEET, USES = town()


@example(30, ["memory_limit", "addresses", "anon", "cpu", "cpu_limit", "cpu_share"])
@given(st.integers(1, 400), st.lists(st.sampled_from(sorted(COLUMN_IDS)), unique=True, min_size=1))
def test_columns_never_need_more_than_there_is(width: int, wanted: list[str]) -> None:
    layout = columns(width, wanted, FLEET)
    assert layout, "one column at least"
    assert [c.id for c in layout] == [id for id in wanted if id in {c.id for c in layout}], "in the wanted order"
    if len(layout) > 1:
        assert 1 + sum(c.gap + c.width for c in layout) <= width


def test_the_important_columns_are_there_in_a_narrow_terminal() -> None:
    ids = {c.id for c in columns(39, DEFAULT_COLUMNS, FLEET)}
    assert ids == {"state", "name", "cpu", "cpu_limit", "memory", "memory_limit"}


def test_eighty_columns_show_what_the_job_needs() -> None:
    ids = {c.id for c in columns(79, DEFAULT_COLUMNS, FLEET)}
    assert {"state", "name", "cpu", "cpu_limit", TREND, "memory", "memory_limit", "throttled_share", "pressure"} <= ids


def test_a_wide_terminal_shows_everything_and_gives_the_rest_to_names() -> None:
    layout = columns(199, DEFAULT_COLUMNS, [*FLEET, container("a-container-with-quite-a-long-name")])
    assert {c.id for c in layout} == set(DEFAULT_COLUMNS)
    assert next(c.width for c in layout if c.id == "name") >= len("a-container-with-quite-a-long-name")


@pytest.mark.parametrize("signs", [glyphs.UNICODE, glyphs.ASCII])
@pytest.mark.parametrize("width", [39, 79, 119, 199])
def test_rows_and_head_are_as_wide_as_their_columns(width: int, signs: glyphs.Glyphs) -> None:
    layout = columns(width, DEFAULT_COLUMNS, FLEET)
    wide = sum(c.gap + c.width for c in layout)
    assert cell_len(head(layout, "cpu", True, signs)) == wide + 1
    for each in FLEET:
        text = row(each, USES.get(each.name), layout, History(), signs).text
        assert cell_len(text) == wide
        assert signs is glyphs.UNICODE or text.isascii()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_arrow_cuts_no_title_where_the_gap_has_room_for_it(width: int) -> None:
    layout = columns(width, DEFAULT_COLUMNS, town()[0])
    plain = head(layout, "", True, glyphs.UNICODE)
    for column in layout:
        marked = head(layout, column.id, True, glyphs.UNICODE)
        assert marked.count("▼") == 1
        assert cell_len(marked) == cell_len(plain)
    assert "cpu/limit▼" in head(columns(80, DEFAULT_COLUMNS, town()[0]), "cpu_limit", True, glyphs.UNICODE)


def test_every_column_can_be_found_by_where_it_is() -> None:
    layout = columns(120, DEFAULT_COLUMNS, FLEET)
    found = [at(layout, x) for x in range(1 + sum(c.gap + c.width for c in layout))]
    assert list(dict.fromkeys(found)) == [c.id for c in layout]
    assert at(layout, 500) is None


def test_trends_have_a_fixed_scale_and_gaps() -> None:
    signs = glyphs.UNICODE
    assert glyphs.trend([0.0, None, 1.0, 2.0, 9.0], 2.0, 6, signs) == " ▁ ▅██"
    assert glyphs.trend([0.50, 0.51, 0.49], 4.0, 3, signs) == "▂▂▁", "noise stays small"
    assert glyphs.trend([1.0] * 50, 2.0, 4, glyphs.ASCII).isascii()


def test_each_state_has_a_sign_of_its_own() -> None:
    for signs in (glyphs.UNICODE, glyphs.ASCII):
        assert set(signs.states) == set(State)
        assert len(set(signs.states.values())) == len(State)


@pytest.mark.parametrize(
    ("state", "more", "wanted"),
    [
        (State.RUNNING, {}, RowStyle.NORMAL),
        (State.RUNNING, {"throttled_share": 0.6}, RowStyle.THROTTLED),
        (State.RUNNING, {"throttled_share": Missing.UNSUPPORTED}, RowStyle.NORMAL),
        (State.RUNNING, {"working_set": 510 << 20, "throttled_share": 0.6}, RowStyle.CRITICAL),
        (State.RUNNING, {"memory": 512 << 20}, RowStyle.NORMAL),  # the rest is cache that can go
        (State.RUNNING, {"memory_limit": UNLIMITED}, RowStyle.NORMAL),
        (State.PAUSED, {"throttled_share": 0.6}, RowStyle.PAUSED),
        (State.EXITED, {}, RowStyle.STOPPED),
        (State.UNKNOWN, {}, RowStyle.UNKNOWN),
    ],
)
def test_how_a_row_stands_out(state: State, more: dict[str, object], wanted: RowStyle) -> None:
    assert row_style(container("a", state=state), usage(**more)) is wanted  # type: ignore[arg-type]
    assert row_style(container("a"), None) is RowStyle.NORMAL


def test_a_row_that_nobody_sees_is_not_formatted(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 200 rows were formatted for each frame, of which 28 are on the screen."""
    asked: list[str] = []

    def counted(subject: Subject, used: object) -> RowStyle:
        asked.append(subject.name)
        return RowStyle.NORMAL

    monkeypatch.setattr(table, "row_style", counted)
    layout = columns(119, DEFAULT_COLUMNS, FLEET)
    rows = [row(each, USES.get(each.name), layout, History(), glyphs.UNICODE) for each in FLEET]
    assert [each.ref for each in rows] == [each.ref for each in FLEET]
    assert not asked
    assert rows[1].text == rows[1].text
    assert rows[1].style is RowStyle.NORMAL
    assert asked == [FLEET[1].name]


def test_a_value_that_was_formatted_is_kept_for_the_same_signs_only() -> None:
    layout = columns(119, DEFAULT_COLUMNS, FLEET)
    for signs in (glyphs.UNICODE, glyphs.ASCII, glyphs.UNICODE):
        for each in FLEET:
            fresh = columns(119, DEFAULT_COLUMNS, FLEET)
            used = USES.get(each.name)
            assert row(each, used, layout, History(), signs).text == row(each, used, fresh, History(), signs).text
    assert max(len(column.cells) for column in layout) > 1
    column = next(column for column in layout if column.id == "cpu")
    for number in range(2 * table.MAX_KEPT_CELLS):
        row(FLEET[0], usage(number / 1000), layout, History(), glyphs.UNICODE).text  # noqa: B018
    assert len(column.cells) <= table.MAX_KEPT_CELLS


def test_columns_are_laid_out_anew_only_for_another_width_or_list(monkeypatch: pytest.MonkeyPatch) -> None:
    laid: list[int] = []
    monkeypatch.setattr(table, "columns", lambda width, *_: laid.append(width) or ())
    listed = {each.ref: each for each in FLEET}
    layout = table.Layout(DEFAULT_COLUMNS)
    for width, listing in ((100, listed), (100, listed), (90, listed), (90, dict(listed)), (90, listed)):
        layout.fit(width, listing)
    assert laid == [100, 90, 90, 90]
