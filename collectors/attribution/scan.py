"""One pass over a frame: who waits for what, and who uses CPU. Most containers rest, and cost a look-up. Pure."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from collectors.attribution.evidence import Resource
from collectors.attribution.window import NS_PER_S, WAIT_FLOOR_SHARE, number
from collectors.sampling.frame import Frame, HostUsage, Pressure, Usage
from runtime.model import ContainerRef, Missing, Ref

MIN_USE_CORES: Final = 0.002  # a smaller use is nobody's
NO_PRESSURE: Final = Pressure(0.0, 0.0)
PRESSURES: Final = {Resource.CPU: "cpu", Resource.MEMORY: "memory", Resource.IO: "io"}

Found = tuple[ContainerRef, Usage]


@dataclass(slots=True)
class Scan:
    """What a frame has of this machine's containers.

    `victims` are those that may wait, by resource; `moving` all that do not rest. Groups are no part of it, as their
    members are, nor are the containers of other machines, whose host is not measured here.
    """

    frame: Frame
    seconds: float
    _: KW_ONLY
    used_cores: float = 0.0
    users: list[tuple[ContainerRef, Usage, float]] = field(default_factory=list)
    moving: list[Found] = field(default_factory=list)
    victims: dict[Resource, list[Found]] = field(default_factory=lambda: {resource: [] for resource in Resource})
    restarted: set[Ref] = field(default_factory=set)

    @property
    def host(self) -> HostUsage:
        """The machine itself."""
        return self.frame.host


class FrameScanner:
    """Makes scans; it knows which usages are at rest, as a container at rest keeps its usage, the same object."""

    def __init__(self) -> None:
        self._resting: dict[int, Usage] = {}  # by identity: to look a ref up costs three times as much

    def scan(self, frame: Frame) -> Scan:
        """Everybody of a frame."""
        scan = Scan(frame, frame.interval_ns / NS_PER_S)
        resting = self._resting
        for ref, usage in frame.usages.items():
            if id(usage) in resting or not isinstance(ref, ContainerRef) or ref.host:
                continue
            if _at_rest(usage):
                resting[id(usage)] = usage
                continue
            _sort_in(scan, ref, usage)
        if len(resting) > 2 * len(frame.usages):
            self._resting = {id(usage): usage for usage in frame.usages.values() if id(usage) in resting}
        return scan


def _at_rest(usage: Usage) -> bool:
    """Nothing moved: every counter that a detector reads stood still."""
    if usage.cpu != 0.0 or usage.waiting not in (0.0, Missing.UNSUPPORTED):
        return False
    if any(pressure != NO_PRESSURE for pressure in usage.pressure.values()):
        return False
    return not (usage.backlog and isinstance(usage.backlog, int)) and not _at_pids_limit(usage)


def _at_pids_limit(usage: Usage) -> bool:
    limit = usage.pids_limit
    return isinstance(limit, int) and isinstance(usage.pids, int) and usage.pids >= limit > 1


def _sort_in(scan: Scan, ref: ContainerRef, usage: Usage) -> None:
    if usage.cpu is Missing.NOT_SAMPLED:
        scan.restarted.add(ref)
        return
    found = (ref, usage)
    scan.moving.append(found)
    cpu = number(usage.cpu)
    scan.used_cores += cpu
    if cpu >= MIN_USE_CORES:
        scan.users.append((ref, usage, cpu))
    victims, pressures = scan.victims, usage.pressure
    for resource, name in PRESSURES.items():
        if name in pressures:
            some, full = pressures[name]
            if number(some) >= WAIT_FLOOR_SHARE or number(full) >= WAIT_FLOOR_SHARE:
                victims[resource].append(found)
                continue
        if resource is Resource.CPU and (number(usage.waiting) >= WAIT_FLOOR_SHARE or number(usage.throttled) > 0.0):
            victims[resource].append(found)
    dropped = 0.0 if isinstance(usage.net, Missing) else usage.net.drops
    if dropped > 0.0 or number(usage.retransmits) > 0.0 or number(usage.backlog) > 0.0:
        victims[Resource.NETWORK].append(found)
    if _at_pids_limit(usage):
        victims[Resource.TASKS].append(found)
