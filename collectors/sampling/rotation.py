"""Spreads what is done now and then over sweeps: each of many things once in an interval, a part of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Rotation:
    """Whose turn it is, in a circle."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._owed = 0.0
        self._next = 0

    def take(self, things: Sequence[T], elapsed_s: float) -> Sequence[T]:
        """Those whose turn has come after another `elapsed_s`; each thing at most once."""
        if not things:
            return ()
        self._owed += len(things) * elapsed_s / self._interval_s
        number = min(int(self._owed), len(things))
        self._owed = min(self._owed - number, 1.0)
        start = self._next % len(things)
        self._next = (start + number) % len(things)
        return [*things[start : start + number], *things[: max(0, start + number - len(things))]]
