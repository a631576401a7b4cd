"""The CPU quota of a suspect by additive increase and multiplicative decrease, with a guard for the benefit.

While the victim waits, the quota is multiplied by a factor below 1; while it does not, cores are added, until the quota
holds nothing back any more. A decrease that has not shortened the waiting is taken back, and the next one is tried
later, twice as late after each that brought nothing, and goes deeper: a victim that waits all the time gains nothing
until the quota is well below what the suspect could use. Source of the rule: Chiu and Jain 1989, congestion avoidance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

DECREASE_FACTOR: Final = 0.7
INCREASE_CORES: Final = 0.05  # a step, for each CPU of the ceiling at least this much
INCREASE_SHARE: Final = 0.05  # a step, of the ceiling
FLOOR_CORES: Final = 0.05  # never less: a process that holds a kernel lock must come to the end of it
WAITING_SHARE: Final = 0.05  # of time: from here on the victim waits
BENEFIT_SHARE: Final = 0.1  # of the waiting: what a decrease must take away of it
MAX_PAUSE_STEPS: Final = 16  # in which no decrease is tried, after several that brought nothing


class QuotaStep(StrEnum):
    """What one decision did."""

    BEGUN = "begun"
    DECREASED = "decreased"
    INCREASED = "increased"
    TAKEN_BACK = "taken back"  # the decrease before brought the victim nothing
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Where the quota is. Cores and shares of time.

    Attributes:
        cores: the quota now, between `floor` and `ceiling`.
        ceiling: what the suspect used, or could use, before; at the ceiling the quota holds nothing back.
        wait: the victim's waiting when the last decision was made.
        before: the quota before the last decrease.
        pause: decisions during which no decrease is tried.
        fruitless: decreases in a row that brought nothing.
    """

    cores: float
    ceiling: float
    floor: float = FLOOR_CORES
    wait: float = 0.0
    last: QuotaStep = QuotaStep.BEGUN
    before: float = 0.0
    pause: int = 0
    fruitless: int = 0


def begin(ceiling: float, *, floor: float = FLOOR_CORES) -> Quota:
    """A quota that holds nothing back yet. A ceiling below the floor is the floor."""
    ceiling = max(ceiling, floor)
    return Quota(cores=ceiling, ceiling=ceiling, floor=floor, before=ceiling)


def lowered(cores: float, floor: float = FLOOR_CORES, depth: int = 1) -> float:
    """As many multiplicative decreases."""
    return max(floor, round(cores * DECREASE_FACTOR**depth, 3))


def decide(quota: Quota, wait: float) -> Quota:
    """The quota for the next interval, by the victim's waiting (share of time) since the last decision."""
    if quota.last is QuotaStep.DECREASED and wait > WAITING_SHARE and wait > quota.wait * (1 - BENEFIT_SHARE):
        fruitless = quota.fruitless + 1
        return replace(
            quota,
            cores=quota.before,
            wait=wait,
            last=QuotaStep.TAKEN_BACK,
            pause=min(MAX_PAUSE_STEPS, 2**fruitless),
            fruitless=fruitless,
        )
    quota = replace(quota, pause=max(0, quota.pause - 1))
    if quota.last is QuotaStep.DECREASED:
        quota = replace(quota, fruitless=0)
    if wait > WAITING_SHARE:
        return _decrease(quota, wait)
    step = max(INCREASE_CORES, INCREASE_SHARE * quota.ceiling)
    cores = min(quota.ceiling, round(quota.cores + step, 3))
    last = QuotaStep.INCREASED if cores > quota.cores else QuotaStep.HELD
    return replace(quota, cores=max(cores, quota.cores), wait=wait, last=last)


def _decrease(quota: Quota, wait: float) -> Quota:
    cores = lowered(quota.cores, quota.floor, 1 + quota.fruitless)
    if quota.pause or cores >= quota.cores:
        return replace(quota, wait=wait, last=QuotaStep.HELD)
    return replace(quota, cores=cores, wait=wait, last=QuotaStep.DECREASED, before=quota.cores)
