r"""What a terminal shows of one line in the end: progress that overwrites itself, erased text, links. Pure.

The sequences are those of ECMA-48 and xterm that act within a line. Those that do not are left where they are, except
colours, links and modes, which show nothing. A terminal as wide as the line is assumed, so nothing wraps.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from tui.present.cells import cell_len

TAB_CELLS: Final = 8
MAX_COLUMNS: Final = 4096  # that the cursor can be sent to; text itself may be longer
_SEQUENCE: Final = re.compile(
    r"\x1b\[(?P<numbers>[0-9;:]*)(?P<final>[@ABCDEFGKPXm])"
    r"|\x1b\[0?(?P<below>J)"  # 2J is another matter: it wipes the screen
    r"|\x1b\[\?[0-9;]*[hl]"  # modes: the cursor hidden and shown
    r"|\x1b\]8;[^\x07\x1b]*(?:\x07|\x1b\\)"  # a link begins or ends
    r"|[\r\b\t]"
)
_MOVED: Final = frozenset("\r\b\x1b")
_ZERO_WIDTH: Final = frozenset({"Mn", "Me", "Cf"})


def final_line(text: str) -> str:
    """The line as it is seen after its last character; control characters that it does not know are kept."""
    if _MOVED.isdisjoint(text):
        return text.expandtabs(TAB_CELLS)
    line, at = _Line(), 0
    for found in _SEQUENCE.finditer(text):
        line.write(text[at : found.start()])
        at = found.end()
        if found["below"]:
            line.control("K", "0")
        elif found["final"]:
            line.control(found["final"], found["numbers"])
        elif len(found[0]) == 1:
            line.move(found[0])
    line.write(text[at:])
    return line.text


class _Line:
    """Cells and a cursor. A wide character has an empty cell after it; what has no width is in the cell before."""

    def __init__(self) -> None:
        self._cells: list[str] = []
        self._x = 0

    @property
    def text(self) -> str:
        return "".join(self._cells).rstrip(" ") if self._x < len(self._cells) else "".join(self._cells)

    def write(self, text: str) -> None:
        """Put text at the cursor, over what is there."""
        if text.isascii():
            self._put(list(text))
            return
        for character in text:
            if unicodedata.category(character) in _ZERO_WIDTH and 0 < self._x <= len(self._cells):
                self._cells[self._x - 1] += character
            else:
                self._put([character, ""] if cell_len(character) == 2 else [character])

    def move(self, control: str) -> None:
        """A carriage return, a backspace or a tab."""
        if control == "\r":
            self._x = 0
        elif control == "\b":
            self._x = max(0, self._x - 1)
        else:
            self._x = (self._x // TAB_CELLS + 1) * TAB_CELLS

    def control(self, final: str, numbers: str) -> None:
        """A control sequence by its last character. Moves to other lines are none within this one."""
        first = re.split("[;:]", numbers)[0]
        number = min(int(first), MAX_COLUMNS) if first and len(first) < 10 else (MAX_COLUMNS if first else 0)
        count = max(1, number)
        if final == "C":
            self._x = max(self._x, min(self._x + count, MAX_COLUMNS))
        elif final == "D":
            self._x = max(0, self._x - count)
        elif final == "G":
            self._x = count - 1
        elif final in "EF":
            self._x = 0
        elif final == "K":
            self._erase(number)
        elif final == "X":
            self._blank(self._x, self._x + count)
        elif final == "P":
            del self._cells[self._x : self._x + count]
        elif final == "@":
            self._cells[self._x : self._x] = [" "] * count if self._x < len(self._cells) else []

    def _erase(self, which: int) -> None:
        """To the end of the line, to its beginning, or all of it."""
        if which == 0:
            del self._cells[self._x :]
        else:
            self._blank(0, self._x + 1 if which == 1 else len(self._cells))

    def _blank(self, start: int, end: int) -> None:
        end = min(end, len(self._cells))
        self._cells[start:end] = [" "] * max(0, end - start)

    def _put(self, cells: list[str]) -> None:
        end = self._x + len(cells)
        self._cells += [" "] * (self._x - len(self._cells))
        if cells and self._x and self._x < len(self._cells) and self._cells[self._x] == "":
            self._cells[self._x - 1] = " "  # the left half of a wide character
        if end < len(self._cells) and self._cells[end] == "":
            self._cells[end] = " "
        self._cells[self._x : end] = cells
        self._x = end
