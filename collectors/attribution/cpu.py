"""Who holds the CPUs for which a victim waits. Pure.

What a suspect holds of a victim's wait: the wait times the suspect's part of the use of all others, on the CPUs
that the victim may use. The wait is the share of time in which tasks of the victim were ready and none ran (PSI `full`)
less what its own quota stopped. Nobody holds more of it than it ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import nlargest
from typing import Final, NamedTuple

from collectors.attribution.evidence import Figure, Gain, Resource, Suspect, SuspectKind
from collectors.attribution.scan import MIN_USE_CORES, Found, Scan
from collectors.attribution.window import WAIT_FLOOR_SHARE, FrameWindow, Key, Pair, Wait, number
from collectors.sampling.frame import HostProgram, Usage
from runtime.model import ContainerRef, LimitName, Missing

MAX_SUSPECTS: Final = 10  # of containers, and as many of the host's programs
MIN_HELD_SHARE: Final = 0.02  # of what a victim waits for: who holds less is one of many
MIN_OTHERS_CORES: Final = 0.02  # use of all others, below which nobody can be in the way
SATURATED_SHARE: Final = 0.9  # of the CPUs that a victim may use, from which its own tasks wait for each other
MIN_STEAL_SHARE: Final = 0.02  # of the host's CPUs
MIN_STOLEN_CORES: Final = 0.05  # use of a victim, below which steal is not told
DEFAULT_WEIGHT: Final = 100  # of cpu.weight
MIN_CAP_CORES: Final = 0.1
MIN_GAIN_CORES: Final = 0.01
MIN_RUNNING_SHARE: Final = 0.05  # of a victim, for what it would use if it never waited

OWN_QUOTA: Final = Suspect(SuspectKind.OWN_QUOTA)
ITSELF: Final = Suspect(SuspectKind.ITSELF)
DIFFUSE: Final = Suspect(SuspectKind.DIFFUSE)
HYPERVISOR: Final = Suspect(SuspectKind.HYPERVISOR)


class _User(NamedTuple):
    """Somebody who uses CPU: `use` in cores on the CPUs of the table, `weight` of cpu.weight."""

    key: Key
    use: float
    weight: int | None
    idle: bool


class _Table(NamedTuple):
    """Who uses a set of CPUs: all of it in cores, those in the idle class, and the largest users."""

    total: float
    idle: float
    largest: list[_User]


def waits(scan: Scan, frames: FrameWindow) -> Iterator[Wait]:
    """The waits for CPU in this frame."""
    host = scan.host
    steal = number(host.steal)
    busy = scan.used_cores if isinstance(host.cpu, Missing) else host.cpu
    victims: Iterable[Found] = scan.victims[Resource.CPU]
    if steal >= MIN_STEAL_SHARE * host.ncpu:
        victims = scan.moving
    elif not victims:
        return
    programs = list(_outside(scan))
    tables: dict[frozenset[int] | None, _Table] = {}
    for ref, usage in victims:
        by_others, by_quota, by_itself = losses(usage, host.ncpu)
        stolen = _stolen(number(usage.cpu), steal, busy, host.ncpu)
        wait = by_others + by_quota + by_itself + stolen
        if wait < WAIT_FLOOR_SHARE:
            continue
        holds: dict[Key, float] = {}
        diffuse = 0.0
        if by_others >= WAIT_FLOOR_SHARE:
            cpus = _cpus(usage)
            table = tables.get(cpus)
            if table is None:
                table = tables[cpus] = _table(scan, programs, cpus)
            holds, diffuse = _holds_of(ref, usage, by_others, table)
        for key, share in ((OWN_QUOTA, by_quota), (ITSELF, by_itself), (HYPERVISOR, stolen)):
            if share > 0.0:
                holds[key] = holds.get(key, 0.0) + share
        if wait > 1.0:
            holds = {key: share / wait for key, share in holds.items()}
            diffuse, wait = diffuse / wait, 1.0
        yield Wait(ref, wait, holds, diffuse)


def losses(usage: Usage, ncpu: int) -> tuple[float, float, float]:
    """Shares of the interval that a container lost by others, by its own quota, and by its own tasks.

    The kernel sums throttled time over the CPUs on which the quota stopped tasks. How many those were is what the tasks
    would have used: what they did use and what was withheld.
    """
    some, full = usage.pressure.get("cpu", (Missing.UNSUPPORTED, Missing.UNSUPPORTED))
    cpu, throttled = number(usage.cpu), number(usage.throttled)
    by_quota = 0.0
    if throttled > 0.0:
        by_quota = min(1.0, throttled / min(float(max(1, ncpu)), max(1.0, throttled + cpu)))
        if isinstance(full, float):
            by_quota = min(by_quota, full)
    by_others = number(usage.waiting)
    if isinstance(full, float):
        by_others = min(by_others, max(0.0, full - by_quota))
    by_itself = 0.0
    if isinstance(some, float) and isinstance(full, float) and usage.pids != 1:
        allowed = _allowed(usage, ncpu)
        if cpu >= SATURATED_SHARE * allowed:
            by_itself = max(0.0, some - full)
    return by_others, by_quota, by_itself


def _stolen(cpu: float, steal: float, busy: float, ncpu: int) -> float:
    """The share of the interval in which the hypervisor had the CPU on which a container wanted to run."""
    if steal < MIN_STEAL_SHARE * ncpu or cpu < MIN_STOLEN_CORES or busy <= 0.0:
        return 0.0
    return min(1.0, cpu * steal / busy, steal / (busy + steal))


def _outside(scan: Scan) -> Iterator[tuple[_User, frozenset[int] | None]]:
    """The use of CPU outside of all containers: by unit or program, and the rest, which nobody has a name for."""
    programs = scan.host.programs
    found = sum(program.cpu for program in programs)
    unmanaged = found if isinstance(scan.host.cpu, Missing) else max(0.0, scan.host.cpu - scan.used_cores)
    part = min(1.0, unmanaged / found) if found > 0.0 else 0.0  # they were counted over a longer time
    units: dict[tuple[Suspect, frozenset[int], bool], float] = {}
    for program in programs:
        place = (suspect_of(program), program.cpus, program.idle_class)
        units[place] = units.get(place, 0.0) + program.cpu * part
    for (suspect, cpus, idle), use in units.items():
        yield _User(suspect, use, None, idle), cpus or None
    if unmanaged > found * part:
        yield _User(DIFFUSE, unmanaged - found * part, None, False), None


def suspect_of(program: HostProgram) -> Suspect:
    """The unit that a program of the host belongs to, or the process itself."""
    if program.unit:
        return Suspect(SuspectKind.UNIT, name=program.unit)
    return Suspect(SuspectKind.PROCESS, name=program.name, pid=program.pid)


def _table(scan: Scan, programs: list[tuple[_User, frozenset[int] | None]], cpus: frozenset[int] | None) -> _Table:
    """Who uses these CPUs; None is all of them. Someone who may use others too is taken to use all of his alike."""
    ncpu = scan.host.ncpu
    found: list[_User] = []
    for ref, usage, cpu in scan.users:
        use = cpu * _overlap(_cpus(usage), cpus, ncpu)
        if use > 0.0:
            weight = None if isinstance(usage.cpu_weight, Missing) else usage.cpu_weight
            found.append(_User(ref, use, weight, usage.cpu_idle is True))
    outside: dict[tuple[Key, bool], float] = {}
    for user, own in programs:
        place = (user.key, user.idle)
        outside[place] = outside.get(place, 0.0) + user.use * _overlap(own, cpus, ncpu)
    found += [_User(key, use, None, idle) for (key, idle), use in outside.items() if use > 0.0]
    total = sum(user.use for user in found)
    idle = sum(user.use for user in found if user.idle)
    return _Table(total, idle, nlargest(MAX_SUSPECTS + 1, found, key=lambda user: (not user.idle, user.use)))


def _cpus(usage: Usage) -> frozenset[int] | None:
    """The CPUs that a container may use; None where that is not known, which is taken for all of them."""
    return None if isinstance(usage.cpus, Missing) or not usage.cpus else usage.cpus


def _allowed(usage: Usage, ncpu: int) -> int:
    """How many those are."""
    cpus = _cpus(usage)
    return ncpu if cpus is None else min(ncpu, len(cpus))


def _overlap(own: frozenset[int] | None, cpus: frozenset[int] | None, ncpu: int) -> float:
    """The part of somebody's use that falls on these CPUs; None is all of the host's."""
    if cpus is None or own == cpus:
        return 1.0
    if own is None:
        return min(1.0, len(cpus) / max(1, ncpu))
    return len(own & cpus) / len(own)


def _holds_of(victim: ContainerRef, usage: Usage, wait: float, table: _Table) -> tuple[dict[Key, float], float]:
    """What each of the others holds of a wait, and what many small ones hold together.

    Someone with less weight gives way in that proportion. The idle class gives way to everybody who is not in it.
    """
    idle_victim = usage.cpu_idle is True
    others = table.total - (number(usage.cpu) if number(usage.cpu) >= MIN_USE_CORES else 0.0)
    if others < MIN_OTHERS_CORES:
        return {}, 0.0
    wait = min(wait, others)
    weight = DEFAULT_WEIGHT if isinstance(usage.cpu_weight, Missing) else usage.cpu_weight
    rest = others - (0.0 if idle_victim else table.idle)
    holds: dict[Key, float] = {}
    for user in table.largest:
        if (
            user.key is DIFFUSE
            or user.key == victim
            or (user.idle and not idle_victim)
            or user.use < MIN_HELD_SHARE * others
        ):
            continue
        rest -= user.use
        counted = user.use
        if user.idle is idle_victim and (user.weight or DEFAULT_WEIGHT) < weight:
            counted *= (user.weight or DEFAULT_WEIGHT) / weight
        holds[user.key] = wait * counted / others
    return holds, wait * max(0.0, rest) / others


# what evidence rests on


def _cpu(usage: Usage) -> object:
    return usage.cpu


def _throttled(usage: Usage) -> object:
    return usage.throttled


def _throttled_share(usage: Usage) -> object:
    return usage.throttled_share


def about_victim(frames: FrameWindow, victim: ContainerRef, device: str) -> Iterator[Figure]:
    """Its use in cores."""
    own = frames.mean(victim, "cpu", _cpu)
    if own is not None:
        yield Figure("victim_cores", own)


def about_suspect(frames: FrameWindow, pair: Pair) -> Iterator[Figure]:
    """Its use in cores; of an own quota the quota and what it stopped."""
    victim, key = pair.victim, pair.suspect
    usage = frames.latest.usages[victim]
    if isinstance(key, ContainerRef):
        used = frames.mean(key, "cpu", _cpu)
        if used is not None:
            yield Figure("suspect_cores", used)
    elif key.kind in (SuspectKind.UNIT, SuspectKind.PROCESS):
        programs = (each.cpu for each in frames.latest.host.programs if suspect_of(each) == key)
        yield Figure("suspect_cores", sum(programs))
    elif key is OWN_QUOTA:
        if isinstance(usage.cpu_limit, float):
            yield Figure("limit_cores", usage.cpu_limit)
        for name, read in (("throttled_cores", _throttled), ("throttled_share", _throttled_share)):
            value = frames.mean(victim, name, read)
            if value is not None:
                yield Figure(name, value)
    elif key is ITSELF:
        yield Figure("allowed_cores", float(_allowed(usage, frames.latest.host.ncpu)))
    elif key is HYPERVISOR:
        yield Figure("steal_cores", number(frames.latest.host.steal))


def shortfall(frames: FrameWindow, victim: ContainerRef, wait: float) -> float:
    """Cores that a victim would use more if it never waited, as far as its CPUs and its quota let it."""
    own = frames.mean(victim, "cpu", _cpu)
    if own is None:
        return 0.0
    usage = frames.latest.usages[victim]
    most = float(_allowed(usage, frames.latest.host.ncpu))
    if isinstance(usage.cpu_limit, float):
        most = min(most, usage.cpu_limit)
    return min(own * wait / max(MIN_RUNNING_SHARE, 1.0 - wait), most - own)


def gain(frames: FrameWindow, pair: Pair) -> Gain | None:
    """What the victim would get by a cap, which leaves to the suspect what the victim does not need; in cores."""
    if pair.shortfall < MIN_GAIN_CORES or not isinstance(pair.suspect, ContainerRef):
        return None
    used = frames.mean(pair.suspect, "cpu", _cpu)
    if used is None:
        return None
    cap = round(max(MIN_CAP_CORES, used - pair.shortfall), 2)
    given = min(used - cap, pair.shortfall)
    return Gain(LimitName.CPUS, cap, given) if given >= MIN_GAIN_CORES else None
