"""Width of text in terminal cells, and text cut to a width.

Printable ASCII is counted here; Rich's tables of wide characters are imported for the first other character.
"""

from __future__ import annotations

from typing import Final

MAX_REMEMBERED: Final = 40
"""Characters of a text whose width Rich may keep. It keeps 4096 of them: whole lines, which change each second, would
fill that with more than a megabyte."""


def cell_len(text: str) -> int:
    """The width of a text in cells."""
    if text.isascii() and text.isprintable():
        return len(text)
    from rich import cells

    return cells.cell_len(text) if len(text) <= MAX_REMEMBERED else cells.cached_cell_len.__wrapped__(text)


def set_cell_size(text: str, total: int) -> str:
    """The text cut or padded with spaces to `total` cells; half of a wide character becomes a space."""
    if text.isascii() and text.isprintable():
        return text[: max(0, total)].ljust(total)
    from rich import cells

    return cells.set_cell_size(text, total)


def chop_cells(text: str, width: int) -> list[str]:
    """The text in pieces of at most `width` cells."""
    from rich import cells

    return cells.chop_cells(text, width)
