"""The live list: a view of lines of which only those that have changed are sent to the terminal."""

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
    """Rows of text; the selection belongs to a container, wherever the sorting puts it."""

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
        """Another container is selected."""

    def __init__(self, glyphs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._rows: Sequence[Row] = ()
        self._cursor = 0
        self.moved = False  # by the user

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
        """Put the cursor on a row, if it is there."""
        place = next((y for y, row in enumerate(self._rows) if row.ref == ref), None)
        if place is not None:
            self._go(place)

    def render_line(self, y: int) -> Strip:
        """One line as it is on the screen."""
        width = self.size.width
        place = y + self.scroll_offset.y
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[place]
        here = place == self._cursor
        style = self.get_component_rich_style("table--cursor" if here else f"table--{row.style.value}")
        text = fit((self._glyphs.cursor if here else " ") + row.text, width, more="")
        return Strip([Segment(text, style)], width)

    def action_move(self, where: str) -> None:
        """Move the cursor: up, down, page_up, page_down, first, last."""
        page = max(1, self.size.height - 1)
        last = len(self._rows) - 1
        steps = {"up": -1, "down": 1, "page_up": -page, "page_down": page, "first": -last, "last": last}
        self._go(self._cursor + steps[where])

    def on_click(self, event: events.Click) -> None:
        """One click selects, two open."""
        place = event.y + self.scroll_offset.y
        if place < len(self._rows):
            self._go(place)
            if event.chain == 2:
                self.post_message(self.Chosen())

    def on_resize(self) -> None:
        """Keep the selected row in sight."""
        self.virtual_size = Size(self.size.width, len(self._rows))
        self._follow()

    def _go(self, place: int) -> None:
        place = max(0, min(place, len(self._rows) - 1))
        self.moved = True
        if place != self._cursor:
            before, self._cursor = self._cursor, place
            self.refresh_line(before)
            self.refresh_line(place)
            self._follow()
            self.post_message(self.Moved())

    def _follow(self) -> None:
        if self.size.height:
            self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)


class ColumnHeads(Widget):
    """The titles above the table, with the arrow of the sorting."""

    DEFAULT_CSS = "ColumnHeads { height: 1; }"

    class Clicked(Message):
        """Somebody wants to sort by this column."""

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
        """Sort by what was clicked."""
        column = table.at(self._layout, event.x)
        if column is not None:
            self.post_message(self.Clicked(column))
