"""A line filter that replaces every character outside ASCII, for `--ascii` and locales that are not of UTF-8."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.present.cells import cell_len
from tui.present.locale_signs import SIGNS


@lru_cache(4096)
def plain(text: str) -> str:
    """The text in ASCII, of the same width in cells."""
    return "".join(c if c.isascii() else SIGNS.get(c, "?" * cell_len(c)) for c in text)


class AsciiOnly(LineFilter):
    """Replaces every character outside ASCII in rendered lines."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with ASCII text."""
        return [s if s.text.isascii() else Segment(plain(s.text), s.style, s.control) for s in segments]
