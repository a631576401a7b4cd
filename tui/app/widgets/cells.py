"""Lines of styled cells of which only the changed columns are sent to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Line: TypeAlias = tuple[tuple[str, str], ...]  # pairs of a component class (empty for the widget's own) and a text


class Cells(Widget):
    """Draws whole lines; every character in them must be one cell wide.

    Each line is one cached strip, and only the columns between its first and last change are drawn again.
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: tuple[Line, ...] = ()
        self._strips: dict[int, Strip] = {}

    @property
    def text(self) -> str:
        """What is drawn, without colours."""
        return "\n".join("".join(text for _, text in line).rstrip() for line in self._lines)

    def show(self, lines: Sequence[Line]) -> None:
        """Replace the lines."""
        old, self._lines = self._lines, tuple(lines)
        if len(old) != len(self._lines):
            self._strips.clear()
            self.refresh()
            return
        regions = []
        for y, (before, now) in enumerate(zip(old, self._lines, strict=True)):
            if before != now:
                self._strips.pop(y, None)
                regions.append(Region(*changed(before, now, y)))
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """One line from the cache, made when it is not there."""
        strip = self._strips.get(y)
        if strip is None:
            strip = self._strips[y] = self._strip(y)
        return strip

    def _strip(self, y: int) -> Strip:
        line = self._lines[y] if y < len(self._lines) else ()
        plain = self.rich_style
        segments = [
            Segment(text, self.get_component_rich_style(component) if component else plain)
            for component, text in line
            if text
        ]
        return Strip(segments).adjust_cell_length(self.size.width, plain)

    def notify_style_update(self) -> None:
        """Colours have changed."""
        self._strips.clear()
        super().notify_style_update()

    def on_resize(self) -> None:
        """The strips are as wide as the widget."""
        self._strips.clear()


def changed(before: Line, now: Line, y: int) -> tuple[int, int, int, int]:
    """Where two versions of a line differ, as x, y, width and height; the whole line where only colours do."""
    a, b = ("".join(text for _, text in line) for line in (before, now))
    most = min(len(a), len(b))
    first = next((i for i in range(most) if a[i] != b[i]), most)
    back = next((i for i in range(1, most - first + 1) if a[-i] != b[-i]), most - first + 1) if len(a) == len(b) else 1
    last = max(len(a), len(b)) - back + 1
    if first >= last:
        return 0, y, max(len(a), len(b), 1), 1
    return first, y, last - first, 1
