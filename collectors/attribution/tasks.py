"""Who makes the tasks for which the host, or the victim's own limit, has no room. Pure.

A host that is out of tasks refuses a fork to everybody at once. The wait is how far its table is filled, from
`FILLED_SHARE` on, and earlier where it will be full within `SOON_S`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest
from typing import Final

from collectors.attribution.cpu import MAX_SUSPECTS, MIN_HELD_SHARE
from collectors.attribution.evidence import Figure, Gain, Resource
from collectors.attribution.memory import OWN_LIMIT
from collectors.attribution.scan import Found, Scan
from collectors.attribution.window import NS_PER_S, FrameWindow, Key, Pair, Wait, number
from collectors.sampling.frame import Frame, Usage
from runtime.model import ContainerRef, LimitName, Missing

FILLED_SHARE: Final = 0.7  # of the tasks that the host can have
SOON_S: Final = 30.0
MIN_GROWTH_PER_S_PIDS: Final = 5.0  # of one container, from which it is one that makes tasks


def waits(scan: Scan, frames: FrameWindow) -> Iterator[Wait]:
    """The containers at their own limit, and if the host is nearly out of tasks, everybody who makes none."""
    at_own = scan.victims[Resource.TASKS]
    for ref, _ in at_own:
        yield Wait(ref, 1.0, {OWN_LIMIT: 1.0})
    filled = _filled(frames)
    if filled <= 0.0:
        return
    own = {ref for ref, _ in at_own}
    everybody = [
        (ref, usage) for ref, usage in scan.frame.usages.items() if isinstance(ref, ContainerRef) and not ref.host
    ]
    makers, total = _makers(scan, frames, everybody)
    largest = nlargest(MAX_SUSPECTS, makers.items(), key=lambda each: each[1])
    named: dict[Key, float] = {ref: filled * pids / total for ref, pids in largest if pids >= MIN_HELD_SHARE * total}
    rest = max(0.0, filled - sum(named.values()))
    for ref, _ in everybody:
        if ref not in own and ref not in named:
            yield Wait(ref, filled, named, rest)


def _makers(scan: Scan, frames: FrameWindow, everybody: Sequence[Found]) -> tuple[dict[ContainerRef, float], float]:
    """Tasks by container, and of all that are the cause, the host's own processes included.

    Those that make tasks are; who has many that were there before is none. When nobody adds to them any more, it is who
    has most.
    """
    growth = {ref: frames.growth(ref, _pids) for ref, _ in everybody}
    makers = {ref: number(usage.pids) for ref, usage in everybody if growth[ref] >= MIN_GROWTH_PER_S_PIDS}
    if makers:
        span_s = (frames.latest.at_ns - frames.frames[0].at_ns) / NS_PER_S
        by_host = max(0.0, _growth(frames) - sum(growth[ref] for ref in makers)) * span_s
        return makers, sum(makers.values()) + by_host
    pids = {ref: number(usage.pids) for ref, usage in everybody}
    return pids, max(number(scan.host.tasks), sum(pids.values()))


def _filled(frames: FrameWindow) -> float:
    """How far the host's tasks are used up, 0.0 where that is no danger."""
    host = frames.latest.host
    tasks, limit = number(host.tasks), number(host.tasks_limit)
    if tasks <= 0.0 or limit <= 0.0:
        return 0.0
    if tasks >= FILLED_SHARE * limit:
        return min(1.0, tasks / limit)
    growth = _growth(frames)
    return 1.0 if growth > 0.0 and (limit - tasks) / growth <= SOON_S else 0.0


def _growth(frames: FrameWindow) -> float:
    """Tasks a second by which the host has more, over the window."""
    first: Frame | None = next((frame for frame in frames.frames if isinstance(frame.host.tasks, int)), None)
    if first is None or first.at_ns >= frames.latest.at_ns:
        return 0.0
    seconds = (frames.latest.at_ns - first.at_ns) / NS_PER_S
    return (number(frames.latest.host.tasks) - number(first.host.tasks)) / seconds


# what evidence rests on


def _pids(usage: Usage) -> object:
    return usage.pids


def about_victim(frames: FrameWindow, victim: ContainerRef, device: str) -> Iterator[Figure]:
    """How many tasks it has."""
    pids = frames.latest.usages[victim].pids
    if not isinstance(pids, Missing):
        yield Figure("victim_tasks", float(pids))


def about_suspect(frames: FrameWindow, pair: Pair) -> Iterator[Figure]:
    """How many tasks there are, and can be."""
    victim, key = pair.victim, pair.suspect
    if key is OWN_LIMIT:
        usage = frames.latest.usages[victim]
        if isinstance(usage.pids_limit, int):
            yield Figure("limit_tasks", float(usage.pids_limit))
        return
    host = frames.latest.host
    values = [("host_tasks", host.tasks), ("host_limit_tasks", host.tasks_limit), ("forks_per_s", host.forks)]
    if isinstance(key, ContainerRef):
        values.append(
            ("suspect_tasks", frames.latest.usages[key].pids if key in frames.latest.usages else Missing.GONE)
        )
        values.append(("suspect_growth_tasks_per_s", frames.growth(key, _pids)))
    yield from (Figure(name, float(value)) for name, value in values if not isinstance(value, Missing))


def shortfall(frames: FrameWindow, victim: ContainerRef, wait: float) -> float:
    """Tasks that a victim cannot make: as many as there is room for are of use to it."""
    return number(frames.latest.host.tasks_limit)


def gain(frames: FrameWindow, pair: Pair) -> Gain | None:
    """A limit at the present count: what the suspect cannot make in the time of a window any more."""
    key = pair.suspect
    if not isinstance(key, ContainerRef):
        return None
    pids = frames.latest.usages[key].pids
    first = frames.first(key, _pids)
    if isinstance(pids, Missing) or first is None or pids - first[1] < 1:
        return None
    return Gain(LimitName.PIDS, pids, pids - first[1])
