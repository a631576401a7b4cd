"""The time axis and the scale of graphs. Pure functions.

The graph scrolls in steps of an eighth of its width: between two steps every sample keeps its column and the newest is
drawn further to the right. So a sweep changes one column and not the whole graph, which a slow terminal needs, and
all graphs of the same width have the same time axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HOLD_INTERVALS = 2.5  # that one sample is drawn for; a longer pause is a gap

_NICE = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)


@dataclass(frozen=True, slots=True)
class Window:
    """The period of a graph: `slots` values of `step_ns` each, two to a cell, the first one number `first`."""

    first: int
    slots: int
    step_ns: int

    @property
    def start_ns(self) -> int:
        return self.first * self.step_ns

    @property
    def end_ns(self) -> int:
        return (self.first + self.slots) * self.step_ns

    def cell(self, at_ns: int) -> int | None:
        """The cell of a time, None when it is outside."""
        slot = at_ns // self.step_ns - self.first
        return slot // 2 if 0 <= slot < self.slots else None


def window(now_ns: int, step_ns: int, cells: int) -> Window:
    """The window of a graph so many cells wide, with now in its last eighth."""
    jump = max(1, cells // 8)
    newest = now_ns // (2 * step_ns)
    last = newest // jump * jump + jump - 1
    return Window(2 * (last - cells + 1), 2 * cells, step_ns)


def place(
    times_ns: Sequence[int], values: Sequence[float | None], frame: Window, interval_ns: int
) -> list[float | None]:
    """One value per slot of the window.

    A sample at t is valid for the time since the one before it, but for at most `MAX_HOLD_INTERVALS`. A slot takes the
    sample that is valid at its middle, so that jitter of the sampling clock makes no gaps.
    """
    slots: list[float | None] = [None] * frame.slots
    step, half = frame.step_ns, frame.step_ns // 2
    hold = int(interval_ns * MAX_HOLD_INTERVALS)
    for index in range(len(times_ns) - 1, -1, -1):
        end = times_ns[index]
        if end < frame.start_ns:
            break
        value = values[index]
        if value is None:
            continue
        begin = max(times_ns[index - 1], end - hold) if index else end - interval_ns
        low = max(0, (begin + half) // step - frame.first)
        high = min(frame.slots, (end + half) // step - frame.first)
        for slot in range(low, high):
            other = slots[slot]
            slots[slot] = value if other is None else max(other, value)
    return slots


def nice(value: float, *, base: int = 1000) -> float:
    """The next round number at or above `value`: 1, 1.5, 2, 3, 5 or 7.5 times a power of ten, or of two for 1024."""
    if value <= 0:
        return 1.0
    if base == 1024:
        return float(2 ** math.ceil(math.log2(value) - 1e-9))
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return next(step * power for step in _NICE if step * power >= value * (1 - 1e-9))


def top(peak: float, *, limit: float | None, floor: float, base: int = 1000) -> float:
    """The scale's upper end: a quarter above the limit, or round and above the peak where that is higher.

    `peak` is the highest value on the graph and `floor` the least that the scale may be without a limit, so
    that noise does not fill the graph.
    """
    if limit is not None and limit > 0 and peak <= limit * 1.25:
        return limit * 1.25
    return max(floor, nice(peak, base=base))
