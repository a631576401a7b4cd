"""The frames of the last seconds, and what they say about a victim's waiting and a suspect's use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from collectors.attribution.evidence import Attribution, Evidence, SuspectKind
from collectors.sampling.frame import Frame, Usage
from runtime.containment.rung import DiskUse, ResourceUse
from runtime.model import ContainerRef, Missing, Ref, Resource
from tui.core.containment.outsiders import programs_of

KEPT_S: Final = 15.0
RECENT_S: Final = 3.0  # over which what holds now is averaged


class Readings:
    """Frames with the attribution at each, the oldest first."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Frame, Attribution]] = deque()

    def take(self, frame: Frame, attribution: Attribution) -> None:
        """Add the newest frame."""
        if self._kept and frame.at_ns <= self._kept[-1][0].at_ns:
            self._kept.clear()
        self._kept.append((frame, attribution))
        while frame.at_ns - self._kept[0][0].at_ns > KEPT_S * 1e9:
            self._kept.popleft()

    @property
    def now_ns(self) -> int:
        """CLOCK_MONOTONIC of the newest frame, 0 before the first."""
        return self._kept[-1][0].at_ns if self._kept else 0

    @property
    def latest(self) -> Frame | None:
        """The newest frame."""
        return self._kept[-1][0] if self._kept else None

    def seconds_after(self, at_ns: int) -> float:
        """How many seconds of whole intervals there are after a moment."""
        return sum(frame.interval_ns for frame, _ in self._after(at_ns)) / 1e9

    def wait(self, evidence: Evidence, *, since_ns: int) -> float | None:
        """The victim's waiting, share of time, mean of the frames from `since_ns` on; None when there is none."""
        return _mean(
            _wait(frame, attribution, evidence) for frame, attribution in self._kept if frame.at_ns >= since_ns
        )

    def wait_after(self, evidence: Evidence, at_ns: int) -> float | None:
        """The same over the whole intervals after a moment, the last `RECENT_S` of them."""
        since_ns = max(at_ns, self.now_ns - int(RECENT_S * 1e9) - 1)
        return _mean(_wait(frame, attribution, evidence) for frame, attribution in self._after(since_ns))

    def use(self, evidence: Evidence, *, since_ns: int) -> float | None:
        """What the suspect uses of the resource, in its unit, mean from `since_ns` on."""
        return _mean(_used(frame, evidence) for frame, _ in self._kept if frame.at_ns >= since_ns)

    def use_after(self, evidence: Evidence, at_ns: int) -> float | None:
        """The same over the whole intervals after a moment, the last `RECENT_S` of them."""
        since_ns = max(at_ns, self.now_ns - int(RECENT_S * 1e9) - 1)
        return _mean(_used(frame, evidence) for frame, _ in self._after(since_ns))

    def _after(self, at_ns: int) -> Iterator[tuple[Frame, Attribution]]:
        return ((frame, found) for frame, found in self._kept if frame.at_ns - frame.interval_ns > at_ns)


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _wait(frame: Frame, attribution: Attribution, evidence: Evidence) -> float | None:
    """Of CPU without what its own quota holds back; of the network and of tasks what the attribution says."""
    usage = frame.usages.get(evidence.victim)
    if usage is None:
        return None
    match evidence.resource:
        case Resource.CPU:
            return _known(usage.waiting)
        case Resource.MEMORY | Resource.IO:
            pressure = usage.pressure.get(evidence.resource.value)
            return None if pressure is None else _known(pressure.some)
        case Resource.NETWORK | Resource.TASKS:
            found = attribution.by_victim.get(evidence.victim, ())
            return max((each.wait for each in found if each.resource is evidence.resource), default=0.0)


def _used(frame: Frame, evidence: Evidence) -> float | None:
    suspect = evidence.suspect
    if suspect.kind is not SuspectKind.CONTAINER:
        found = programs_of(frame, suspect)
        return sum(each.cpu for each in found) if found and evidence.resource is Resource.CPU else None
    usage = frame.usages.get(suspect.ref) if suspect.ref is not None else None
    return None if usage is None else _USES[evidence.resource](resource_use(usage))


_USES: Final[dict[Resource, Callable[[ResourceUse], float]]] = {
    Resource.CPU: lambda use: use.cpu,
    Resource.MEMORY: lambda use: use.memory,
    Resource.IO: lambda use: sum(each.read_bytes + each.write_bytes for each in use.disks.values()),
    Resource.NETWORK: lambda use: use.sent + use.received,
    Resource.TASKS: lambda use: use.tasks,
}


def resource_use(usage: Usage) -> ResourceUse:
    """The use as the ladder reckons with it; what is not known counts as nothing."""
    disks = {
        device: DiskUse(rates.read_bytes, _known(rates.write_bytes) or 0.0, rates.read_ops, rates.write_ops)
        for device, rates in (*usage.io_devices.items(), *usage.io_stacked.items())
    }
    net = usage.net
    return ResourceUse(
        cpu=_known(usage.cpu) or 0.0,
        memory=int(_known(usage.memory) or 0),
        tasks=int(_known(usage.pids) or 0),
        disks=disks,
        sent=0.0 if isinstance(net, Missing) else net.tx_bytes * 8,
        received=0.0 if isinstance(net, Missing) else net.rx_bytes * 8,
    )


def use_of(frame: Frame | None, ref: Ref | None) -> ResourceUse:
    """The newest use of a container, nothing when it is not measured."""
    usage = frame.usages.get(ref) if frame is not None and isinstance(ref, ContainerRef) else None
    return ResourceUse() if usage is None else resource_use(usage)


def _known(value: float | Missing) -> float | None:
    return None if isinstance(value, Missing) else value
