"""Measures of a phase from the victim's reports, second by second. Pure: no engine, no screen.

After the Linux resctl-demo, whose words they are: isolation (requests answered against alone, 1 is perfect), latency
impact (growth of the latency against alone, 0 is perfect), work conserved (what is still done in all).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collectors.attribution.evidence import Resource
from collectors.sampling.frame import IoRates, NetRates, Usage
from runtime.model import Missing
from tui.demo.story import (
    Report,
    Service,
    StoryStep,
    isolation,
    latency_impact,
    percentile,
    service,
    step,
)

BUSY_SHARE = 0.2  # of the host's CPU used by others while the victim runs alone, from which on the host is busy


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over the seconds of one phase or of several: mean, 5th and 95th percentile."""

    mean: float
    p05: float
    p95: float
    count: int


def spread(values: Iterable[float]) -> Spread | None:
    """Of none there is none."""
    ordered = sorted(values)
    if not ordered:
        return None
    mean = math.fsum(ordered) / len(ordered)
    return Spread(mean, percentile(ordered, 0.05), percentile(ordered, 0.95), len(ordered))


def seconds(reports: Sequence[Report], interval: float) -> tuple[Service, ...]:
    """The service in each whole second, of reports that each cover `interval` seconds.

    A request that waits is reported when it is answered; so a second in which none was has the latencies of the next
    one that has some, and 0 answered. Without a later one it is left out of the latencies: they are NaN.
    """
    size = max(1, round(1 / interval))
    found: list[Service] = []
    later: Service | None = None
    for end in range(len(reports) // size * size, 0, -size):
        group = reports[end - size : end]
        now = service(group, interval)
        if now is None:
            p50, p99 = (later.p50, later.p99) if later is not None else (math.nan, math.nan)
            shed = sum(report.shed for report in group) / (size * interval)
            now = Service(p50=p50, p99=p99, answered=0.0, shed=shed, seconds=size * interval)
        else:
            later = now
        found.append(now)
    return tuple(reversed(found))


def isolations(each: Iterable[Service], alone: Service) -> list[float]:
    """Of each second."""
    return [isolation(now, alone) for now in each]


def latency_impacts(each: Iterable[Service], alone: Service) -> list[float]:
    """Of each second whose latencies are known."""
    return [latency_impact(now, alone) for now in each if not math.isnan(now.p99)]


def recovered_after(reports: Sequence[Report], interval: float, alone: Service, hurt: Service) -> float | None:
    """Seconds until the victim had recovered, for two reports one after the other; None where it has not.

    `reports` begin when the rung was taken. Recovered is what the guide means by it.
    """
    for end in range(2, len(reports) + 1):
        pair = (service(reports[end - 2 : end - 1], interval), service(reports[end - 1 : end], interval))
        if all(each is not None and recovered(each, alone, hurt) for each in pair):
            return (end - 1) * interval
    return None


def recovered(now: Service, alone: Service, hurt: Service) -> bool:
    """The guide's own judgement, of a victim beside a hog that is contained."""
    return step(alone, now, True, True, True, hurt) is StoryStep.RECOVERED


def resource_use(usage: Usage, resource: Resource) -> float | Missing:
    """What a container does with the resource of a story: cores, bytes per second, or tasks.

    Of memory it is CPU: a program that reads the page cache stands still where it waits for the disk instead.
    """
    match resource:
        case Resource.IO:
            return _sum(usage.io.read_bytes, usage.io.write_bytes) if isinstance(usage.io, IoRates) else usage.io
        case Resource.NETWORK:
            return usage.net.tx_bytes if isinstance(usage.net, NetRates) else usage.net
        case Resource.TASKS:
            return usage.pids
        case Resource.CPU | Resource.MEMORY:
            return usage.cpu


def _sum(first: float, second: float | Missing) -> float | Missing:
    return second if isinstance(second, Missing) else first + second


def kept_share(now: float | Missing | None, noise: float | Missing | None) -> float | None:
    """The share of what the hog did without a limit that it still does, at most 1; None where that is not known."""
    if now is None or noise is None or isinstance(now, Missing) or isinstance(noise, Missing) or noise <= 0:
        return None
    return min(1.0, now / noise)


def outside_share(host_cpu: float | Missing, inside: Iterable[float | Missing], ncpu: int) -> float | None:
    """The share of the host's CPU that is used by others than the demo's containers; None where it is not known."""
    if isinstance(host_cpu, Missing) or ncpu <= 0:
        return None
    ours = math.fsum(value for value in inside if not isinstance(value, Missing))
    return max(0.0, host_cpu - ours) / ncpu
