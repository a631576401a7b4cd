"""Evidence of attribution made by hand, for tests of what shows it and acts on it."""

from __future__ import annotations

from typing import Any

from collectors.attribution.evidence import Attribution, Confidence, Evidence, Resource, Suspect, SuspectKind
from runtime.model import ContainerRef, Ref

API = ContainerRef("fake", "api")
BATCH = ContainerRef("fake", "batch")
WEB = ContainerRef("fake", "web")


def evidence(victim: Ref, suspect: Ref | Suspect, score: float, **more: Any) -> Evidence:
    """Evidence on CPU; a ref as suspect is a container. The wait is 0.8 of the time if nothing else is said."""
    who = suspect if isinstance(suspect, Suspect) else Suspect(SuspectKind.CONTAINER, suspect)
    known: dict[str, Any] = {"wait": 0.8, "confidence": Confidence.STRONG, "since_ns": 1}
    known |= more
    resource = known.pop("resource", Resource.CPU)
    return Evidence(victim, who, resource, score, share=score / known["wait"], **known)


def attributed(*found: Evidence) -> Attribution:
    """All of them at one frame, by victim, the strongest first."""
    by_victim: dict[Ref, tuple[Evidence, ...]] = {}
    for each in sorted(found, key=lambda each: -each.score):
        by_victim[each.victim] = (*by_victim.get(each.victim, ()), each)
    return Attribution(1, by_victim)
