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

from runtime.model import Missing, Unlimited


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


def recovery(hurt: Service, contained: Service, alone: Service) -> float:
    """The share of the added p99 that containment took away again: 1 is all, 0 none; 0 when nothing was added."""
    damage = hurt.p99 - alone.p99
    if damage <= 0:
        return 0.0
    return max(0.0, min(1.0, (hurt.p99 - contained.p99) / damage))


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
    hog_limit: float | Unlimited | Missing,
) -> StoryStep:
    """The current step, from measurements and not from the keys that were pressed.

    `hog_limit` is the hog's CPU limit in cores as the kernel holds it. Recovered means a p99 of less than four times
    the one alone: a capped hog still runs in short bursts.
    """
    if now is None:
        return StoryStep.STARTING
    if alone is None or not hog_started:
        return StoryStep.ALONE
    recovered = now.p99 < 4 * alone.p99
    if not hog_live:
        return StoryStep.ENDED
    if isinstance(hog_limit, (Unlimited, Missing)):
        return StoryStep.HURT
    return StoryStep.RECOVERED if recovered else StoryStep.LIMITED
