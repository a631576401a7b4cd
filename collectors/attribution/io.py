"""Who keeps the disk busy for which a victim waits. Pure.

Everybody waits for his own requests too, so what a suspect holds of a wait is its part of all that the device does, the
victim's own part included. A request counts as its bytes and `OPERATION_BYTES`. Time that a victim waits while its
device has nothing to do is that of a limit above the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import nlargest
from typing import Final

from collectors.attribution.cpu import DIFFUSE, ITSELF, MAX_SUSPECTS, MIN_HELD_SHARE, suspect_of
from collectors.attribution.evidence import Figure, Gain, Resource
from collectors.attribution.memory import OWN_LIMIT
from collectors.attribution.scan import Scan
from collectors.attribution.window import FrameWindow, Key, Pair, Wait, number
from collectors.sampling.frame import HostUsage, IoRates, Usage
from runtime.model import ContainerRef, DeviceRate, LimitName, Missing

OPERATION_BYTES: Final = 64 * 1024  # what a device could transfer in the time that a request costs beside its bytes
MIN_IDLE_SHARE: Final = 0.3  # of the interval: waiting so much longer than the device is busy is due to a limit
DEFAULT_WEIGHT: Final = 100  # of io.weight
MIN_CAP_BYTES: Final = 1 << 20  # a second; a cap is a multiple of it
MIN_GAIN_BYTES: Final = 64 * 1024  # a second
MIN_RUNNING_SHARE: Final = 0.05

Costs = dict[str, dict[Key, float]]


def waits(scan: Scan, frames: FrameWindow) -> Iterator[Wait]:
    """The waits for disks in this frame."""
    victims = scan.victims[Resource.IO]
    if not victims:
        return
    costs = _costs(scan)
    for ref, usage in victims:
        some = number(usage.pressure["io"].some)
        device = _device(ref, usage, costs, scan.host)
        holds: dict[Key, float] = {}
        wait = some
        busy = scan.host.disks[device].busy if device in scan.host.disks else Missing.UNSUPPORTED
        if isinstance(busy, float) and some - busy >= MIN_IDLE_SHARE:
            holds[OWN_LIMIT] = some - busy
            wait = busy
        diffuse = _hold(holds, ref, usage, wait, scan=scan, costs=costs[device]) if device else 0.0
        yield Wait(ref, some, holds, diffuse, device)


def _hold(
    holds: dict[Key, float], victim: ContainerRef, usage: Usage, wait: float, *, scan: Scan, costs: dict[Key, float]
) -> float:
    """Put in what each user of a device holds of a wait; what many small ones hold together is returned.

    Who has less weight gives way in that proportion.
    """
    total = sum(costs.values())
    if total <= 0.0:
        return 0.0
    rest = total
    weight = DEFAULT_WEIGHT if isinstance(usage.io_weight, Missing) else usage.io_weight
    for key, cost in nlargest(MAX_SUSPECTS + 1, costs.items(), key=lambda each: each[1]):
        if key is DIFFUSE or cost < MIN_HELD_SHARE * total:
            continue
        rest -= cost
        counted = cost
        if isinstance(key, ContainerRef) and key != victim:
            own = scan.frame.usages[key].io_weight
            if not isinstance(own, Missing) and own < weight:
                counted *= own / weight
        holds[ITSELF if key == victim else key] = wait * counted / total
    return wait * max(0.0, rest) / total


def cost(rates: IoRates) -> float:
    """What requests cost a device, in bytes a second that it could have transferred."""
    return rates.read_bytes + number(rates.write_bytes) + OPERATION_BYTES * (rates.read_ops + rates.write_ops)


def _costs(scan: Scan) -> Costs:
    """By device, what each container and program of the host costs it.

    Of writes by way of the page cache on cgroup v1, and of programs, the device is not known: it is the busiest.
    """
    found: Costs = defaultdict(dict)
    unplaced: dict[Key, float] = {}
    bytes_of_containers = 0.0
    for ref, usage in scan.moving:
        for devices in (usage.io_devices, usage.io_stacked):
            for device, rates in devices.items():
                if (caused := cost(rates)) > 0.0:
                    found[device][ref] = caused
        if isinstance(usage.io, IoRates):
            written = number(usage.io.write_bytes)
            bytes_of_containers += usage.io.read_bytes + written
            hidden = written - sum(number(rates.write_bytes) for rates in usage.io_devices.values())
            if hidden > MIN_GAIN_BYTES:
                unplaced[ref] = hidden
    for program in scan.host.programs:
        if (moved := number(program.read_bytes) + number(program.write_bytes)) > 0.0:
            suspect = suspect_of(program)
            unplaced[suspect] = unplaced.get(suspect, 0.0) + moved
            bytes_of_containers += moved
    host_bytes = number(scan.host.io_read) + number(scan.host.io_write)
    if host_bytes > bytes_of_containers:
        unplaced[DIFFUSE] = host_bytes - bytes_of_containers
    busiest = _busiest(scan.host, found)
    if busiest:
        for key, moved in unplaced.items():
            found[busiest][key] = found[busiest].get(key, 0.0) + moved
    return found


def _busiest(host: HostUsage, costs: Costs) -> str:
    by_time = {device: number(latency.busy) for device, latency in host.disks.items()}
    if any(by_time.values()):
        return max(by_time, key=lambda device: (by_time[device], device in costs))
    return max(costs, key=lambda device: sum(costs[device].values()), default="")


def _device(victim: ContainerRef, usage: Usage, costs: Costs, host: HostUsage) -> str:
    """The device that a victim waits for: of those that it uses the one that it uses most, else the busiest."""
    used = {
        device: (cost(rates), not stacked)
        for stacked, devices in ((False, usage.io_devices), (True, usage.io_stacked))
        for device, rates in devices.items()
    }
    device = max(used, key=lambda name: used[name], default="")
    if not device or used[device][0] <= 0.0:
        device = _busiest(host, costs)
    return device if device in costs or device in host.disks else ""


# what evidence rests on


def _moved(usage: Usage) -> object:
    return usage.io if isinstance(usage.io, Missing) else usage.io.read_bytes + number(usage.io.write_bytes)


def _operations(usage: Usage) -> object:
    return usage.io if isinstance(usage.io, Missing) else usage.io.read_ops + usage.io.write_ops


def _read(usage: Usage) -> object:
    return usage.io if isinstance(usage.io, Missing) else usage.io.read_bytes


def _written(usage: Usage) -> object:
    return usage.io if isinstance(usage.io, Missing) else usage.io.write_bytes


def about_victim(frames: FrameWindow, victim: ContainerRef, device: str) -> Iterator[Figure]:
    """What it moves, and how long its disk takes for a request."""
    moved = frames.mean(victim, "io_bytes", _moved)
    if moved is not None:
        yield Figure("victim_bytes_per_s", moved)
    latency = frames.latest.host.disks.get(device)
    if latency is not None:
        times = [("read_ms", latency.read_ms), ("write_ms", latency.write_ms), ("busy_share", latency.busy)]
        yield from (Figure(name, value) for name, value in times if isinstance(value, float))


def about_suspect(frames: FrameWindow, pair: Pair) -> Iterator[Figure]:
    """What it moves."""
    if not isinstance(pair.suspect, ContainerRef):
        return
    for id, name, read in (
        ("suspect_bytes_per_s", "io_bytes", _moved),
        ("suspect_operations_per_s", "io_operations", _operations),
    ):
        value = frames.mean(pair.suspect, name, read)
        if value is not None:
            yield Figure(id, value)


def shortfall(frames: FrameWindow, victim: ContainerRef, wait: float) -> float:
    """Bytes a second that a victim would move more if it never waited."""
    return (frames.mean(victim, "io_bytes", _moved) or 0.0) * wait / max(MIN_RUNNING_SHARE, 1.0 - wait)


def gain(frames: FrameWindow, pair: Pair) -> Gain | None:
    """What the victim would get by a rate on the suspect, in the direction in which it moves more; bytes a second."""
    if not isinstance(pair.suspect, ContainerRef) or not pair.device:
        return None
    read = frames.mean(pair.suspect, "io_read", _read) or 0.0
    written = frames.mean(pair.suspect, "io_written", _written) or 0.0
    used = max(read, written)
    cap = max(1, round((used - pair.shortfall) / MIN_CAP_BYTES)) * MIN_CAP_BYTES
    given = min(used - cap, pair.shortfall)
    limit = LimitName.IO_READ_BPS if read >= written else LimitName.IO_WRITE_BPS
    return Gain(limit, (DeviceRate(pair.device, cap),), given) if given >= MIN_GAIN_BYTES else None
