"""From a victim to its culprit and back, by the evidence of the last frames. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.attribution.evidence import CONTAINABLE, Attribution, Confidence, Evidence
from runtime.model import Ref


def blamed(attribution: Attribution, victim: Ref) -> Evidence | None:
    """The strongest evidence that somebody else hurts this container; what blames nobody or was cleared is left out."""
    return next((each for each in attribution.by_victim.get(victim, ()) if _accuses(each)), None)


def hurt_by(attribution: Attribution, suspect: Ref) -> tuple[Evidence, ...]:
    """The evidence that this container hurts others, the strongest of each victim, strongest first."""
    first: dict[Ref, Evidence] = {}
    for each in attribution.against(suspect):
        if _accuses(each) and each.victim != suspect:
            first.setdefault(each.victim, each)
    return tuple(first.values())


def is_culprit_first(attribution: Attribution, ref: Ref) -> bool:
    """Of one that hurts others and is hurt: whether it hurts another more than it is hurt itself."""
    own, others = blamed(attribution, ref), hurt_by(attribution, ref)
    return bool(others) and (own is None or others[0].score > own.score)


def counterpart(attribution: Attribution, ref: Ref) -> Ref | None:
    """The culprit of a victim, or the victim that a culprit hurts most; None where there is none with a row."""
    own, others = blamed(attribution, ref), hurt_by(attribution, ref)
    if own is not None and own.suspect.ref is not None and not is_culprit_first(attribution, ref):
        return own.suspect.ref
    return others[0].victim if others else None


def victim_for(attribution: Attribution, ref: Ref) -> Ref | None:
    """The victim in whose favour something is done: the container itself, or the one that it hurts more than that."""
    if is_culprit_first(attribution, ref):
        return hurt_by(attribution, ref)[0].victim
    return ref if blamed(attribution, ref) is not None else None


def roles(attribution: Attribution) -> Mapping[Ref, bool]:
    """Who is hurt by others (False) and who hurts others (True; one that does both, too)."""
    found: dict[Ref, bool] = {}
    for victim, evidence in attribution.by_victim.items():
        for each in evidence:
            if _accuses(each) and each.suspect.ref != victim:
                found.setdefault(victim, False)
                if each.suspect.ref is not None:
                    found[each.suspect.ref] = True
    return found


def _accuses(evidence: Evidence) -> bool:
    return evidence.suspect.kind in CONTAINABLE and evidence.confidence is not Confidence.CLEARED
