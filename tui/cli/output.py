"""Output on stdout: tables and JSON.

A table is aligned for people when stdout is a terminal. Into a pipe or a file it goes as one line per row with a tab
between columns, untruncated, so that `cut -f` finds the same column every time.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runtime.model import DeviceRate, Missing, Unlimited
from tui.cli.diagnostics import clean
from tui.present.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from tui.core.base_session import Drift

GAP_CELLS = 2  # between two columns on a terminal


def document(value: Any) -> None:
    """One JSON document, indented for people."""
    print(json.dumps(value, indent=2, default=str))


def line(value: Any) -> None:
    """One JSON document on one line, flushed."""
    print(json.dumps(value, separators=(",", ":"), default=str), flush=True)


def plain(value: Any) -> Any:
    """A value for JSON: unlimited is the word, a value that is missing is null, rates are listed by disk."""
    if isinstance(value, Missing):
        return None
    if isinstance(value, tuple) and all(isinstance(each, DeviceRate) for each in value):
        return [{"device": each.device, "rate": plain(each.rate)} for each in value]
    return str(value) if isinstance(value, Unlimited) else value


def drift(found: Iterable[Drift]) -> list[dict[str, Any]]:
    """Limits that somebody else has changed, for JSON."""
    return [
        {
            "limit": each.name.value,
            "expected": plain(each.expected),
            "kernel": plain(each.kernel),
            "since": when(each.since_ns),
        }
        for each in found
    ]


def when(time_ns: int | None) -> str | None:
    """Wall-clock nanoseconds in RFC 3339, UTC, with all nine digits; None for no time."""
    if not time_ns:
        return None
    whole, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print rows under a header; `right` are the columns that are aligned to the right on a terminal."""
    cells = [tuple(clean(cell) for cell in row) for row in rows]
    for text in aligned([tuple(header), *cells], right) if sys.stdout.isatty() else map("\t".join, [header, *cells]):
        print(text)


def aligned(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Pad each column to its widest cell, counted in terminal cells."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [
            " " * (width - cell_len(cell)) + cell if index in right else cell + " " * (width - cell_len(cell))
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * GAP_CELLS).join(padded).rstrip())
    return lines


def shorten(text: str, cells: int) -> str:
    """Cut to so many terminal cells, with an ellipsis, when stdout is a terminal; whole in a pipe."""
    if not sys.stdout.isatty() or cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…"


def screen_width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns
