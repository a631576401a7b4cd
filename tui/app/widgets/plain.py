"""Plain text that is laid out again only when it may take another number of lines."""

from __future__ import annotations

from textual.widgets import Static

from tui.present.cells import cell_len


class Plain(Static):
    """Text as it is, never markup, in a widget whose width does not hang on it.

    A form of many such texts, most of which say the same as a second ago, would else be laid out anew at each key.
    """

    def __init__(self, text: str = "", *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(text, id=id, classes=classes, markup=False)
        self.text = text

    def show(self, text: str) -> None:
        """Replace the text."""
        if text == self.text:
            return
        lines = self._one_line(self.text) and self._one_line(text)
        self.text = text
        self.update(text, layout=not lines)

    def _one_line(self, text: str) -> bool:
        """It takes the one line, at the width of now; false while there is none."""
        return "\n" not in text and cell_len(text) <= self.content_size.width
