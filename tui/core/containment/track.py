"""What was done for one victim against one suspect, and how that stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import NamedTuple

from collectors.attribution.evidence import Evidence, Suspect
from runtime.containment.aimd import Quota
from runtime.containment.lease import Lease, LeaseState
from runtime.containment.rung import ResourceUse, RungId
from runtime.model import Ref, Resource
from tui.core.containment.readings import Readings, use_of
from tui.core.containment.state import TakenRung, VictimState
from tui.core.containment.verification import is_recovered, is_wrong_suspect, kept_share


class TrackKey(NamedTuple):
    """One suspect of one victim, by what the victim waits for."""

    victim: Ref
    suspect: Suspect
    resource: Resource


def key_of(evidence: Evidence) -> TrackKey:
    """The track that this evidence is about."""
    return TrackKey(evidence.victim, evidence.suspect, evidence.resource)


@dataclass(slots=True)
class Track:
    """Rungs taken for a victim against a suspect.

    Attributes:
        evidence: as it was before the first rung.
        wait_before, use_before: the victim's waiting and the suspect's use before the first rung.
        first_use: all that the suspect used then, by which floors are reckoned.
        failed: rungs that were tried in vain or passed over, with the reason.
        quota: of the rung that caps the CPU, while it follows the waiting.
        adjusted_ns: CLOCK_MONOTONIC of the last decision about it.
        wrong: everything was put back, since it did not help.
        climbing: rungs that are being climbed now.
        touched_ns: CLOCK_MONOTONIC of the frame at which something was last done.
    """

    evidence: Evidence
    _: KW_ONLY
    wait_before: float
    use_before: float | None
    first_use: ResourceUse
    rungs: list[TakenRung] = field(default_factory=list)
    failed: dict[RungId, str] = field(default_factory=dict)
    quota: Quota | None = None
    adjusted_ns: int = 0
    wrong: bool = False
    climbing: int = 0
    touched_ns: int = 0

    @property
    def taken(self) -> Collection[RungId]:
        """The rungs that hold now."""
        return [each.id for each in self.rungs]

    @property
    def last_ns(self) -> int:
        """CLOCK_MONOTONIC of the last change."""
        return max((self.adjusted_ns, *(each.taken_ns for each in self.rungs)))

    def is_confirmed(self) -> bool:
        """What holds now stays."""
        return bool(self.rungs) and all(each.lease.state is LeaseState.CONFIRMED for each in self.rungs)

    def is_wrong(self, readings: Readings) -> bool:
        """Two rungs brought the victim nothing, as far as was measured since the last one."""
        if self.wrong or self.is_confirmed() or not self.rungs:
            return False
        since_ns = self.rungs[-1].taken_ns
        now = readings.wait_after(self.evidence, since_ns)
        distinct = len({each.id for each in self.rungs})
        return is_wrong_suspect(distinct, readings.seconds_after(since_ns), self.wait_before, now)

    def state(self, readings: Readings) -> VictimState:
        """How it stands by the newest frame."""
        now = readings.wait_after(self.evidence, self.last_ns) if self.rungs else None
        use = readings.use_after(self.evidence, self.last_ns) if self.rungs else None
        running = [each.lease.expires_ns for each in self.rungs if each.lease.active]
        return VictimState(
            victim=self.evidence.victim,
            evidence=self.evidence,
            resource=self.evidence.resource,
            rungs=tuple(self.rungs),
            wait_before=self.wait_before,
            wait_now=now,
            kept=kept_share(self.use_before, use),
            recovered=is_recovered(self.wait_before, now),
            wrong_suspect=self.wrong,
            expires_ns=min(running, default=None),
            confirmed=self.is_confirmed(),
        )

    def refresh(self, leases: Mapping[str, Lease]) -> None:
        """Take up what became of the leases; a rung whose lease has ended otherwise than by a confirmation is gone."""
        self.rungs = [
            replace(each, lease=leases.get(each.lease.id, each.lease))
            for each in self.rungs
            if each.lease.state is LeaseState.CONFIRMED
            or ((now := leases.get(each.lease.id)) is not None and (now.active or now.state is LeaseState.CONFIRMED))
        ]
        if RungId.CPU_QUOTA not in self.taken:
            self.quota = None


def begin(evidence: Evidence, readings: Readings) -> Track:
    """A track without rungs, with the figures of the time for which the evidence holds."""
    wait = readings.wait(evidence, since_ns=evidence.since_ns)
    return Track(
        evidence,
        wait_before=evidence.wait if wait is None else wait,
        use_before=readings.use(evidence, since_ns=evidence.since_ns),
        first_use=use_of(readings.latest, evidence.suspect.ref),
        touched_ns=readings.now_ns,
    )


def protecting(tracks: Iterable[Track]) -> list[RungId]:
    """The rungs that changed the victim itself, which another suspect's track need not repeat."""
    protect = (RungId.PROTECT_CPU, RungId.PROTECT_MEMORY, RungId.PROTECT_IO)
    return [each.id for track in tracks for each in track.rungs if each.id in protect]
