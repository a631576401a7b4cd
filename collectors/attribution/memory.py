"""Who takes the memory for which a victim waits. Pure.

A victim stalls in reclaim and by pages that it has to read again. Its own limit explains that first. Else the cause
is who takes memory: by a growing working set, or by bringing back pages that were reclaimed. Who is at its own limit
takes only from itself, and page cache that nobody uses is taken back without a stall: it is no part of a working set.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from typing import Final

from collectors.attribution.cpu import ITSELF, MAX_SUSPECTS, MIN_HELD_SHARE
from collectors.attribution.evidence import Figure, Gain, Resource, Suspect, SuspectKind
from collectors.attribution.scan import Scan
from collectors.attribution.window import NS_PER_S, FrameWindow, Key, Pair, Wait, number
from collectors.sampling.frame import Usage
from runtime.model import ContainerRef, LimitName, Missing

PAGE_BYTES: Final = 4096
AT_LIMIT_SHARE: Final = 0.95  # of its limit, from which a container reclaims its own memory
MIN_TAKEN_BYTES: Final = 256 * 1024  # a second: less takes nothing from anybody
MIN_CAP_BYTES: Final = 16 << 20
MIN_GAIN_BYTES: Final = 1 << 20  # a cap is a multiple of it

OWN_LIMIT: Final = Suspect(SuspectKind.OWN_LIMIT)


def waits(scan: Scan, frames: FrameWindow) -> Iterator[Wait]:
    """The waits for memory in this frame."""
    victims = scan.victims[Resource.MEMORY]
    if not victims:
        return
    takers = {ref: taken for ref, usage in scan.moving if (taken := _taken(frames, ref, usage)) >= MIN_TAKEN_BYTES}
    total = sum(takers.values())
    largest = nlargest(MAX_SUSPECTS + 1, takers.items(), key=lambda each: each[1])
    for ref, usage in victims:
        wait = number(usage.pressure["memory"].some)
        if at_limit(usage):
            yield Wait(ref, wait, {OWN_LIMIT: wait})
            continue
        holds: dict[Key, float] = {}
        rest = total
        for other, taken in largest:
            if taken >= MIN_HELD_SHARE * total:
                holds[ITSELF if other == ref else other] = wait * taken / total
                rest -= taken
        yield Wait(ref, wait, holds, wait * max(0.0, rest) / total if total else 0.0)


def at_limit(usage: Usage) -> bool:
    """Its own limit makes it reclaim: what it has beside unused page cache leaves no room below the limit."""
    limit = usage.memory_limit
    if not isinstance(limit, int):
        return False
    used = usage.memory if isinstance(usage.memory, int) else usage.working_set
    return isinstance(used, int) and used >= AT_LIMIT_SHARE * limit


def _taken(frames: FrameWindow, ref: ContainerRef, usage: Usage) -> float:
    """Bytes a second that it takes from others: new ones, and those that it brings back."""
    if at_limit(usage):
        return 0.0
    return max(0.0, frames.growth(ref, _working_set)) + PAGE_BYTES * number(usage.refaults)


# what evidence rests on


def _working_set(usage: Usage) -> object:
    return usage.working_set


def _refaults(usage: Usage) -> object:
    return usage.refaults


def _major_faults(usage: Usage) -> object:
    return usage.major_faults


def about_victim(frames: FrameWindow, victim: ContainerRef, device: str) -> Iterator[Figure]:
    """What it had to read again."""
    for name, read in (("refaults_per_s", _refaults), ("major_faults_per_s", _major_faults)):
        value = frames.mean(victim, name, read)
        if value is not None:
            yield Figure(name, value)


def about_suspect(frames: FrameWindow, pair: Pair) -> Iterator[Figure]:
    """How its memory grows; of an own limit the limit."""
    victim, key = pair.victim, pair.suspect
    usage = frames.latest.usages[victim]
    if key is OWN_LIMIT:
        if isinstance(usage.memory_limit, int):
            yield Figure("limit_bytes", float(usage.memory_limit))
        if isinstance(usage.memory, int):
            yield Figure("victim_bytes", float(usage.memory))
    elif isinstance(key, ContainerRef):
        other = frames.latest.usages[key].working_set
        if not isinstance(other, Missing):
            yield Figure("suspect_bytes", float(other))
        yield Figure("suspect_growth_bytes_per_s", frames.growth(key, _working_set))


def shortfall(frames: FrameWindow, victim: ContainerRef, wait: float) -> float:
    """Bytes that a victim had to read again in the window."""
    refaults = frames.mean(victim, "refaults_per_s", _refaults)
    return (refaults or 0.0) * PAGE_BYTES * (frames.latest.at_ns - frames.frames[0].at_ns) / NS_PER_S


def gain(frames: FrameWindow, pair: Pair) -> Gain | None:
    """What the victim would get by a limit that takes back what the suspect has grown in the window."""
    key = pair.suspect
    if not isinstance(key, ContainerRef):
        return None
    first, now = frames.first(key, _working_set), frames.latest.usages[key].working_set
    if first is None or isinstance(now, Missing):
        return None
    cap = max(MIN_CAP_BYTES, -(-int(min(first[1], now)) // MIN_GAIN_BYTES) * MIN_GAIN_BYTES)
    given = min(float(now - cap), pair.shortfall)
    return Gain(LimitName.MEMORY, cap, given) if given >= MIN_GAIN_BYTES else None
