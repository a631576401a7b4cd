"""Victim and suspect as the ladder sees them: limits, use, and what may not be changed, read from the session."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from collectors.attribution.evidence import Evidence
from runtime.containment.rung import Case, Party, ResourceUse
from runtime.errors import ConflictError, NotFoundError, PytopError, RefusedError, UnsupportedError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Container, LimitName, Ref, Resource, Verb
from tui.core.containment import outsiders
from tui.core.containment.readings import Readings, use_of
from tui.core.hosts.host import Hosts
from tui.core.subject import Subject

UNTOUCHABLE_LABEL: Final = "pytop.untouchable"
"""A container with this label is never contained, and no probe touches it; "false" or "0" is as without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyReader:
    """Reads what the ladder needs.

    Attributes:
        cgroup: finds the cgroup of a subject of this machine; blocks.
        why_not: the error in which a verb or a limit would end now.
        untouchable: names of containers that are never changed for somebody else's sake.
    """

    hosts: Hosts
    find: Callable[[Ref], Subject | None]
    cgroup: Callable[[Subject], Cgroup | None]
    why_not: Callable[[Ref, Verb | LimitName], PytopError | None]
    untouchable: Collection[str] = ()

    def why_untouchable(self, ref: Ref) -> str:
        """Why this container is not to be contained or probed; "" when it may be."""
        subject = self.find(ref)
        if not isinstance(subject, Container):
            return ""
        marked = subject.labels.get(UNTOUCHABLE_LABEL)
        detail = ""
        if marked is not None and marked.lower() not in ("false", "0"):
            detail = f"it is marked as untouchable (label {UNTOUCHABLE_LABEL})"
        elif subject.name in self.untouchable:
            detail = "the settings name it as untouchable"
        return detail

    async def case(self, evidence: Evidence, first_use: ResourceUse | None, readings: Readings) -> Case:
        """The case for the ladder; `first_use` is None before the first rung."""
        victim, suspect = self.find(evidence.victim), None
        if evidence.suspect.ref is not None:
            suspect = self.find(evidence.suspect.ref)
        party = await self._suspect(evidence, suspect, readings)
        protected = await self._party(victim, readings, whom="protect") if victim is not None else None
        return Case(
            resource=evidence.resource,
            suspect=party,
            victim=protected,
            first_use=first_use or party.use,
            device=evidence.device,
            siblings=await threads.acting(self._siblings, victim, evidence, readings),
        )

    async def _suspect(self, evidence: Evidence, subject: Subject | None, readings: Readings) -> Party:
        if subject is not None:
            party = await self._party(subject, readings, whom="contain")
            reason = self.why_untouchable(subject.ref)
            return replace(party, untouchable=reason or party.untouchable)
        found = await threads.acting(outsiders.find, readings.latest, evidence.suspect)
        if found is None:
            raise NotFoundError(f"contain {evidence.suspect.name}", detail="it is not measured any more, or has ended")
        return await threads.acting(lambda: found.party)

    async def _party(self, subject: Subject, readings: Readings, *, whom: str) -> Party:
        host = self.hosts[subject.ref.host]
        refused = {}
        for name in LimitName:
            error = self.why_not(subject.ref, name)
            if isinstance(error, UnsupportedError):
                refused[name] = error.detail
        freezing = self.why_not(subject.ref, Verb.PAUSE)
        untouchable = ""
        try:
            await host.protect_self(subject, f"{whom} {subject.name}")
        except RefusedError as error:
            untouchable = error.detail
        return Party(
            limits=await host.inspection.limits(subject),
            use=use_of(readings.latest, subject.ref),
            refused=refused,
            untouchable=untouchable,
            unfreezable=freezing.detail if isinstance(freezing, (ConflictError, UnsupportedError)) else "",
        )

    def _siblings(self, victim: Subject | None, evidence: Evidence, readings: Readings) -> bool:
        """Whether their cgroups have the same parent, as far as that can be told. Blocks."""
        controller = "io" if evidence.resource is Resource.IO else "cpu"
        if evidence.suspect.ref is not None:
            suspect = self.find(evidence.suspect.ref)
            other = self._cgroup(suspect) if suspect is not None else None
        else:
            outsider = outsiders.find(readings.latest, evidence.suspect)
            other = outsider.cgroup if outsider is not None else None
        own = self._cgroup(victim) if victim is not None else None
        places = [cgroup.where(controller) for cgroup in (own, other) if cgroup is not None]
        return len({place[0].parent for place in places if place is not None}) <= 1

    def _cgroup(self, subject: Subject) -> Cgroup | None:
        try:
            return self.cgroup(subject)
        except PytopError:  # it has ended meanwhile, which taking the lease finds out
            return None
