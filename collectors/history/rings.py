"""The last minutes of every container in preallocated rings, and annotations on the time axis.

All rings share one ring of times, so a container costs 4 bytes per metric and sample; single precision is finer than
any screen. A missing value is a gap (NaN inside, None outside), never zero. Which metrics are kept is said in
`collectors.sampling.metrics`.
"""

from __future__ import annotations

import math
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Final, TypeVar

from collectors.history.annotation import AnnotatedLimit, Annotation, AnnotationKind
from collectors.history.wall_clock import WallClock
from collectors.sampling.frame import Frame, Usage
from collectors.sampling.metrics import HOST_METRICS, METRICS
from runtime.model import Ref

N = TypeVar("N", int, float)

NS_PER_S: Final = 1_000_000_000
HISTORY_S: Final = 300.0
MAX_ANNOTATIONS: Final = 64  # per container


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time, oldest first; `times_ns` is CLOCK_MONOTONIC, None is a gap. Both are of the same length."""

    times_ns: list[int]
    values: list[float | None]


# The metrics that are kept, by id, each with the function that gets its value.
_KEPT: Final = {id: metric.extract for id, metric in METRICS.items() if metric.history}
_KEPT_OF_HOST: Final = {id: metric.extract for id, metric in HOST_METRICS.items() if metric.history}


def _moved(ring: array[N], slots: Sequence[tuple[int, int]], into: array[N], width: int = 1) -> array[N]:
    """`into` with the values of some slots of a ring, `width` values each, in their new slots."""
    for before, after in slots:
        into[after * width : (after + 1) * width] = ring[before * width : (before + 1) * width]
    return into


class _Rings:
    """The ring of one container's samples; the values of one sample are next to each other.

    Attributes:
        first, last: the numbers of the first and the newest frame in which the container was; frame n is in slot
            n % size.
    """

    __slots__ = ("_extracts", "_index", "_previous", "_slot", "_values", "first", "last")

    def __init__(self, extracts: Mapping[str, Callable[[Any], object]], size: int, first: int) -> None:
        self.first = first
        self.last = first
        self._extracts = tuple(extracts.values())
        self._index = {id: index for index, id in enumerate(extracts)}
        self._values = array("f", [nan]) * (size * len(extracts))
        self._previous: object = None
        self._slot = 0  # of `_previous`

    def put(self, slot: int, usage: object) -> None:
        """Write the values of a `Usage` or `HostUsage`; what is no number is a gap."""
        width, values = len(self._extracts), self._values
        start = slot * width
        if _is_equal(usage, self._previous):  # of an idle container
            before = self._slot * width
            values[start : start + width] = values[before : before + width]
        else:
            found = (extract(usage) for extract in self._extracts)
            values[start : start + width] = array(
                "f", [value if isinstance(value, (int, float)) else nan for value in found]
            )
        self._previous, self._slot = usage, slot

    def resize(self, slots: Sequence[tuple[int, int]], size: int) -> None:
        """A ring of another size, with the values of some slots in new ones."""
        width = len(self._extracts)
        self._values = _moved(self._values, slots, array("f", [nan]) * (size * width), width)
        self._previous = None

    def clear(self, slot: int) -> None:
        """Write a gap."""
        width = len(self._extracts)
        self._values[slot * width : (slot + 1) * width] = array("f", [nan]) * width
        self._previous = None

    def values(self, metric: str, start: int, end: int) -> array[float]:
        """Of one metric, in the slots from `start` to before `end`. `KeyError` when it is not kept."""
        index, width = self._index[metric], len(self._extracts)
        return self._values[start * width + index : end * width : width]


def _is_equal(usage: object, previous: object) -> bool:
    """Whether two `Usage`s differ in nothing but their time, which is their first field."""
    return isinstance(usage, Usage) and isinstance(previous, Usage) and usage[1:] == previous[1:]


class History:
    """What was measured in the last `seconds`.

    Attributes:
        latest: the newest frame, None before the first.
        clock: the wall clock of the moments that are kept.
    """

    def __init__(self, seconds: float = HISTORY_S, *, interval: float = 1.0) -> None:
        """Room for `seconds / interval` frames (both in seconds); with frames further apart it spans a longer time."""
        self._least = max(2, round(seconds / interval))
        self._size = self._least
        self._begin = 0  # the first frame that was not lost when the room changed
        self.clock = WallClock()
        self._times = array("q", [0]) * self._size
        self._count = 0  # frames pushed so far; frame n is in slot n % size
        self._rings: dict[Ref, _Rings] = {}
        self._host = _Rings(_KEPT_OF_HOST, self._size, 0)
        self._annotations: dict[Ref, deque[Annotation]] = {}
        self.latest: Frame | None = None

    def hold(self, seconds: float, interval: float) -> None:
        """Have room for the frames of the last `seconds` with sweeps every `interval`; what is there is kept."""
        size = max(self._least, math.ceil(seconds / interval) + 1)
        if size == self._size:
            return
        self._begin = max(self._begin, self._count - min(size, self._size))
        slots = [(number % self._size, number % size) for number in range(self._begin, self._count)]
        self._times = _moved(self._times, slots, array("q", [0]) * size)
        for rings in (self._host, *self._rings.values()):
            rings.resize(slots, size)
        self._size = size

    def push(self, frame: Frame) -> None:
        """Add a frame. A container that it does not hold gets a gap, and is forgotten once it has nothing but gaps."""
        slot, number = self._count % self._size, self._count
        self._times[slot] = frame.at_ns
        self._host.put(slot, frame.host)
        for ref, usage in frame.usages.items():
            rings = self._rings.get(ref)
            if rings is None:
                rings = self._rings[ref] = _Rings(_KEPT, self._size, number)
            rings.last = number
            rings.put(slot, usage)
        for ref, rings in list(self._rings.items()):
            if rings.last <= number - self._size:
                del self._rings[ref]
            elif rings.last != number:
                rings.clear(slot)
        self._count += 1
        self.latest = frame
        oldest = self._times[max(self._begin, self._count - self._size) % self._size]
        self.clock.note(frame.at_ns, frame.wall_ns, oldest)

    def series(self, ref: Ref, metric: str, *, last: int | None = None) -> Series:
        """One metric of a container, from its first sample on; empty when it has none. `KeyError` if it is not kept.

        `last` is the number of the newest samples that are wanted, None for all.
        """
        rings = self._rings.get(ref)
        if rings is None:
            _KEPT[metric]  # an unknown metric is a fault also when the container is not there
            return Series([], [])
        return self._series(rings, metric, last)

    def host_series(self, metric: str) -> Series:
        """One metric of the machine. `KeyError` when it is not kept."""
        return self._series(self._host, metric)

    def _series(self, rings: _Rings, metric: str, last: int | None = None) -> Series:
        wanted = self._size if last is None else min(last, self._size)
        first = max(rings.first, self._begin, self._count - wanted)
        start, end = first % self._size, self._count % self._size
        times = self._times
        if first == self._count:
            return Series([], [])
        if start < end:
            chosen, at = rings.values(metric, start, end), times[start:end]
        else:
            chosen = rings.values(metric, start, self._size) + rings.values(metric, 0, end)
            at = times[start:] + times[:end]
        return Series(at.tolist(), [None if isnan(value) else value for value in chosen])

    def mean(self, ref: Ref, metric: str, seconds: float) -> float | None:
        """The mean of the last `seconds`, gaps left out; None when nothing was measured in them."""
        series = self.series(ref, metric)
        if not series.times_ns or self.latest is None:
            return None
        start = bisect_left(series.times_ns, self.latest.at_ns - round(seconds * NS_PER_S) + 1)
        known = [value for value in series.values[start:] if value is not None]
        return sum(known) / len(known) if known else None

    def annotate(self, ref: Ref, kind: AnnotationKind, *limits: AnnotatedLimit, at_ns: int | None = None) -> None:
        """Note that something happened to a container, now or at a CLOCK_MONOTONIC time that is kept."""
        known = self._annotations.setdefault(ref, deque(maxlen=MAX_ANNOTATIONS))
        if at_ns is None:
            known.append(Annotation(time.monotonic_ns(), kind, limits, time.time_ns()))
        else:
            known.append(Annotation(at_ns, kind, limits, self.clock.wall_ns(at_ns)))

    def annotations(self, ref: Ref) -> tuple[Annotation, ...]:
        """What happened to a container, oldest first; the last `MAX_ANNOTATIONS` of them."""
        return tuple(self._annotations.get(ref, ()))

    def forget(self, ref: Ref) -> None:
        """Drop everything about a container, for one that was removed."""
        self._rings.pop(ref, None)
        self._annotations.pop(ref, None)
