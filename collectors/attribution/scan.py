"""One pass over a frame: who waits for what, and who uses CPU. Most containers rest, and cost a look-up. Pure."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from collectors.attribution.window import NS_PER_S, WAIT_FLOOR_SHARE, number
from collectors.sampling.frame import Frame, HostUsage, IoRates, Pressure, Usage
from runtime.model import ContainerRef, Missing, Ref

MIN_USE_CORES: Final = 0.002  # a smaller use is nobody's
PAGE_BYTES: Final = 4096
NO_PRESSURE: Final = Pressure(0.0, 0.0)

Found = tuple[ContainerRef, Usage]


@dataclass(slots=True)
class Scan:
    """What a frame has of this machine's containers.

    The victims of a resource are those that may wait for it; `moving` has all that do not rest. Groups are no part of
    it, as their members are, nor are the containers of other machines, whose host is not measured here.
    """

    frame: Frame
    seconds: float
    _: KW_ONLY
    used_cores: float = 0.0
    users: list[tuple[ContainerRef, Usage, float]] = field(default_factory=list)
    moving: list[Found] = field(default_factory=list)
    cpu_victims: list[Found] = field(default_factory=list)
    memory_victims: list[Found] = field(default_factory=list)
    io_victims: list[Found] = field(default_factory=list)
    network_victims: list[Found] = field(default_factory=list)
    tasks_victims: list[Found] = field(default_factory=list)
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


def memory_wait(usage: Usage) -> float:
    """The share of time that a container loses for want of memory.

    PSI counts a wait for a page that was read again only where the page had been in frequent use. Any other is a wait
    for the disk, of which the part is counted here that reads pages again.
    """
    pressure = usage.pressure
    some = number(pressure["memory"].some) if "memory" in pressure else 0.0
    again = PAGE_BYTES * number(usage.refaults)
    if again <= 0.0 or "io" not in pressure or not isinstance(usage.io, IoRates):
        return some
    return max(some, number(pressure["io"].some) * min(1.0, again / max(again, usage.io.read_bytes)))


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
    pressures = usage.pressure
    if _presses(pressures.get("cpu")) or number(usage.waiting) >= WAIT_FLOOR_SHARE or number(usage.throttled) > 0.0:
        scan.cpu_victims.append(found)
    if _presses(pressures.get("memory")) or memory_wait(usage) >= WAIT_FLOOR_SHARE:
        scan.memory_victims.append(found)
    if _presses(pressures.get("io")):
        scan.io_victims.append(found)
    dropped = 0.0 if isinstance(usage.net, Missing) else usage.net.drops
    if dropped > 0.0 or number(usage.retransmits) > 0.0 or number(usage.backlog) > 0.0:
        scan.network_victims.append(found)
    if _at_pids_limit(usage):
        scan.tasks_victims.append(found)


def _presses(pressure: Pressure | None) -> bool:
    if pressure is None or pressure == NO_PRESSURE:
        return False
    return number(pressure.some) >= WAIT_FLOOR_SHARE or number(pressure.full) >= WAIT_FLOOR_SHARE
