"""The next rung for a victim: who is to be contained, and by what, or why nobody can be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from collectors.attribution.evidence import CONTAINABLE, Attribution, Confidence, Evidence, SuspectKind
from runtime.containment.ladder import LADDERS, next_rung
from runtime.containment.rung import RungId, SkippedRung, Whom
from runtime.errors import ConflictError, NotFoundError, RefusedError, UnsupportedError
from runtime.model import Ref
from tui.core.containment.parties import PartyReader
from tui.core.containment.readings import Readings
from tui.core.containment.state import PlannedRung
from tui.core.containment.track import Track, TrackKey, key_of, protecting
from tui.core.hosts.frames import LOCAL
from tui.core.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class RungPlanner:
    """Plans rungs; changes nothing.

    Attributes:
        attribution: gives the newest.
        tracks: what was done so far, the newest last.
        is_acquitted: whether containing that suspect was found to be useless a moment ago.
    """

    parties: PartyReader
    readings: Readings
    attribution: Callable[[], Attribution]
    tracks: Mapping[TrackKey, Track]
    is_acquitted: Callable[[TrackKey], bool]
    read_only: bool

    def subject(self, ref: Ref) -> Subject:
        """A container or group; raises `NotFoundError` when it is gone."""
        subject = self.parties.find(ref)
        if subject is None:
            raise NotFoundError(f"look at {ref.short}", detail="it is gone")
        return subject

    def permit(self, title: str, ref: Ref) -> None:
        """Raise the reason why nothing may be changed for this victim."""
        if self.read_only:
            raise RefusedError(title, detail="started with --read-only")
        if ref.host != LOCAL:
            raise UnsupportedError(title, detail="leases are kept on this machine only")

    def of(self, victim: Ref) -> Sequence[Track]:
        """What was done for a victim, the newest last."""
        return [track for key, track in self.tracks.items() if key.victim == victim]

    async def propose(self, victim: Ref, evidence: Evidence | None, rung: RungId | None) -> PlannedRung:
        """The next rung; `evidence` chooses the suspect and `rung` the rung. Raises the reason why there is none."""
        title = f"contain who hurts {self.subject(victim).name}"
        self.permit(title, victim)
        chosen = evidence or self.suspected(title, victim)
        track = self.tracks.get(key_of(chosen))
        first_use = track.first_use if track is not None and track.rungs else None
        chosen = track.evidence if track is not None and track.rungs else chosen
        taken = [*(track.taken if track is not None else ()), *protecting(self.of(victim))]
        failed = dict(track.failed) if track is not None else {}
        if rung is not None:
            failed = {each.id: "not wanted" for each in LADDERS[chosen.resource] if each.id != rung}
            taken = []
        step = next_rung(await self.parties.case(chosen, first_use, self.readings), taken, failed)
        if step.rung is None:
            raise RefusedError(title, detail=_why_none(step.skipped, rung))
        target = victim if step.rung.whom is Whom.VICTIM else chosen.suspect.ref
        return PlannedRung(
            victim=victim,
            evidence=chosen,
            rung=step.rung,
            target=target,
            target_name=self.subject(target).name if target is not None else chosen.suspect.name,
            change=step.change,
            skipped=() if rung is not None else step.skipped,
        )

    def suspected(self, title: str, victim: Ref) -> Evidence:
        """The evidence to act upon: the strongest against somebody who can be contained, else that of the last rung.

        Raises `ConflictError` with the reason when there is nobody.
        """
        found = self.attribution().by_victim.get(victim, ())
        candidates = [each for each in found if each.suspect.kind in CONTAINABLE]
        for each in candidates:
            if each.confidence is not Confidence.CLEARED and not self.is_acquitted(key_of(each)):
                return each
        last = next((track for track in reversed(self.of(victim)) if track.rungs), None)
        if last is not None:
            return last.evidence
        raise ConflictError(title, detail=_why_nobody(found, candidates))


def _why_nobody(found: Sequence[Evidence], candidates: Sequence[Evidence]) -> str:
    if any(each.confidence is Confidence.CLEARED for each in candidates):
        detail = "a probe has shown that the suspect is not the cause"
    elif candidates:
        detail = "containing the suspect did not help a moment ago: it was the wrong one"
    elif found:
        detail = _why_not_containable(found[0].suspect.kind)
    else:
        detail = "nothing shows that it waits for others"
    return detail


def _why_not_containable(kind: SuspectKind) -> str:
    match kind:
        case SuspectKind.OWN_QUOTA | SuspectKind.OWN_LIMIT:
            detail = "its own limit holds it back: raise that"
        case SuspectKind.ITSELF:
            detail = "its own threads contend for what it may use"
        case SuspectKind.DIFFUSE:
            detail = "many small users share what it waits for, nobody in particular"
        case SuspectKind.HYPERVISOR:
            detail = "the hypervisor gives the CPU to other machines"
        case _:
            detail = "the kernel's counters show no stall"
    return detail


def _why_none(skipped: Collection[SkippedRung], wanted: RungId | None) -> str:
    shown = [each for each in skipped if wanted is None or each.rung is wanted]
    reasons = "; ".join(f"{each.rung.value.replace('_', ' ')}: {each.reason}" for each in shown)
    detail = f"no rung is left ({reasons})" if reasons else "no rung is left"
    return detail  # noqa: RET504  (the name says that it is a part of an error)
