"""How often something may act: so many actions an hour, and a pause after each on the same target."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

HOUR_S: Final = 3600.0


class Spent(StrEnum):
    """Why no action may be made now."""

    BUDGET = "budget"  # as many as an hour allows were made
    COOL_DOWN = "cool-down"  # the last action on this target is too young


@dataclass(slots=True)
class ActionBudget:
    """Counts actions. Times are those of one monotonic clock, in seconds, and never go back.

    Attributes:
        actions_per_hour: in any hour, not on average.
        cool_down_s: between two actions on the same target.
    """

    actions_per_hour: int
    cool_down_s: float = 0.0
    _made: deque[float] = field(default_factory=deque)
    _last: dict[Hashable, float] = field(default_factory=dict)

    def why_not(self, target: Hashable, now_s: float) -> Spent | None:
        """Why an action on this target may not be made now, None when it may."""
        self._forget(now_s)
        if len(self._made) >= self.actions_per_hour:
            return Spent.BUDGET
        return Spent.COOL_DOWN if target in self._last else None

    def left(self, now_s: float) -> int:
        """How many actions may be made now, on other targets each."""
        self._forget(now_s)
        return max(0, self.actions_per_hour - len(self._made))

    def spend(self, target: Hashable, now_s: float) -> None:
        """An action was made; taking something back is none."""
        self._made.append(now_s)
        self._last[target] = now_s

    def _forget(self, now_s: float) -> None:
        while self._made and now_s - self._made[0] >= HOUR_S:
            self._made.popleft()
        self._last = {target: at for target, at in self._last.items() if now_s - at < self.cool_down_s}
