"""The wall clock of every moment that is kept, for showing it.

What is measured and what happened is placed by CLOCK_MONOTONIC, which neither a step of the clock nor a suspension
moves. The difference to the wall clock is kept for each stretch in which it was the same.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

STEP_NS: Final = 500_000_000
"""A difference that changes by less is the same: clocks are slewed all the time."""


@dataclass(frozen=True, slots=True)
class ClockStretch:
    """From `start_ns` to `end_ns` (CLOCK_MONOTONIC) the wall clock is `offset_ns` ahead."""

    start_ns: int
    end_ns: int
    offset_ns: int


class WallClock:
    """Notes where the wall clock was stepped, or the machine was suspended."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._offsets: list[int] = []

    def note(self, at_ns: int, wall_ns: int, oldest_ns: int) -> None:
        """What the wall clock says at a time; stretches that end before `oldest_ns` are forgotten."""
        offset = wall_ns - at_ns
        if not self._offsets or abs(offset - self._offsets[-1]) >= STEP_NS:
            self._starts.append(at_ns)
            self._offsets.append(offset)
        stale = max(0, bisect_right(self._starts, oldest_ns) - 1)
        del self._starts[:stale], self._offsets[:stale]

    def wall_ns(self, at_ns: int) -> int:
        """The wall clock of a moment; without any note the moment itself."""
        number = max(0, bisect_right(self._starts, at_ns) - 1)
        return at_ns + self._offsets[number] if self._offsets else at_ns

    def stretches(self, start_ns: int, end_ns: int) -> list[ClockStretch]:
        """The stretches of a period; the first begins and the last ends with it. None before the first note."""
        found = []
        for number, offset in enumerate(self._offsets):
            begin = self._starts[number] if number else start_ns
            end = self._starts[number + 1] if number + 1 < len(self._starts) else end_ns
            if max(begin, start_ns) < min(end, end_ns):
                found.append(ClockStretch(max(begin, start_ns), min(end, end_ns), offset))
        return found
