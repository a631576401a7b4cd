"""What is measured of the dashboard during a soak, and the last quarter of it against the first."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MEMORY_GROWTH_BYTES = 2 << 20
FLAT = 1.1
"""Requests in the last quarter, by those in the first."""
LATENESS_GROWTH_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The process at one moment; `memory` is its PSS in bytes, `requests` those that Docker has had so far."""

    at_s: float
    memory: int
    descriptors: int
    threads: int
    requests: int


def read(pid: int, at_s: float, requests: int) -> Reading:
    proc = Path(f"/proc/{pid}")
    pss = next(line for line in (proc / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return Reading(
        at_s=at_s,
        memory=int(pss.split()[1]) * 1024,
        descriptors=len(os.listdir(proc / "fd")),
        threads=len(os.listdir(proc / "task")),
        requests=requests,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the report."""

    name: str
    first: float
    last: float
    ok: bool
    unit: str
    allowed: str

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "OVER"
        return f"{mark} {self.name:<14} first {self.first:9.3f}  last {self.last:9.3f} {self.unit}  ({self.allowed})"


def verdicts(readings: Sequence[Reading], frames: Sequence[float], interval_s: float) -> list[Verdict]:
    """The last quarter of the time against the first. `frames` are the times of the frames, on the readings' clock."""
    begin, end = readings[0].at_s, readings[-1].at_s
    quarter = (end - begin) / 4
    early = [reading for reading in readings if reading.at_s <= begin + quarter]
    late = [reading for reading in readings if reading.at_s >= end - quarter]

    def median(of: Callable[[Reading], int]) -> tuple[float, float]:
        return statistics.median(map(of, early)), statistics.median(map(of, late))

    memory = median(lambda reading: reading.memory)
    descriptors = median(lambda reading: reading.descriptors)
    threads = median(lambda reading: reading.threads)
    requests = _per_minute(early), _per_minute(late)
    lateness = (
        _lateness(frames, begin, begin + quarter, interval_s),
        _lateness(frames, end - quarter, end, interval_s),
    )
    mib = memory[0] / (1 << 20), memory[1] / (1 << 20)
    grown = memory[1] - memory[0]
    return [
        Verdict("memory", *mib, grown <= MEMORY_GROWTH_BYTES, "MiB", "+2 MiB"),
        Verdict("descriptors", *descriptors, descriptors[1] <= descriptors[0], "", "+0"),
        Verdict("threads", *threads, threads[1] <= threads[0], "", "+0"),
        Verdict("requests", *requests, requests[1] <= requests[0] * FLAT + 1, "a minute", f"{FLAT:.1f} times"),
        Verdict("lateness, p95", *lateness, lateness[1] <= lateness[0] + LATENESS_GROWTH_S, "s", "+0.05 s"),
    ]


def _per_minute(readings: Sequence[Reading]) -> float:
    seconds = readings[-1].at_s - readings[0].at_s
    return (readings[-1].requests - readings[0].requests) / max(seconds, 1e-9) * 60


def _lateness(frames: Sequence[float], begin: float, end: float, interval_s: float) -> float:
    """How much longer than the interval 95 of 100 frames take at most; one that never came takes until the end."""
    gaps = sorted(after - before for before, after in itertools.pairwise([begin, *_within(frames, begin, end), end]))
    return max(0.0, gaps[min(len(gaps) - 1, int(len(gaps) * 0.95))] - interval_s)


def _within(frames: Sequence[float], begin: float, end: float) -> list[float]:
    return [at for at in frames if begin <= at <= end]
