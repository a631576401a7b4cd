"""The history of figures in docs/performance.md: the best of each, and what is worse than it by a quarter.

A table in that file has a row per figure: its name, the ratio recorded, the date, and what was compared. A row is
replaced by a better figure only, so that a slow creep over many changes is seen as well as a leap.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.bench.figure import Figure

FILE = Path(__file__).parents[2] / "docs/performance.md"
TOLERANCE = 1.25
_ROW = re.compile(r"\| (?P<name>[^|]+?) +\| +(?P<ratio>[0-9.]+) \| (?P<date>\d{4}-\d\d-\d\d) \|")


def recorded(text: str) -> dict[str, float]:
    """The recorded ratio by the name of the figure."""
    return {row["name"]: float(row["ratio"]) for row in _ROW.finditer(text)}


def best(runs: Iterable[Figure]) -> dict[str, Figure]:
    """Of several runs the best figure of each name, those that are not wall time."""
    found: dict[str, Figure] = {}
    for figure in runs:
        if not figure.wall_time and (figure.name not in found or figure.ratio < found[figure.name].ratio):
            found[figure.name] = figure
    return found


def worse(figures: Mapping[str, Figure], before: Mapping[str, float]) -> list[str]:
    """A line for each figure that is worse than the recorded one by more than `TOLERANCE`."""
    return [
        f"{name}: {figure.ratio:.2f}, recorded {before[name]:.2f}, allowed {before[name] * TOLERANCE:.2f}"
        for name, figure in figures.items()
        if name in before and figure.ratio > before[name] * TOLERANCE
    ]


def replaced(text: str, figures: Mapping[str, Figure], today: datetime.date) -> str:
    """The document with each figure that is better than the recorded one; new ones are added below the last row."""
    before = recorded(text)
    lines = text.splitlines(keepends=True)
    last = max((number for number, line in enumerate(lines) if _ROW.match(line)), default=len(lines) - 1)
    added: list[str] = []
    for name, figure in sorted(figures.items()):
        row = f"| {name} | {figure.ratio:.2f} | {today.isoformat()} | {figure.compared} |\n"
        if name not in before:
            added.append(row)
        elif round(figure.ratio, 2) < before[name]:
            at = next(n for n, line in enumerate(lines) if (row_ := _ROW.match(line)) and row_["name"] == name)
            lines[at] = row
    return "".join((*lines[: last + 1], *added, *lines[last + 1 :]))
