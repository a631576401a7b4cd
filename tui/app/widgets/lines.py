"""Lines of plain text, redrawn only when they change: head lines and footer of a screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.present.format import fit


class Lines(Widget):
    """A few lines without markup; the style sheet gives them their colours by id."""

    DEFAULT_CSS = "Lines { height: auto; }"

    def __init__(self, lines: Sequence[str] = (), *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines = tuple(lines)

    def show(self, lines: Sequence[str]) -> None:
        """Replace the lines."""
        old, self._lines = self._lines, tuple(lines)
        if len(old) != len(self._lines):
            self.refresh(layout=True)
            return
        changed = [Region(0, y, self.size.width, 1) for y, line in enumerate(self._lines) if line != old[y]]
        if changed:
            self.refresh(*changed)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """One row per line."""
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        """One line, cut to the width."""
        width = self.size.width
        text = self._lines[y] if y < len(self._lines) else ""
        return Strip([Segment(fit(text, width, more=""), self.rich_style)], width)
