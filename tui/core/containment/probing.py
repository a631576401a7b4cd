"""An A/B test of a suspect: three times as it is, three times in the idle class, each for less than a second.

What is set is a lease of a few seconds, so that it is undone whatever happens to this program. The victim's waiting is
read from the kernel's totals at the edges, since a sweep is too slow for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from collectors.attribution.evidence import Evidence, SuspectKind
from collectors.inspection import waiting
from runtime.containment.lease import LeaseState
from runtime.containment.proposals import unavailable
from runtime.containment.rung import Case
from runtime.errors import ConflictError, KernelError, NotFoundError, RefusedError, UnsupportedError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import LimitChange, LimitName, Resource
from tui.core.containment.lease_book import LeaseBook
from tui.core.containment.state import ProbeOutcome
from tui.core.subject import Subject

MAX_PAIRS: Final = 3
PART_S: Final = 0.8
LEASE_S: Final = 3.0  # for each part in the idle class
MIN_DROP_SHARE: Final = 0.05  # of time: by which the waiting must fall in the mean
MIN_POSITIVE: Final = 2  # of the pairs, in which it must fall


class Probe:
    """Probes suspects of hurting a victim by CPU."""

    def __init__(self, book: LeaseBook, cgroup: Callable[[Subject], Cgroup | None]) -> None:
        """`cgroup` finds that of a subject of this machine, and blocks."""
        self._book = book
        self._cgroup = cgroup

    def permit(self, title: str, evidence: Evidence) -> None:
        """Raise the reason why nobody of this kind is probed."""
        if evidence.resource is not Resource.CPU:
            raise UnsupportedError(title, detail="a probe uses the idle class, which is about CPU only")
        if evidence.suspect.kind is not SuspectKind.CONTAINER:
            raise UnsupportedError(title, detail="only a container can be probed")

    def permit_case(self, title: str, case: Case) -> None:
        """Raise the reason why this suspect is not to be probed now."""
        if case.suspect.untouchable:
            raise RefusedError(title, detail=case.suspect.untouchable)
        reason = unavailable(LimitName.CPU_IDLE, case.suspect)
        if reason:
            raise UnsupportedError(title, detail=reason)
        if case.suspect.limits.cpu_idle is True:
            raise ConflictError(title, detail="it is in the idle class already")
        if not case.siblings:
            detail = "the idle class counts among cgroups of the same parent only"
            raise UnsupportedError(title, detail=detail)

    async def run(self, title: str, evidence: Evidence, victim: Subject, suspect: Subject) -> ProbeOutcome:
        """Probe; takes about five seconds. Raises why it could not be done: nothing is left changed."""
        cgroup = await threads.measuring(self._cgroup, victim)
        if cgroup is None:
            raise NotFoundError(title, detail="the victim has no cgroup of its own")
        as_it_is: list[float] = []
        idle: list[float] = []
        for _ in range(MAX_PAIRS):
            as_it_is.append(await self._measured(cgroup))
            idle.append(await self._idle(title, cgroup, suspect))
        drops = [before - after for before, after in zip(as_it_is, idle, strict=True)]
        positive = sum(drop > 0 for drop in drops)
        confirmed = sum(drops) / MAX_PAIRS >= MIN_DROP_SHARE and positive >= MIN_POSITIVE
        return ProbeOutcome(evidence, tuple(as_it_is), tuple(idle), confirmed)

    async def _idle(self, title: str, cgroup: Cgroup, suspect: Subject) -> float:
        change = LimitChange(cpu_idle=True)
        lease, outcome = await self._book.take(suspect, change, seconds=LEASE_S, reason="probe")
        if lease.state is not LeaseState.ACTIVE:
            raise KernelError(title, detail=outcome.error)
        try:
            return await self._measured(cgroup)
        finally:
            await self._book.revert(lease, "probe")

    async def _measured(self, cgroup: Cgroup) -> float:
        first = await threads.measuring(waiting.read_total, cgroup)
        await asyncio.sleep(PART_S)
        return waiting.share_between(first, await threads.measuring(waiting.read_total, cgroup))
