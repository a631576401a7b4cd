"""A scrolling page of text that is replaced as a whole, of which only changed lines are redrawn."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.binding import BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.app import keymap
from tui.present.cells import chop_cells
from tui.present.format import fit
from tui.present.paragraph import Paragraph

INDENT_CELLS = 4  # of continuation rows of a long line without columns
_COLUMNS = re.compile(r"\s*\S+(?: \S+)*\s{2,}(?:\d+\s{2,})?")


class Page(ScrollView, can_focus=True):
    """Scrolls; long lines are wrapped, or cut where `wrap` is False."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.scroll_bindings())
    COMPONENT_CLASSES: ClassVar[set[str]] = {"page--text", "page--head", "page--weak", "page--good", "page--warn"}

    def __init__(self, *, wrap: bool, id: str) -> None:
        super().__init__(id=id)
        self._wrap = wrap
        self._paragraphs: tuple[Paragraph, ...] = ()
        self._rows: list[Paragraph] = []

    @property
    def text(self) -> str:
        """Everything on the page."""
        return "\n".join(text for _, text in self._paragraphs)

    def show(self, paragraphs: Sequence[Paragraph]) -> None:
        """Replace the text; the scroll position is kept."""
        self._paragraphs = tuple(paragraphs)
        self._lay_out()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        old, self._rows = self._rows, []
        for kind, text in self._paragraphs:
            if not self._wrap or (text.isascii() and len(text) <= width):
                self._rows.append((kind, text))
                continue
            self._rows += [(kind, row) for row in wrapped(text, width)]
        if len(old) != len(self._rows):
            self.virtual_size = Size(width, len(self._rows))
        for y in range(max(len(old), len(self._rows))):
            if old[y : y + 1] != self._rows[y : y + 1]:
                self.refresh_line(y)

    def render_line(self, y: int) -> Strip:
        """One row of what is scrolled to."""
        width = self.scrollable_content_region.width
        row = y + self.scroll_offset.y
        if row >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        kind, text = self._rows[row]
        return Strip([Segment(fit(text, width, more=""), self.get_component_rich_style(f"page--{kind}"))], width)


def wrapped(text: str, width: int) -> list[str]:
    """The text in rows; continuation rows are indented to the last column, if that leaves half of the width."""
    found = _COLUMNS.match(text)
    indent = found.end() if found is not None and found.end() <= width // 2 else INDENT_CELLS
    if text.isascii():
        return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False) or [""]
    head, *rest = chop_cells(text, max(8, width - indent))
    return [head, *(" " * indent + part for part in rest)]
