"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How well something works."""

    GOOD = "good"
    LIMITED = "limited"  # the rest works without it
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was checked, what was found, and the remedy when it is not good."""

    area: str
    name: str
    level: Level
    found: str
    remedy: str = ""
