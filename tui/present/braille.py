"""Draws filled graphs as text: braille, blocks or plain ASCII. Pure functions, without Textual.

A graph consists of columns of cells. Each column takes two successive values: braille shows both, the other character
sets the higher one. A value is a fraction of the scale, 0 to 1. None is a gap and draws nothing, 0 draws the lowest
dot, so that a missing value and zero differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from functools import lru_cache
from itertools import zip_longest


class Ink(Enum):
    """The meaning of a part of a row. Each has a glyph of its own, so that colour is not needed."""

    USE = "use"
    THROTTLED = "throttled"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Charset:
    """The glyphs of one character set.

    Attributes:
        steps: levels per cell.
        glyph: the cell for the levels of its first and second value.
        throttled: drawn above the usage, for throttled time.
        limit: the limit line, in empty cells.
        axis, tick: the time axis.
        change_sign, harm_sign: of annotations on the time axis.
    """

    name: str
    steps: int
    glyph: Callable[[int, int], str]
    throttled: str
    limit: str
    axis: str
    _: KW_ONLY
    tick: str
    change_sign: str
    harm_sign: str


_LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
_BRAILLE = tuple(tuple(chr(0x2800 | left | right) for right in _RIGHT) for left in _LEFT)
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:#"

BRAILLE = Charset(
    "braille",
    4,
    lambda a, b: _BRAILLE[a][b] if a or b else " ",
    "▒",
    "╌",
    "─",
    tick="┴",
    change_sign="▲",
    harm_sign="✖",
)
BLOCKS = Charset(
    "blocks",
    8,
    lambda a, b: _BLOCKS[max(a, b)],
    "▒",
    "╌",
    "─",
    tick="┴",
    change_sign="▲",
    harm_sign="✖",
)
ASCII = Charset(
    "ascii",
    3,
    lambda a, b: _ASCII[max(a, b)],
    "x",
    "-",
    "-",
    tick="+",
    change_sign="^",
    harm_sign="X",
)


def charset(ascii_only: bool, term: str) -> Charset:
    """The finest set that the terminal can show; the fonts of the Linux console have blocks but no braille."""
    return ASCII if ascii_only else BLOCKS if term == "linux" else BRAILLE


def draw(
    values: Sequence[float | None],
    height: int,
    charset: Charset = BRAILLE,
    *,
    held: Sequence[float | None] = (),
    limit: float | None = None,
) -> list[str]:
    """The rows of a graph, top row first, one cell for two values.

    `held` is throttled time, drawn above the values: at least one cell where it is above 0. `limit` is the height of
    the limit line.
    """
    full = height * charset.steps
    firsts, seconds = (_steps(values[start::2], full) for start in (0, 1))
    columns: list[tuple[str, ...]]
    if any(held):
        cells = _cells(values, held, height)
        columns = [
            _column(first, second, up, height, charset)
            for first, second, up in zip_longest(firsts, seconds, cells, fillvalue=0)
        ]
    else:
        columns = [
            _column(first, second, 0, height, charset) for first, second in zip_longest(firsts, seconds, fillvalue=0)
        ]
    rows = ["".join(row) for row in zip(*columns, strict=True)] if columns else [""] * height
    if limit is not None and 0 <= limit <= 1:
        row = height - 1 - min(height - 1, int(limit * height))
        rows[row] = rows[row].replace(" ", charset.limit)
    return rows


def inks(row: str, charset: Charset) -> Iterator[tuple[Ink, str]]:
    """A row split where its meaning changes. Blanks count as usage, so that a row has few parts."""
    for found in _cuts(charset.throttled, charset.limit).finditer(row):
        text = found.group()
        ink = {charset.throttled: Ink.THROTTLED, charset.limit: Ink.LIMIT}.get(text[0], Ink.USE)
        yield ink, text


@lru_cache(maxsize=8)
def _cuts(throttled: str, limit: str) -> re.Pattern[str]:
    a, b = re.escape(throttled), re.escape(limit)
    return re.compile(f"(?:{a})+|(?:{b})+|[^{a}{b}]+")


def _steps(values: Sequence[float | None], full: int) -> list[int]:
    return [0 if value is None else max(1, min(full, round(value * full))) for value in values]


def _cells(values: Sequence[float | None], held: Sequence[float | None], height: int) -> list[int]:
    """For each column, the height in cells of usage and throttled time together; 0 without throttled time."""
    cells = []
    for at in range(0, len(values), 2):
        back = max((held[i] or 0.0 for i in range(at, min(at + 2, len(held)))), default=0.0)
        use = max(value or 0.0 for value in values[at : at + 2])
        cells.append(max(1, min(height, round((use + back) * height))) if back > 0 else 0)
    return cells


@lru_cache(maxsize=8192)
def _column(first: int, second: int, up: int, height: int, charset: Charset) -> tuple[str, ...]:
    """One column, top first. `up` is the height in cells of usage and throttled time, 0 without the latter."""
    steps = charset.steps
    column = []
    for base in range(0, height * steps, steps):
        a, b = min(max(first - base, 0), steps), min(max(second - base, 0), steps)
        column.append(charset.glyph(a, b))
    if up:
        used = min(-(-max(first, second) // steps), height - 1)
        for cell in range(used, max(up, used + 1)):
            column[cell] = charset.throttled
    return tuple(reversed(column))
