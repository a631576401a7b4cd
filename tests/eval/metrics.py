"""What is computed from labelled pairs and from reports of services. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

Z: Final = 1.959964  # 95 % of a normal distribution
RESAMPLES: Final = 2000
HIGH_WAIT: Final = 0.5  # share of time that a victim loses, above which it must be named sooner


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One victim and one suspect in one repeat, and what a detector said.

    Attributes:
        culprit: the label.
        named: the detector named the suspect at any moment that is judged.
        after_s: from the start of the harm until it was named first; None where it was not.
        wait: the share of time that the victim lost during the harm, 0 to 1, by its own pressure.
        score: the highest of the detector during the harm.
    """

    scenario: str
    repeat: int
    victim: str
    suspect: str
    culprit: bool
    named: bool
    after_s: float | None = None
    wait: float = 0.0
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval; NaN where nothing was counted."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


NOTHING: Final = Interval(math.nan, math.nan, math.nan)


def wilson(hits: int, of: int) -> Interval:
    """A proportion with Wilson's score interval (Wilson 1927), which stays within 0 and 1 with few observations."""
    if of == 0:
        return NOTHING
    share = hits / of
    middle = share + Z * Z / (2 * of)
    spread = Z * math.sqrt(share * (1 - share) / of + Z * Z / (4 * of * of))
    scale = 1 + Z * Z / of
    return Interval(share, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def bootstrap(
    values: Sequence[float], statistic: Callable[[Sequence[float]], float] = statistics.median, *, seed: int
) -> Interval:
    """A statistic with its percentile interval over resamples drawn with a seed."""
    if not values:
        return NOTHING
    rng = Random(seed)
    drawn = sorted(statistic(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Interval(statistic(values), drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES) - 1])


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a detector did over pairs: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Scores:
        counted = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
        for pair in pairs:
            counted[pair.named, pair.culprit] += 1
        return cls(counted[True, True], counted[True, False], counted[False, True], counted[False, False])

    @property
    def precision(self) -> Interval:
        return wilson(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Interval:
        return wilson(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where nothing was found."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp else 0.0


def best_threshold(scored: Collection[tuple[float, bool]]) -> float:
    """The threshold at which naming all scores at or above it has the best F1; of equal ones the highest.

    It lies between the lowest score that is named and the highest that is not.
    """
    levels = sorted({score for score, _ in scored}, reverse=True)
    best, found = -1.0, math.inf
    for number, level in enumerate(levels):
        tp = sum(culprit for score, culprit in scored if score >= level)
        fp = sum(not culprit for score, culprit in scored if score >= level)
        fn = sum(culprit for score, culprit in scored if score < level)
        f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0.0
        if f1 > best:
            best = f1
            below = levels[number + 1] if number + 1 < len(levels) else 0.0
            found = (level + below) / 2
    return found


def times_to_name(pairs: Iterable[Pair], *, high_wait: bool) -> list[float]:
    """Seconds until culprits were named, of victims that lost more than half of their time, or of the rest.

    Infinite for one that was not named.
    """
    culprits = (pair for pair in pairs if pair.culprit and (pair.wait > HIGH_WAIT) == high_wait)
    return [math.inf if pair.after_s is None else pair.after_s for pair in culprits]


def percentile(values: Collection[float], share: float) -> float:
    """The nearest-rank percentile, `share` in (0, 1]; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a service: requests answered and shed, and the latencies in ms of those answered."""

    answered: int
    shed: int
    latency_ms: tuple[float, ...]


def isolation(seconds: Iterable[Second], base_per_s: float) -> list[float]:
    """For each second, requests answered of those answered alone, at most 1 (as resctl-demo)."""
    return [min(1.0, second.answered / base_per_s) for second in seconds]


def latency_impact(seconds: Iterable[Second], base_ms: float) -> list[float]:
    """For each second, by how many times the base the median latency has grown; 0 is none (as resctl-demo)."""
    return [max(0.0, statistics.median(second.latency_ms) / base_ms - 1) for second in seconds if second.latency_ms]


def p99(seconds: Iterable[Second]) -> float:
    return percentile([value for second in seconds for value in second.latency_ms], 0.99)


def recovered_share(alone_ms: float, hurt_ms: float, now_ms: float) -> float:
    """The share of what the harm had added to a latency that is gone again, 0 to 1; NaN where it had added nothing."""
    if hurt_ms <= alone_ms:
        return math.nan
    return max(0.0, min(1.0, (hurt_ms - now_ms) / (hurt_ms - alone_ms)))


def recovery_s(at_s: Sequence[float], latency_ms: Sequence[float], *, bound_ms: float, steady: int = 3) -> float | None:
    """When a latency, sampled at `at_s`, first stays below a bound for `steady` samples; None where it never does."""
    for number in range(len(at_s) - steady + 1):
        if all(value <= bound_ms for value in latency_ms[number : number + steady]):
            return at_s[number]
    return None
