"""The CPU quota of a suspect follows the victim's waiting while its lease runs: see `runtime.containment.aimd`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from runtime.containment import aimd
from runtime.containment.aimd import QuotaStep
from runtime.containment.lease import LeaseState
from runtime.containment.rung import RungId
from runtime.model import LimitChange, Ref
from tui.core.containment.lease_book import LeaseBook
from tui.core.containment.readings import Readings
from tui.core.containment.track import Track
from tui.core.subject import Subject

DECISION_INTERVAL_S: Final = 2.0  # of whole intervals that were measured since the last change


class Adjustment:
    """Decides about quotas, and sets them."""

    def __init__(self, book: LeaseBook, readings: Readings, find: Callable[[Ref], Subject | None]) -> None:
        self._book = book
        self._readings = readings
        self._find = find

    def begin(self, track: Track, change: LimitChange) -> None:
        """A rung was climbed; from one that caps the CPU on, the quota follows the waiting."""
        if not isinstance(change.cpus, (int, float)):
            return
        waited = self._readings.wait(track.evidence, since_ns=track.evidence.since_ns) or track.wait_before
        ceiling = max(track.first_use.cpu, change.cpus)
        before = track.quota.cores if track.quota is not None else ceiling
        begun = aimd.begin(ceiling)
        track.quota = replace(begun, cores=change.cpus, before=before, wait=waited, last=QuotaStep.DECREASED)

    def due(self, track: Track) -> float | None:
        """The cores to set now, None when there is nothing to set."""
        if track.quota is None or not track.rungs or track.rungs[-1].id is not RungId.CPU_QUOTA or track.is_confirmed():
            return None
        if self._readings.seconds_after(track.last_ns) < DECISION_INTERVAL_S:
            return None
        wait = self._readings.wait_after(track.evidence, track.last_ns)
        if wait is None:
            return None
        before = track.quota.cores
        track.quota = aimd.decide(track.quota, wait)
        track.adjusted_ns = self._readings.now_ns
        return track.quota.cores if track.quota.cores != before else None

    async def apply(self, track: Track, cores: float) -> None:
        """Set the quota by a lease that ends when the one before it would have; that one is then ended."""
        last, suspect = track.rungs[-1], track.evidence.suspect.ref
        subject = self._find(suspect) if suspect is not None else None
        seconds = (last.lease.expires_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9
        if subject is None or seconds <= 0:
            return
        change = LimitChange(cpus=cores)
        lease, _ = await self._book.take(subject, change, seconds=seconds, reason=last.lease.reason)
        if lease.state is LeaseState.ACTIVE:
            planned = replace(last.planned, change=change)
            track.rungs[-1] = replace(last, planned=planned, lease=lease)
            await self._book.revert(last.lease, "another quota")
            track.refresh(self._book.known)
