"""The table of the list; only changed lines are sent to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from runtime.model import Ref
from tui.app import keymap
from tui.present import table
from tui.present.format import fit
from tui.present.glyphs import UNICODE, Glyphs
from tui.present.table import Column, Row, RowStyle


class ContainerTable(ScrollView, can_focus=True):
    """Rows of text. The cursor stays on its container when the order changes."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"table--{style.value}" for style in RowStyle} | {"table--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = list(keymap.move_bindings())
    DEFAULT_CSS = """
    ContainerTable {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
    }
    """

    class Chosen(Message):
        """A row was clicked twice."""

    class Moved(Message):
        """The selection has changed."""

    def __init__(self, glyphs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._rows: Sequence[Row] = ()
        self._cursor = 0

    @property
    def selected(self) -> Ref | None:
        """The container under the cursor."""
        return self._rows[self._cursor].ref if self._rows else None

    @property
    def refs(self) -> list[Ref]:
        """The containers from top to bottom."""
        return [row.ref for row in self._rows]

    def show(self, new: Sequence[Row]) -> None:
        """Replace the rows; lines that stay the same are not drawn again."""
        old, before = self._rows, self._cursor
        ref = self.selected
        self._rows = new
        cursor = next((y for y, row in enumerate(new) if row.ref == ref), before)
        self._cursor = max(0, min(cursor, len(new) - 1))
        if len(old) != len(new):
            self.virtual_size = Size(self.size.width, len(new))
            self.refresh()
        else:
            top = self.scroll_offset.y
            for y in range(top, min(len(new), top + self.size.height)):
                if old[y].text != new[y].text or old[y].style is not new[y].style:
                    self.refresh_line(y)
        if self._cursor != before:
            self.refresh_line(before)
            self.refresh_line(self._cursor)
            self._follow()
        if self.selected != ref:
            self.post_message(self.Moved())

    def select(self, ref: Ref) -> None:
        """Move the cursor to the row of this ref, if there is one."""
        index = next((y for y, row in enumerate(self._rows) if row.ref == ref), None)
        if index is not None:
            self._move_to(index)

    def render_line(self, y: int) -> Strip:
        """One visible line."""
        width = self.size.width
        index = y + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[index]
        here = index == self._cursor
        style = self.get_component_rich_style("table--cursor" if here else f"table--{row.style.value}")
        text = fit((self._glyphs.cursor if here else " ") + row.text, width, more="")
        return Strip([Segment(text, style)], width)

    def action_move(self, where: str) -> None:
        """Move the cursor: up, down, page_up, page_down, first, last."""
        page = max(1, self.size.height - 1)
        last = len(self._rows) - 1
        steps = {"up": -1, "down": 1, "page_up": -page, "page_down": page, "first": -last, "last": last}
        self._move_to(self._cursor + steps[where])

    def on_click(self, event: events.Click) -> None:
        """Select on a click, open on a double click."""
        index = event.y + self.scroll_offset.y
        if index < len(self._rows):
            self._move_to(index)
            if event.chain == 2:
                self.post_message(self.Chosen())

    def on_resize(self) -> None:
        """Keep the selected row visible."""
        self.virtual_size = Size(self.size.width, len(self._rows))
        self._follow()

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self._rows) - 1))
        if index != self._cursor:
            before, self._cursor = self._cursor, index
            self.refresh_line(before)
            self.refresh_line(index)
            self._follow()
            self.post_message(self.Moved())

    def _follow(self) -> None:
        if self.size.height:
            self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)


class ColumnHeads(Widget):
    """The column titles, with the arrow of the sort direction."""

    DEFAULT_CSS = "ColumnHeads { height: 1; }"

    class Clicked(Message):
        """A column title was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = ""
        self._layout: Sequence[Column] = ()

    def show(self, layout: Sequence[Column], sort: str, falling: bool, glyphs: Glyphs) -> None:
        """Draw the titles of these columns."""
        self._layout = layout
        text = table.head(layout, sort, falling, glyphs)
        if text != self._text:
            self._text = text
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The only line."""
        width = self.size.width
        return Strip([Segment(fit(self._text, width, more=""), self.rich_style)], width)

    def on_click(self, event: events.Click) -> None:
        """Report the clicked column."""
        column = table.at(self._layout, event.x)
        if column is not None:
            self.post_message(self.Clicked(column))
