"""Tabs on one line, each with the number that is its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.message import Message

from tui.app.widgets.cells import Cells


class TabBar(Cells):
    """The names of the pages; a click chooses one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--tab", "tabs--shown"}

    class TabChosen(Message):
        """A tab was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, titles: Sequence[str]) -> None:
        super().__init__()
        self._titles = tuple(titles)
        self.index = 0

    def mark(self, index: int) -> None:
        """Highlight the current page, also with brackets for terminals without colour."""
        self.index = index
        kinds = ("tabs--tab", "tabs--shown")
        self.show([tuple((kinds[at == index], text) for at, text in enumerate(self._texts()))])

    def _texts(self) -> list[str]:
        """All tabs; where they do not fit, only the current one with its name."""
        room = self.size.width
        short = 0 < room < sum(len(title) + 4 for title in self._titles)
        texts = []
        for at, title in enumerate(self._titles):
            left, right = "[]" if at == self.index else "  "
            name = "" if short and at != self.index else f" {title}"
            texts.append(f"{left}{at + 1}{name}{right}")
        return texts

    def on_resize(self) -> None:
        """Draw for the new width."""
        super().on_resize()
        self.mark(self.index)

    def on_click(self, event: events.Click) -> None:
        """Find the tab under the pointer."""
        x = event.x - self.styles.padding.left
        for at, text in enumerate(self._texts()):
            if 0 <= x < len(text):
                self.post_message(self.TabChosen(at))
                return
            x -= len(text)
