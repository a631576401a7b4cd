"""`--ascii`: a line filter that replaces every character outside ASCII, whichever widget drew it."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.present.cells import cell_len

_SIGNS = {
    **dict.fromkeys("─━═╌┄┈▔▁▂▃▀▄", "-"),
    **dict.fromkeys("│┃║▌▐▏▎▍▕╎┆┊", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╋┏┓┗┛", "+"),
    **dict.fromkeys("█▇▆▅▉▊▋", "#"),
    **dict.fromkeys("·•●◆", "*"),
    **dict.fromkeys("▲↑", "^"),
    **dict.fromkeys("▼▽↓", "v"),
    **dict.fromkeys("▶→", ">"),
    **dict.fromkeys("◀←", "<"),
    **dict.fromkeys("–—", "-"),
    "…": "~",
    "\N{NO-BREAK SPACE}": " ",
}


@lru_cache(4096)
def plain(text: str) -> str:
    """The text in ASCII, of the same width in cells."""
    return "".join(c if c.isascii() else _SIGNS.get(c, "?" * cell_len(c)) for c in text)


class AsciiOnly(LineFilter):
    """Replaces every character outside ASCII in rendered lines."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with ASCII text."""
        return [s if s.text.isascii() else Segment(plain(s.text), s.style, s.control) for s in segments]
