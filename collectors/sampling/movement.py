"""Sees in one pass which containers have moved since the last sweep: a file that did not change costs its pread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from collectors.sampling.counter_source import Batch
from collectors.sampling.tracked import Tracked

MAX_CONTAINERS_AT_ONCE: Final = (
    8  # read between two looks at the clock; what moved is read at once, while it is in the cache
)


def parts(containers: Sequence[Tracked]) -> list[MovementPart]:
    """All of them, some in each part."""
    starts = range(0, len(containers), MAX_CONTAINERS_AT_ONCE)
    return [MovementPart(containers[start : start + MAX_CONTAINERS_AT_ONCE]) for start in starts]


class MovementPart:
    """The movement files of some containers, all kept open; made anew when one of these is opened or closed.

    Attributes:
        containers: those.
    """

    def __init__(self, containers: Sequence[Tracked]) -> None:
        self.containers = containers
        pairs = [(tracked, source) for tracked in containers for source in tracked.reader.movement]
        self._owners = [tracked for tracked, _ in pairs]
        self._batch = Batch([source for _, source in pairs])

    def read(self) -> set[Tracked]:
        """Those that moved. Raises `OSError` when a file cannot be read; the time of the look is noted all the same."""
        at_ns = time.monotonic_ns()
        for tracked in self.containers:
            tracked.before_ns, tracked.at_ns = tracked.at_ns, at_ns
        owners = self._owners
        return {owners[index] for index in self._batch.read()}
