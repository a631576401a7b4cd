"""Synthetic frames: containers with constant or changing usages on a host of two CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from collectors.attribution.attributor import Attributor
from collectors.attribution.evidence import Attribution, Evidence
from collectors.sampling.frame import Frame, HostUsage, IoRates, NetRates, Pressure, Usage
from runtime.model import ContainerRef

SECOND_NS = 1_000_000_000
NCPU = 2

Moment = tuple[HostUsage, Mapping[ContainerRef, Usage]]


def ref(name: str) -> ContainerRef:
    return ContainerRef("embedded", name)


API, BATCH, OTHER = ref("api"), ref("batch"), ref("other")


def stalls(cpu: float = 0.0, memory: float = 0.0, io: float = 0.0) -> dict[str, Pressure]:
    """Pressures where every task stalls when some do."""
    return {"cpu": Pressure(cpu, cpu), "memory": Pressure(memory, memory), "io": Pressure(io, io)}


def usage(**fields: Any) -> Usage:
    """A usage of a container that is fully measured; `waiting` also sets the pressure of CPU."""
    known: dict[str, Any] = {"cpu": 0.0, "throttled": 0.0, "throttled_share": 0.0, "waiting": 0.0, "pids": 4}
    waiting = fields.get("waiting", 0.0)
    known["pressure"] = stalls(cpu=waiting if isinstance(waiting, float) else 0.0)
    return Usage(0, **{**known, **fields})


def host(cpu: float, **fields: Any) -> HostUsage:
    return HostUsage(**{"ncpu": NCPU, "cpu": cpu, "steal": 0.0, **fields})


def reads(bytes_per_s: float, ops: float = 0.0) -> IoRates:
    return IoRates(bytes_per_s, 0.0, ops, 0.0)


def disk(bytes_per_s: float, ops: float = 0.0, device: str = "8:0") -> dict[str, Any]:
    """The fields of a container that reads from one disk."""
    return {"io": reads(bytes_per_s, ops), "io_devices": {device: reads(bytes_per_s, ops)}}


def network(bytes_per_s: float, drops: float = 0.0) -> NetRates:
    """Traffic of which half goes either way, in packets of 1000 bytes."""
    half, packets = bytes_per_s / 2, bytes_per_s / 2000
    return NetRates(half, half, packets, packets, 0.0, drops)


def frames(
    moment: Callable[[float], Moment], seconds: float = 10.0, interval_s: float = 1.0, start_s: float = 100.0
) -> Iterator[Frame]:
    """A frame each interval, of what `moment` says about the seconds since the start."""
    for number in range(1, round(seconds / interval_s) + 1):
        at_s = number * interval_s
        about, usages = moment(at_s)
        at_ns = int((start_s + at_s) * SECOND_NS)
        yield Frame(number, at_ns, at_ns, int(interval_s * SECOND_NS), 0, about, usages=usages)


def constant(about: HostUsage, usages: Mapping[ContainerRef, Usage]) -> Callable[[float], Moment]:
    return lambda at_s: (about, usages)


def after(
    about: HostUsage, usages: Mapping[ContainerRef, Usage], seconds: float = 10.0, interval_s: float = 1.0
) -> Attribution:
    """What is said after some seconds of the same."""
    attributor = Attributor()
    for frame in frames(constant(about, usages), seconds, interval_s):
        attributor.take(frame)
    return attributor.latest


def told(attribution: Attribution, victim: ContainerRef = API) -> list[tuple[str, str]]:
    """Of the evidence about a victim: the kind of suspect, and its id or name, the strongest first."""
    return [(each.suspect.kind.value, suspect_name(each)) for each in attribution.by_victim.get(victim, ())]


def suspect_name(evidence: Evidence) -> str:
    return evidence.suspect.ref.id if evidence.suspect.ref is not None else evidence.suspect.name
