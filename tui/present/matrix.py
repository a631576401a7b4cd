"""Who hurts whom as a matrix: victims down, suspects across, the share of time that is lost in each cell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.attribution.evidence import Attribution, Confidence, Evidence, Resource, Suspect, SuspectKind
from runtime.model import Ref
from tui.present import evidence_text
from tui.present import format as fmt
from tui.present.glyphs import Glyphs
from tui.present.table import Row, RowStyle

NameOf = Callable[[Ref], str]

CELL_CELLS: Final = 12  # of one suspect's column, with the gap before it
NAME_CELLS: Final = 18  # of the victims' names
CURSOR_CELLS: Final = 1  # before each row
STRONG_SHARE: Final = 0.25  # of its time that a victim loses by one suspect, from which on its row is marked
RESOURCE_NAMES: Final[Mapping[Resource, str]] = {
    Resource.CPU: "cpu",
    Resource.MEMORY: "mem",
    Resource.IO: "io",
    Resource.NETWORK: "net",
    Resource.TASKS: "tasks",
}
NOBODY_NAMES: Final[Mapping[SuspectKind, str]] = {
    SuspectKind.OWN_QUOTA: "own quota",
    SuspectKind.OWN_LIMIT: "own limit",
    SuspectKind.ITSELF: "itself",
    SuspectKind.DIFFUSE: "many small",
    SuspectKind.HYPERVISOR: "hypervisor",
    SuspectKind.INVISIBLE: "not visible",
}
"""Suspects that are nobody who could be contained."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix as text.

    Attributes:
        head: the line of the suspects' names.
        rows: one for each victim.
        left_out: suspects for which there was no room.
    """

    head: str
    rows: tuple[Row, ...]
    left_out: int = 0


def matrix(attribution: Attribution, name_of: NameOf, width: int, glyphs: Glyphs) -> Matrix:
    """Victims and suspects with the highest scores first, those of one name in a steady order."""
    cells: dict[tuple[Ref, Suspect], Evidence] = {}
    for victim, evidence in attribution.by_victim.items():
        for each in evidence:
            key = victim, _column(each.suspect)
            if key not in cells or cells[key].score < each.score:
                cells[key] = each
    across: dict[Suspect, float] = {}
    down: dict[Ref, float] = {}
    for (victim, suspect), each in cells.items():
        across[suspect] = max(across.get(suspect, 0.0), _step(each.score))
        down[victim] = max(down.get(victim, 0.0), _step(each.score))
    suspects = sorted(across, key=lambda suspect: (-across[suspect], suspect_name(suspect, name_of)))
    victims = sorted(down, key=lambda victim: (-down[victim], name_of(victim)))
    fitting = max(1, (width - CURSOR_CELLS - NAME_CELLS) // CELL_CELLS)
    seen = suspects[:fitting]
    head = " " * (CURSOR_CELLS + NAME_CELLS) + "".join(_cell(suspect_name(each, name_of), glyphs) for each in seen)
    rows = []
    for victim in victims:
        there = [cells.get((victim, suspect)) for suspect in seen]
        name = fmt.fit(fmt.clean(name_of(victim)), NAME_CELLS, more=glyphs.more)
        text = name + "".join(_cell(cell_text(each, glyphs), glyphs) for each in there)
        rows.append(Row(victim, _made(text, _style(there))))
    return Matrix(head, tuple(rows), len(suspects) - len(seen))


def suspect_name(suspect: Suspect, name_of: NameOf) -> str:
    """A container's name, a unit's or a program's; a word for what is nobody."""
    return NOBODY_NAMES.get(suspect.kind) or fmt.clean(evidence_text.suspect_name(suspect, name_of))


def cell_text(evidence: Evidence | None, glyphs: Glyphs) -> str:
    """The score and its resource: "63% cpu"; with "!" where a probe has confirmed it, "?" while it is a suspicion."""
    if evidence is None:
        return glyphs.gap
    sign = {Confidence.CONFIRMED: "!", Confidence.SUSPECTED: "?", Confidence.CLEARED: "x"}.get(evidence.confidence, "")
    return f"{fmt.share(evidence.score)}{sign} {RESOURCE_NAMES[evidence.resource]}"


def _column(suspect: Suspect) -> Suspect:
    """All who blame nobody of one kind share a column."""
    return Suspect(suspect.kind) if suspect.kind in NOBODY_NAMES else suspect


def _step(score: float) -> float:
    """Scores in steps of a tenth, so that rows and columns keep their places while figures move a little."""
    return round(score, 1)


def _cell(text: str, glyphs: Glyphs) -> str:
    return " " + fmt.fit(text, CELL_CELLS - 1, right=True, more=glyphs.more)


def _style(there: list[Evidence | None]) -> RowStyle:
    strongest = max((each.score for each in there if each is not None), default=0.0)
    return RowStyle.THROTTLED if strongest >= STRONG_SHARE else RowStyle.NORMAL


def _made(text: str, style: RowStyle) -> Callable[[], tuple[str, RowStyle]]:
    return lambda: (text, style)
