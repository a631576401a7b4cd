"""Width of text in terminal cells, and text cut to a width.

Printable ASCII is counted here; Rich's tables of wide characters are imported for the first other character.
"""

from __future__ import annotations


def cell_len(text: str) -> int:
    """The width of a text in cells."""
    if text.isascii() and text.isprintable():
        return len(text)
    from rich import cells

    return cells.cell_len(text)


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
