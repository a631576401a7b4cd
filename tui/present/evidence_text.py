"""Evidence in one sentence: how long a victim waits for what, who holds how much of that, and what a cap would give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from collectors.attribution.evidence import Confidence, Evidence, Gain, Resource, SuspectKind
from runtime.model import Ref
from tui.present import format as fmt
from tui.present.limit_text import LABELS, format_limit
from tui.present.messages import Message, say

_RESOURCES: Final[Mapping[Resource, Message]] = {
    Resource.CPU: Message.RESOURCE_CPU,
    Resource.MEMORY: Message.RESOURCE_MEMORY,
    Resource.IO: Message.RESOURCE_IO,
    Resource.NETWORK: Message.RESOURCE_NETWORK,
    Resource.TASKS: Message.RESOURCE_TASKS,
}
_NOBODY: Final[Mapping[SuspectKind, Message]] = {
    SuspectKind.OWN_QUOTA: Message.BY_OWN_QUOTA,
    SuspectKind.OWN_LIMIT: Message.BY_OWN_LIMIT,
    SuspectKind.ITSELF: Message.BY_ITSELF,
    SuspectKind.DIFFUSE: Message.BY_MANY,
    SuspectKind.HYPERVISOR: Message.BY_HYPERVISOR,
    SuspectKind.INVISIBLE: Message.BY_NOTHING_VISIBLE,
}
_SURE: Final[Mapping[Confidence, Message]] = {
    Confidence.CONFIRMED: Message.SURE_BY_PROBE,
    Confidence.CLEARED: Message.CLEARED_BY_PROBE,
    Confidence.SUSPECTED: Message.NOT_SURE,
}


def sentence(evidence: Evidence, names: Callable[[Ref], str]) -> str:
    """One piece of evidence; its parts are separated by "; ". `names` gives the name of a container."""
    waits = say(
        Message.WAITS_FOR,
        victim=fmt.clean(names(evidence.victim)),
        share=fmt.share(evidence.wait),
        resource=say(_RESOURCES[evidence.resource]),
    )
    if evidence.suspect.kind in _NOBODY:
        return "; ".join((waits, say(_NOBODY[evidence.suspect.kind])))
    suspect = evidence.suspect
    who = fmt.clean(names(suspect.ref) if suspect.ref is not None else suspect.name)
    parts = [waits, say(Message.HOLDS, suspect=who, share=fmt.share(evidence.share))]
    if evidence.confidence in _SURE:
        parts.append(say(_SURE[evidence.confidence]))
    if evidence.gain is not None:
        parts.append(_gain(evidence.gain, who))
    return "; ".join(parts)


def _gain(gain: Gain, who: str) -> str:
    unit = {"cpus": f"{gain.gain:.1f} cores"}.get(gain.limit.value, fmt.size(gain.gain))
    limit = f"{LABELS.get(gain.limit, gain.limit.value)} {format_limit(gain.limit, gain.value)}"
    return say(Message.WOULD_GIVE, suspect=who, limit=limit, gain=unit)
