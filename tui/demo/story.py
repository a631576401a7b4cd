"""Statistics of the victim's reports, and the current step of the demo. Pure: no engine, no screen.

Measures, after the Linux resctl-demo: requests answered per second against the baseline ("isolation", 1.0 is perfect),
latency against the baseline ("latency impact", 0 is perfect).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MIN_RECOVERED_SHARE = 0.8  # of the p99 that the hog had added
MAX_RECOVERED_RATIO = 4.0  # to the p99 alone
MIN_RECOVERED_ISOLATION = 0.9
LOADED_P99_MS = 150.0  # a request takes 12 ms of CPU, and waits for at most a few others


@dataclass(frozen=True, slots=True)
class Report:
    """One line of the victim: seconds since its start, requests offered and shed, latencies of the answered in ms."""

    at: float
    sent: int
    shed: int
    latency_ms: tuple[float, ...]


def parse_report(line: bytes) -> Report | None:
    """A victim's line; None for anything else that came out of the container."""
    try:
        fields = json.loads(line)
        return Report(
            at=float(fields["at"]),
            sent=int(fields["sent"]),
            shed=int(fields["shed"]),
            latency_ms=tuple(float(value) for value in fields["latency_ms"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of sorted values, `share` in (0, 1]; NaN of none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Service:
    """The victim's service over a period: latencies in ms, rates per second."""

    p50: float
    p99: float
    answered: float
    shed: float
    seconds: float


def service(reports: Iterable[Report], interval: float) -> Service | None:
    """Sum up reports that each cover `interval` seconds; None while nothing was answered."""
    taken = tuple(reports)
    latencies = sorted(value for report in taken for value in report.latency_ms)
    if not latencies:
        return None
    seconds = len(taken) * interval
    return Service(
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        answered=len(latencies) / seconds,
        shed=sum(report.shed for report in taken) / seconds,
        seconds=seconds,
    )


def isolation(now: Service, alone: Service) -> float:
    """Requests answered against alone, at most 1."""
    return min(1.0, now.answered / alone.answered)


def latency_impact(now: Service, alone: Service) -> float:
    """How many times its own latency alone the p99 has grown by; 0 is none."""
    return max(0.0, now.p99 / alone.p99 - 1)


class Judged(StrEnum):
    """The percentile of the latency by which a victim is judged."""

    P50 = "p50"
    P99 = "p99"

    def of(self, service: Service) -> float:
        """Its value in ms."""
        return service.p50 if self is Judged.P50 else service.p99


def judged(hurt: Service, alone: Service) -> Judged:
    """The percentile that has grown more. On a host that is busy with something else the p99 is large without a hog."""
    return Judged.P50 if hurt.p50 * alone.p99 > hurt.p99 * alone.p50 else Judged.P99


def recovery(hurt: Service, contained: Service, alone: Service, by: Judged = Judged.P99) -> float:
    """The share of the added latency that containment took away again: 1 is all, 0 none; 0 when nothing was added."""
    damage = by.of(hurt) - by.of(alone)
    if damage <= 0:
        return 0.0
    return max(0.0, min(1.0, (by.of(hurt) - by.of(contained)) / damage))


class StoryStep(StrEnum):
    """A step of the demo."""

    STARTING = "starting"
    ALONE = "alone"
    HURT = "hurt"
    LIMITED = "limited"
    RECOVERED = "recovered"
    ENDED = "ended"


def step(
    alone: Service | None,
    now: Service | None,
    hog_live: bool,
    hog_started: bool,
    contained: bool,
    hurt: Service | None = None,
) -> StoryStep:
    """The current step, from measurements and not from the keys that were pressed.

    `contained`: a limit of the hog, or the victim's protection, is in force. `hurt` is the victim's service at its
    worst beside the hog. Recovered means that most of what the hog had added to the latency is gone (of the p50 or the
    p99, whichever had grown more), that it is less than four times the one alone (a capped hog still runs in short
    bursts), and that nearly as much is answered as alone.
    """
    if now is None:
        return StoryStep.STARTING
    if alone is None or not hog_started:
        return StoryStep.ALONE
    if not hog_live:
        return StoryStep.ENDED
    if not contained:
        return StoryStep.HURT
    by = judged(hurt, alone) if hurt is not None else Judged.P99
    helped = hurt is None or recovery(hurt, now, alone, by) >= MIN_RECOVERED_SHARE
    near = by.of(now) < MAX_RECOVERED_RATIO * by.of(alone) and isolation(now, alone) >= MIN_RECOVERED_ISOLATION
    return StoryStep.RECOVERED if helped and near else StoryStep.LIMITED


def loaded(alone: Service) -> bool:
    """The host was busy with something else while the victim ran alone: what is measured here says little."""
    return alone.p99 > LOADED_P99_MS
