"""What the containment of a session tells: the next rung, what came of one, and how it stands with a victim."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from collectors.attribution.evidence import Evidence, Suspect
from runtime.containment.lease import Lease
from runtime.containment.rung import Rung, RungId, SkippedRung
from runtime.model import LimitChange, LimitOutcome, Ref, Resource


@dataclass(frozen=True, slots=True)
class PlannedRung:
    """The next rung for a victim, before it is climbed.

    Attributes:
        evidence: why this suspect.
        rung: its id, whom it changes, what it costs, whether it freezes.
        target: the container that is changed; None for a unit or process of the host.
        target_name: its name in words.
        change: what would be set; empty for a freeze.
        skipped: milder rungs that are not to be had, with the reasons.
    """

    _: KW_ONLY
    victim: Ref
    evidence: Evidence
    rung: Rung
    target: Ref | None
    target_name: str
    change: LimitChange
    skipped: tuple[SkippedRung, ...] = ()

    @property
    def suspect(self) -> Suspect:
        """Whoever is contained for the victim."""
        return self.evidence.suspect


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenRung:
    """A rung that holds now. `taken_ns` is the CLOCK_MONOTONIC of the last frame before it."""

    planned: PlannedRung
    lease: Lease
    taken_ns: int

    @property
    def id(self) -> RungId:
        """Which rung."""
        return self.planned.rung.id


@dataclass(frozen=True, slots=True)
class VictimState:
    """How it stands with a victim and one suspect.

    Attributes:
        rungs: those that hold now, the mildest first.
        wait_before: the victim's waiting, share of time, before the first rung.
        wait_now: since the last rung; None until a whole interval was measured after it.
        kept: of what the suspect used before, the share that it still uses; None as above.
        recovered: the waiting has fallen by 80 % or below what counts.
        wrong_suspect: two rungs did not take a fifth of the waiting away, so everything was put back.
        expires_ns: CLOCK_BOOTTIME at which the first of its leases ends; None when none is running.
        confirmed: what holds now stays.
    """

    _: KW_ONLY
    victim: Ref
    evidence: Evidence
    resource: Resource
    rungs: tuple[TakenRung, ...]
    wait_before: float
    wait_now: float | None = None
    kept: float | None = None
    recovered: bool = False
    wrong_suspect: bool = False
    expires_ns: int | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class ClimbOutcome:
    """A rung that was climbed: the lease, and the limits that the kernel holds, read back."""

    planned: PlannedRung
    lease: Lease
    limits: LimitOutcome
    state: VictimState


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """An A/B test of a suspect: the victim's waiting with the suspect as it is and in the idle class, per pair."""

    evidence: Evidence
    as_it_is: tuple[float, ...]
    idle: tuple[float, ...]
    confirmed: bool

    @property
    def drop(self) -> float:
        """By how much the waiting (share of time) fell in the mean."""
        pairs = [before - after for before, after in zip(self.as_it_is, self.idle, strict=True)]
        return sum(pairs) / len(pairs)
