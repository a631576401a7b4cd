"""Plain text whose layout is recomputed only when its number of lines may change."""

from __future__ import annotations

from textual.widgets import Static

from tui.present.cells import cell_len


class Plain(Static):
    """Text without markup, in a widget whose width does not depend on it.

    Otherwise a form of many such texts would be laid out again at each key.
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
        """The text fits on one line at the present width; False while there is no width."""
        return "\n" not in text and cell_len(text) <= self.content_size.width


def literal(text: str) -> str:
    """For a place where Textual reads markup, such as the title of a border."""
    return text.replace("[", r"\[")
