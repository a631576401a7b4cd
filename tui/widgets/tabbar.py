"""Tabs on one line, each with the number that is its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.message import Message

from tui.widgets.cells import Cells


class TabBar(Cells):
    """The names of the pages; a click chooses one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--tab", "tabs--shown"}

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, titles: Sequence[str]) -> None:
        super().__init__()
        self._titles = tuple(titles)
        self.index = 0

    def mark(self, index: int) -> None:
        """Show which page is in front; brackets say so where there is no colour."""
        self.index = index
        line = []
        for at, title in enumerate(self._titles):
            left, right = "[]" if at == index else "  "
            line.append(("tabs--shown" if at == index else "tabs--tab", f"{left}{at + 1} {title}{right}"))
        self.show([tuple(line)])

    def on_click(self, event: events.Click) -> None:
        """Find the tab under the pointer."""
        x = event.x - self.styles.padding.left
        for at, title in enumerate(self._titles):
            width = len(title) + 4
            if 0 <= x < width:
                self.post_message(self.Chosen(at))
                return
            x -= width
