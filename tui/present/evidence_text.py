"""Evidence in one sentence: what a victim loses, who holds how much of it, and what a cap would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from collectors.attribution.evidence import Confidence, Evidence, Gain, Resource, Suspect, SuspectKind
from runtime.kernel import block
from runtime.model import DeviceRate, LimitName, Ref
from tui.present import format as fmt
from tui.present.limit_text import format_limit, short
from tui.present.messages import Message, say

Names = Callable[[Ref], str]

HARMS: Final = {
    Resource.CPU: Message.WHY_CPU,
    Resource.MEMORY: Message.WHY_MEMORY,
    Resource.IO: Message.WHY_IO,
    Resource.NETWORK: Message.WHY_NETWORK,
    Resource.TASKS: Message.WHY_TASKS,
}
"""What a victim loses."""
PARTS: Final = {
    Resource.CPU: Message.WHY_HOLDS,
    Resource.MEMORY: Message.WHY_TAKES_MEMORY,
    Resource.IO: Message.WHY_KEEPS_BUSY,
    Resource.NETWORK: Message.WHY_FILLS_NETWORK,
    Resource.TASKS: Message.WHY_MAKES_TASKS,
}
"""What a suspect that can be contained does."""
OWN: Final = {
    Resource.CPU: Message.WHY_OWN_THREADS,
    Resource.MEMORY: Message.WHY_OWN_GROWTH,
    Resource.IO: Message.WHY_OWN_REQUESTS,
    Resource.NETWORK: Message.WHY_OWN_TRAFFIC,
    Resource.TASKS: Message.WHY_MAKES_TASKS,
}
"""What a victim does to itself."""
GAINS: Final = {
    Resource.CPU: Message.WHY_GAIN_CPU,
    Resource.MEMORY: Message.WHY_GAIN_MEMORY,
    Resource.IO: Message.WHY_GAIN_RATE,
    Resource.NETWORK: Message.WHY_GAIN_RATE,
    Resource.TASKS: Message.WHY_GAIN_TASKS,
}


def sentence(evidence: Evidence, names: Names) -> str:
    """One sentence without a full stop; `names` has the name of every container.

    Such as "api waits 79% of the time for CPU; batch holds 63% of what it waits for; capping batch at 0.4 would give
    it about 0.6 cores".
    """
    return "; ".join(_clauses(evidence, names))


def suspect_name(suspect: Suspect, names: Names) -> str:
    """A container's name, a unit's, or a program's with its pid; for the kinds that are nobody, the kind's own word."""
    if suspect.ref is not None:
        return names(suspect.ref)
    if suspect.kind is SuspectKind.PROCESS and suspect.pid is not None:
        return say(Message.WHY_PROCESS, name=fmt.clean(suspect.name), pid=suspect.pid)
    return fmt.clean(suspect.name) or suspect.kind.value


def _clauses(evidence: Evidence, names: Names) -> Iterator[str]:
    victim, held = names(evidence.victim), fmt.share(evidence.score)
    figures = {figure.id: figure.value for figure in evidence.figures}
    match evidence.suspect.kind:
        case SuspectKind.CONTAINER | SuspectKind.UNIT | SuspectKind.PROCESS:
            suspect = suspect_name(evidence.suspect, names)
            yield _harm(evidence, victim)
            yield say(PARTS[evidence.resource], suspect=suspect, share=fmt.share(evidence.share))
            if evidence.confidence is Confidence.CLEARED:
                yield say(Message.WHY_CLEARED, suspect=suspect)
                return
            if evidence.confidence is Confidence.CONFIRMED:
                yield say(Message.WHY_CONFIRMED)
            if evidence.gain is not None:
                yield _gain(evidence.resource, evidence.gain, suspect)
        case SuspectKind.OWN_QUOTA:
            limit = figures.get("limit_cores")
            of_limit = "" if limit is None else say(Message.WHY_OF_CORES, cores=f"{limit:g}")
            yield say(Message.WHY_OWN_QUOTA, victim=victim, wait=held, limit=of_limit)
        case SuspectKind.OWN_LIMIT:
            yield from _own_limit(evidence, victim, figures)
        case SuspectKind.ITSELF:
            yield _harm(evidence, victim)
            cpus = fmt.count(figures.get("allowed_cores", 0.0))
            yield say(OWN[evidence.resource], suspect=victim, share=fmt.share(evidence.share), cpus=cpus)
        case SuspectKind.DIFFUSE:
            yield _harm(evidence, victim)
            yield say(Message.WHY_MANY, share=fmt.share(evidence.share))
        case SuspectKind.HYPERVISOR:
            cores = figures.get("steal_cores")
            steal = "" if cores is None else say(Message.WHY_STEAL, cores=fmt.cores(cores))
            yield say(Message.WHY_HYPERVISOR, victim=victim, wait=held, steal=steal)
        case SuspectKind.INVISIBLE:
            yield say(Message.WHY_INVISIBLE, victim=victim)


def _harm(evidence: Evidence, victim: str) -> str:
    device = short(block.name(evidence.device)) if evidence.device else ""
    disk = say(Message.WHY_DISK, device=device) if device else say(Message.WHY_A_DISK)
    return say(HARMS[evidence.resource], victim=victim, wait=fmt.share(evidence.wait), disk=disk)


def _own_limit(evidence: Evidence, victim: str, figures: dict[str, float]) -> Iterator[str]:
    match evidence.resource:
        case Resource.NETWORK:
            queued = figures.get("backlog_bytes")
            text = say(Message.WHY_QUEUED, size=fmt.size(queued)) if queued else ""
            yield say(Message.WHY_OWN_NETWORK, victim=victim, queued=text)
        case Resource.TASKS:
            count = figures.get("limit_tasks")
            text = "" if count is None else say(Message.WHY_OF_TASKS, count=fmt.count(count))
            yield say(Message.WHY_OWN_TASKS, victim=victim, limit=text)
        case Resource.IO:
            yield _harm(evidence, victim)
            yield say(Message.WHY_OWN_IO)
        case _:
            size = figures.get("limit_bytes")
            text = "" if size is None else say(Message.WHY_OF_BYTES, size=fmt.size(size))
            yield _harm(evidence, victim)
            yield say(Message.WHY_OWN_MEMORY, limit=text)


def _gain(resource: Resource, gain: Gain, suspect: str) -> str:
    value = gain.value
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], DeviceRate):
        rate = value[0].rate
        cap = fmt.rate(rate) if isinstance(rate, int) else str(rate)
    elif gain.limit in (LimitName.NET_EGRESS, LimitName.NET_INGRESS) and isinstance(value, int):
        cap = fmt.bits(value / 8)
    else:
        cap = format_limit(gain.limit, value)
    if resource is Resource.CPU:
        amount = f"{gain.gain:.2g}"
    elif resource is Resource.NETWORK:
        amount = fmt.bits(gain.gain)
    else:
        amount = fmt.size(gain.gain)
    return say(GAINS[resource], suspect=suspect, cap=cap, gain=amount)
