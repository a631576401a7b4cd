"""Who fills the way out on which a victim loses packets. Pure.

There is no PSI of networks: the wait is `LOSS_FACTOR` times the share of the victim's packets that were lost or sent
again. A queue of its own that holds bytes back is its own limit. Else the way out is shared: a suspect holds the part
that its bytes are of all that the host sends and receives, the victim's own included.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from typing import Final

from collectors.attribution.cpu import ITSELF, MAX_SUSPECTS, MIN_HELD_SHARE
from collectors.attribution.evidence import Figure, Gain, Resource
from collectors.attribution.memory import OWN_LIMIT
from collectors.attribution.scan import Found, Scan
from collectors.attribution.window import WAIT_FLOOR_SHARE, FrameWindow, Key, Pair, Wait, number
from collectors.sampling.frame import NetRates, Usage
from runtime.model import ContainerRef, LimitName, Missing

LOSS_FACTOR: Final = 10  # a tenth of the packets lost stops a TCP connection nearly
MIN_LOST_PER_S_COUNT: Final = 1.0
MIN_QUEUED_BYTES: Final = 3000  # two packets: a queue that is passed through holds one now and then
QUEUED_WAIT_SHARE: Final = 0.5  # what a full queue of its own counts, where nothing is lost yet
BITS_FACTOR: Final = 8  # of a byte
MIN_CAP_BITS: Final = 1_000_000  # a second; a cap is a multiple of it
MIN_GAIN_BYTES: Final = 10_000  # a second
MIN_RUNNING_SHARE: Final = 0.05


def waits(scan: Scan, frames: FrameWindow) -> Iterator[Wait]:
    """The waits for the network in this frame."""
    victims = scan.victims[Resource.NETWORK]
    if not victims:
        return
    moved: dict[Key, float] = {
        ref: usage.net.rx_bytes + usage.net.tx_bytes
        for ref, usage in scan.moving
        if isinstance(usage.net, NetRates) and not usage.net_shared
    }
    containers = sum(moved.values())
    host = number(scan.host.net_rx) + number(scan.host.net_tx)
    total = max(host, containers)
    largest = nlargest(MAX_SUSPECTS + 1, moved.items(), key=lambda each: each[1])
    for found in victims:
        wait, queued = _wait(found)
        if wait < WAIT_FLOOR_SHARE:
            continue
        if queued:
            yield Wait(found[0], wait, {OWN_LIMIT: wait})
            continue
        holds: dict[Key, float] = {}
        rest = total
        for key, part in largest:
            if part >= MIN_HELD_SHARE * total > 0.0:
                holds[ITSELF if key == found[0] else key] = wait * part / total
                rest -= part
        yield Wait(found[0], wait, holds, wait * max(0.0, rest) / total if total else 0.0)


def _wait(found: Found) -> tuple[float, bool]:
    """What a victim loses, and whether a queue of its own holds it back."""
    usage = found[1]
    if not isinstance(usage.net, NetRates):
        return 0.0, False
    lost = number(usage.retransmits) + usage.net.drops
    packets = usage.net.rx_packets + usage.net.tx_packets
    wait = min(1.0, LOSS_FACTOR * lost / (packets + lost)) if lost >= MIN_LOST_PER_S_COUNT else 0.0
    queued = number(usage.backlog) >= MIN_QUEUED_BYTES
    return (max(wait, QUEUED_WAIT_SHARE) if queued else wait), queued


# what evidence rests on


def _sent(usage: Usage) -> object:
    return usage.net if isinstance(usage.net, Missing) else usage.net.tx_bytes


def _moved(usage: Usage) -> object:
    return usage.net if isinstance(usage.net, Missing) else usage.net.rx_bytes + usage.net.tx_bytes


def _drops(usage: Usage) -> object:
    return usage.net if isinstance(usage.net, Missing) else usage.net.drops


def _retransmits(usage: Usage) -> object:
    return usage.retransmits


def _backlog(usage: Usage) -> object:
    return usage.backlog


def about_victim(frames: FrameWindow, victim: ContainerRef, device: str) -> Iterator[Figure]:
    """What it lost, and what it moves."""
    for id, read in (
        ("retransmits_per_s", _retransmits),
        ("drops_per_s", _drops),
        ("backlog_bytes", _backlog),
        ("victim_bytes_per_s", _moved),
    ):
        value = frames.mean(victim, f"net {id}", read)
        if value is not None:
            yield Figure(id, value)


def about_suspect(frames: FrameWindow, pair: Pair) -> Iterator[Figure]:
    """What it moves."""
    if isinstance(pair.suspect, ContainerRef):
        value = frames.mean(pair.suspect, "net_bytes", _moved)
        if value is not None:
            yield Figure("suspect_bytes_per_s", value)


def shortfall(frames: FrameWindow, victim: ContainerRef, wait: float) -> float:
    """Bytes a second that a victim would move more if it lost nothing."""
    return (frames.mean(victim, "net_bytes", _moved) or 0.0) * wait / max(MIN_RUNNING_SHARE, 1.0 - wait)


def gain(frames: FrameWindow, pair: Pair) -> Gain | None:
    """What the victim would get by a rate on what the suspect sends or receives; the gain in bytes a second."""
    if not isinstance(pair.suspect, ContainerRef):
        return None
    all_of_it, sent = frames.mean(pair.suspect, "net_bytes", _moved), frames.mean(pair.suspect, "net_sent", _sent)
    if all_of_it is None or sent is None:
        return None
    used = max(sent, all_of_it - sent)
    cap = max(1, round((used - pair.shortfall) * BITS_FACTOR / MIN_CAP_BITS)) * MIN_CAP_BITS
    given = min(used - cap / BITS_FACTOR, pair.shortfall)
    limit = LimitName.NET_EGRESS if 2 * sent >= all_of_it else LimitName.NET_INGRESS
    return Gain(limit, cap, given) if given >= MIN_GAIN_BYTES else None
