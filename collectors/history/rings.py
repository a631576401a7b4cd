"""The last minutes of every container: rings with gaps, bounded memory, and marks on the time axis.

All rings share one ring of times, so a container costs 4 bytes per metric and sample: single precision is finer than
any screen. A missing value is a gap (NaN
inside, None outside), never zero.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from operator import attrgetter
from typing import Any, Final

from collectors.sampling.frame import Frame, HostUsage, IoRates, NetRates, Usage
from runtime.model import ContainerRef

NS = 1_000_000_000
SECONDS = 300
MARKS = 64  # per container


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time, oldest first; `times_ns` is CLOCK_MONOTONIC, None is a gap. Both are of the same length."""

    times_ns: list[int]
    values: list[float | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a container: a limit change, an OOM kill, a probe."""

    at_ns: int
    text: str


def _pressure(resource: str, kind: str) -> Callable[[Any], object]:
    def extract(usage: Any) -> object:
        found = usage.pressure.get(resource)
        return getattr(found, kind) if found is not None else None

    return extract


def _io(name: str) -> Callable[[Usage], object]:
    return lambda usage: getattr(usage.io, name) if isinstance(usage.io, IoRates) else None


def _net(name: str) -> Callable[[Usage], object]:
    return lambda usage: getattr(usage.net, name) if isinstance(usage.net, NetRates) else None


def _field(name: str) -> Callable[[object], object]:
    return attrgetter(name)


PRESSURES: Final = {
    f"{short}_{kind}": _pressure(resource, kind)
    for short, resource in (("cpu", "cpu"), ("mem", "memory"), ("io", "io"))
    for kind in ("some", "full")
}
METRICS: Final[Mapping[str, Callable[[Usage], object]]] = {
    **{
        name: _field(name)
        for name in (
            *("cpu", "cpu_user", "cpu_system", "throttled", "throttled_share", "waiting"),
            *("memory", "working_set", "anon", "file", "swap", "pids"),
        )
    },
    "net_rx": _net("rx_bytes"),
    "net_tx": _net("tx_bytes"),
    "io_read": _io("read_bytes"),
    "io_write": _io("write_bytes"),
    **PRESSURES,
}
HOST_METRICS: Final[Mapping[str, Callable[[HostUsage], object]]] = {
    "cpu": _field("cpu"),
    "memory": _field("memory_used"),
    "swap": _field("swap_used"),
    "load1": _field("load1"),
    "net_rx": _field("net_rx"),
    "net_tx": _field("net_tx"),
    "io_read": _field("io_read"),
    "io_write": _field("io_write"),
    **PRESSURES,
}


class _Rings:
    """One preallocated ring of floats per metric; `first` numbers the first push that it saw."""

    __slots__ = ("first", "last", "rings")

    def __init__(self, metrics: Mapping[str, object], size: int, first: int) -> None:
        self.first = first
        self.last = first
        self.rings = {name: array("f", [nan]) * size for name in metrics}

    def clear(self, slot: int) -> None:
        for ring in self.rings.values():
            ring[slot] = nan


class History:
    """What was measured in the last `seconds`.

    Attributes:
        latest: the newest frame, None before the first.
    """

    def __init__(self, seconds: float = SECONDS, *, interval: float = 1.0) -> None:
        """Room for `seconds / interval` frames; with frames further apart it holds a longer time."""
        self._size = max(2, round(seconds / interval))
        self._times = array("q", [0]) * self._size
        self._count = 0  # frames pushed so far; frame n is in slot n % size
        self._rings: dict[ContainerRef, _Rings] = {}
        self._host = _Rings(HOST_METRICS, self._size, 0)
        self._marks: dict[ContainerRef, deque[Mark]] = {}
        self.latest: Frame | None = None

    def push(self, frame: Frame) -> None:
        """Add a frame. A container that it does not hold gets a gap, and is forgotten once it has nothing but gaps."""
        slot, number = self._count % self._size, self._count
        self._times[slot] = frame.at_ns
        _store(self._host.rings, HOST_METRICS, slot, frame.host)
        for ref, usage in frame.usages.items():
            rings = self._rings.get(ref)
            if rings is None:
                rings = self._rings[ref] = _Rings(METRICS, self._size, number)
            rings.last = number
            _store(rings.rings, METRICS, slot, usage)
        for ref, rings in list(self._rings.items()):
            if rings.last <= number - self._size:
                del self._rings[ref]
            elif rings.last != number:
                rings.clear(slot)
        self._count += 1
        self.latest = frame

    def series(self, ref: ContainerRef, metric: str) -> Series:
        """One metric of one container, from its first sample on; empty when there is none. See `METRICS`."""
        rings = self._rings.get(ref)
        if rings is None:
            METRICS[metric]  # an unknown metric is a fault also when the container is not there
            return Series([], [])
        return self._series(rings, metric)

    def host_series(self, metric: str) -> Series:
        """One metric of the machine. See `HOST_METRICS`."""
        return self._series(self._host, metric)

    def _series(self, rings: _Rings, metric: str) -> Series:
        first = max(rings.first, self._count - self._size)
        start, end = first % self._size, self._count % self._size
        values, times = rings.rings[metric], self._times
        if first == self._count:
            return Series([], [])
        if start < end:
            chosen, at = values[start:end], times[start:end]
        else:
            chosen, at = values[start:] + values[:end], times[start:] + times[:end]
        return Series(at.tolist(), [None if isnan(value) else value for value in chosen])

    def mean(self, ref: ContainerRef, metric: str, seconds: float) -> float | None:
        """The mean of the last `seconds`, gaps left out; None when nothing was measured in them."""
        series = self.series(ref, metric)
        if not series.times_ns or self.latest is None:
            return None
        begin = bisect_left(series.times_ns, self.latest.at_ns - round(seconds * NS) + 1)
        found = [value for value in series.values[begin:] if value is not None]
        return sum(found) / len(found) if found else None

    def mark(self, ref: ContainerRef, text: str, *, at_ns: int | None = None) -> None:
        """Note that something happened to a container, now or at a CLOCK_MONOTONIC time."""
        marks = self._marks.setdefault(ref, deque(maxlen=MARKS))
        marks.append(Mark(time.monotonic_ns() if at_ns is None else at_ns, text))

    def marks(self, ref: ContainerRef) -> tuple[Mark, ...]:
        """What happened to a container, oldest first; the last `MARKS` of them."""
        return tuple(self._marks.get(ref, ()))

    def forget(self, ref: ContainerRef) -> None:
        """Drop everything about a container, for one that was removed."""
        self._rings.pop(ref, None)
        self._marks.pop(ref, None)


def _store(
    rings: Mapping[str, array[float]], metrics: Mapping[str, Callable[[Any], object]], slot: int, use: object
) -> None:
    for name, extract in metrics.items():
        value = extract(use)
        rings[name][slot] = value if isinstance(value, (int, float)) else nan
