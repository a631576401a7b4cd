"""Simple detectors, to compare attribution with: what one would try first with the same counters.

Each gives a score for every pair of containers, from the frames of the last `WINDOW_S`; a pair is named while its score
is at its threshold or above. The thresholds are those with the best F1 on the set of `tests.eval.tuning`, as
`make eval-containment ARGS=--tune` wrote them into `thresholds.json`.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from collectors.sampling.frame import Frame, IoRates, Usage
from runtime.model import Missing, Ref

WINDOW_S: Final = 8.0
MIN_FRAMES: Final = 3  # below which there is no correlation
RESOURCES: Final = ("cpu", "memory", "io")
Scored = Mapping[tuple[Ref, Ref], float]
Score = Callable[[Sequence[Frame], Ref, Ref], float]


def _number(value: float | Missing) -> float:
    return 0.0 if isinstance(value, Missing) else float(value)


def used(usage: Usage | None, resource: str) -> float:
    """Cores, bytes, or bytes per second."""
    if usage is None:
        return 0.0
    if resource == "cpu":
        return _number(usage.cpu)
    if resource == "memory":
        return _number(usage.memory)
    io = usage.io
    return _number(io.read_bytes) + _number(io.write_bytes) if isinstance(io, IoRates) else 0.0


def stalled(usage: Usage | None, resource: str, kind: str) -> float:
    pressure = usage.pressure.get(resource) if usage is not None else None
    return _number(getattr(pressure, kind)) if pressure is not None else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def share(frames: Sequence[Frame], victim: Ref, suspect: Ref, resource: str) -> float:
    """The suspect's part of what all but the victim used."""
    mine = _mean([used(frame.usages.get(suspect), resource) for frame in frames])
    others = _mean(
        [sum(used(usage, resource) for ref, usage in frame.usages.items() if ref != victim) for frame in frames]
    )
    if resource == "cpu":
        others = max(
            others, _mean([_number(frame.host.cpu) - used(frame.usages.get(victim), "cpu") for frame in frames])
        )
    return mine / others if others > 0 else 0.0


def usage_alone(frames: Sequence[Frame], victim: Ref, suspect: Ref) -> float:
    """The share of the host's CPU that the suspect uses, whatever the victim does: what sorting by usage finds."""
    return _mean([used(frame.usages.get(suspect), "cpu") / frame.host.ncpu for frame in frames])


def _stall_times_share(kind: str) -> Score:
    def score(frames: Sequence[Frame], victim: Ref, suspect: Ref) -> float:
        return max(
            _mean([stalled(frame.usages.get(victim), resource, kind) for frame in frames])
            * share(frames, victim, suspect, resource)
            for resource in RESOURCES
        )

    return score


def correlation(frames: Sequence[Frame], victim: Ref, suspect: Ref) -> float:
    """Pearson's, of the victim's `some` with the suspect's use; of the resource where it is highest (as CPI2)."""
    best = 0.0
    for resource in RESOURCES:
        stall = [stalled(frame.usages.get(victim), resource, "some") for frame in frames]
        use = [used(frame.usages.get(suspect), resource) for frame in frames]
        best = max(best, pearson(stall, use))
    return best


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """0.0 where one of them does not vary, or there are too few."""
    if len(first) < MIN_FRAMES:
        return 0.0
    a, b = _mean(first), _mean(second)
    spread = math.sqrt(sum((x - a) ** 2 for x in first) * sum((y - b) ** 2 for y in second))
    if spread <= 0:
        return 0.0
    return sum((x - a) * (y - b) for x, y in zip(first, second, strict=True)) / spread


SCORES: Final[Mapping[str, Score]] = {
    "usage alone": usage_alone,
    "some x share": _stall_times_share("some"),
    "full x share": _stall_times_share("full"),
    "correlation": correlation,
}
THRESHOLDS_FILE: Final = Path(__file__).parent / "thresholds.json"
"""The threshold of each, with the scenarios, the seed and the date of the run of which it had the best F1."""
THRESHOLDS: Final[Mapping[str, float]] = json.loads(THRESHOLDS_FILE.read_text())["thresholds"]


class Baseline:
    """One detector over the frames of a window."""

    def __init__(self, score: Score, *, window_s: float = WINDOW_S) -> None:
        self._score = score
        self._window_ns = int(window_s * 1e9)
        self._frames: deque[Frame] = deque()

    def take(self, frame: Frame) -> Scored:
        """The scores of all pairs after one more frame."""
        self._frames.append(frame)
        while self._frames[0].at_ns <= frame.at_ns - self._window_ns:
            self._frames.popleft()
        frames = tuple(self._frames)
        refs = tuple(frame.usages)
        return {(victim, ref): self._score(frames, victim, ref) for victim in refs for ref in refs if victim != ref}
