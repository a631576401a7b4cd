"""What was measured in a story, phase by phase, and what that says. Pure: no engine, no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum

from collectors.attribution.evidence import Evidence, Resource
from collectors.sampling.frame import Usage
from runtime.model import LimitOutcome, Missing
from tui.demo.measures import (
    BUSY_SHARE,
    Spread,
    isolations,
    kept_share,
    latency_impacts,
    recovered_after,
    resource_use,
    seconds,
    spread,
)
from tui.demo.stories import REPORT_INTERVAL_S, StoryName
from tui.demo.story import Judged, Report, Service, isolation, judged, loaded, percentile, recovery, service

MIN_RECOVERY = 0.5  # share of the added latency that a rung must take away to have helped
MIN_DAMAGE_RATIO = 2.0  # latency beside the hog against that alone, above which the hog did harm
MAX_UNHURT_ISOLATION = 0.9  # below it the hog did harm, whatever the latency of the answered


class PhaseKind(StrEnum):
    """The phases of a story, in order; there is one of `RUNG` for each rung."""

    ALONE = "alone"
    NOISE = "hog"
    RUNG = "rung"
    RELEASED = "reverted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One measured phase.

    Attributes:
        name: the kind, or the rung's id.
        reports: the victim's, of the measured part.
        settling: those before it, since the change that began the phase.
        victim: its service over the measured part.
        usages: of the story's containers by their names.
        outcomes, readback_s: of the changes that began it: what came of each, and the time from the key to the kernel's
            own value.
    """

    name: str
    kind: PhaseKind
    reports: tuple[Report, ...]
    settling: tuple[Report, ...] = ()
    victim: Service
    usages: Mapping[str, Usage] = field(default_factory=dict)
    outcomes: tuple[LimitOutcome, ...] = ()
    readback_s: tuple[float, ...] = ()

    @property
    def ok(self) -> bool:
        """The kernel holds what was asked for."""
        return all(outcome.ok for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class Score:
    """One phase against the one alone and the one beside the hog; None is what cannot be told."""

    isolation: Spread | None
    latency_impact: Spread | None
    _: KW_ONLY
    hog_use: float | Missing | None
    kept: float | None = None
    conserved: float | None = None
    recovery: float | None = None
    recovered_s: float | None = None


@dataclass(slots=True)
class StoryResult:
    """What was measured in one story so far.

    Attributes:
        hogs: the names of those that make noise.
        refused: rungs that cannot be taken here, by id, with the reasons.
        outside: the share of the host's CPU that others used while the victim ran alone; None where it is not known.
        named_s, named_by: from the noise's start until the attribution named one that makes it, while none was
            contained, and on which evidence; None where it did not.
    """

    story: StoryName
    resource: Resource
    engine: str
    hogs: tuple[str, ...]
    _: KW_ONLY
    phases: list[Phase] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    outside: float | None = None
    named_s: float | None = None
    named_by: Evidence | None = None

    @property
    def alone(self) -> Service:
        return self.phases[0].victim

    @property
    def noise(self) -> Phase:
        return self.phases[1]

    @property
    def busy(self) -> bool:
        """The host was busy with something else while the victim ran alone: only ratios say something."""
        slow = self.resource is Resource.CPU and loaded(self.alone)
        return slow or (self.outside is not None and self.outside > BUSY_SHARE)

    def rungs(self) -> list[Phase]:
        """The phases with a rung."""
        return [phase for phase in self.phases if phase.kind is PhaseKind.RUNG]

    def readback_s(self) -> list[float]:
        """Of every change, sorted."""
        return sorted(value for phase in self.phases for value in phase.readback_s)

    def score(self, phase: Phase) -> Score:
        """A phase, judged by those alone and beside the hog."""
        each = seconds(phase.reports, REPORT_INTERVAL_S)
        found = Score(
            spread(isolations(each, self.alone)),
            spread(latency_impacts(each, self.alone)),
            hog_use=self._use(phase, self.hogs) if phase.kind is not PhaseKind.ALONE else None,
        )
        if phase.kind is not PhaseKind.RUNG:
            return found
        hurt, everybody = self.noise.victim, tuple(phase.usages)
        return Score(
            found.isolation,
            found.latency_impact,
            hog_use=found.hog_use,
            kept=kept_share(found.hog_use, self._use(self.noise, self.hogs)),
            conserved=kept_share(self._use(phase, everybody), self._use(self.noise, everybody)),
            recovery=self.recovery(phase),
            recovered_s=recovered_after((*phase.settling, *phase.reports), REPORT_INTERVAL_S, self.alone, hurt),
        )

    def _use(self, phase: Phase, names: Sequence[str]) -> float | Missing:
        """What these containers do together with the story's resource; of two hogs it is CPU that can be added."""
        values = [resource_use(phase.usages[name], self.resource) for name in names if name in phase.usages]
        known = [value for value in values if not isinstance(value, Missing)]
        return sum(known) if known else next(iter(values), Missing.NOT_SAMPLED)

    def best(self) -> Phase | None:
        """The rung that took away most of the added latency; of equals the milder."""
        return max(self.rungs(), key=self.recovery, default=None)

    @property
    def judged(self) -> Judged:
        """The percentile by which the victim is judged."""
        return judged(self.noise.victim, self.alone)

    def recovery(self, phase: Phase) -> float:
        """The share of the added latency that is gone in a phase."""
        return recovery(self.noise.victim, phase.victim, self.alone, self.judged)

    def hurt(self) -> bool:
        """The hog did harm."""
        now, by = self.noise.victim, self.judged
        return by.of(now) >= MIN_DAMAGE_RATIO * by.of(self.alone) or isolation(now, self.alone) < MAX_UNHURT_ISOLATION


class StoryFinding(StrEnum):
    """What a story showed."""

    HELPED = "helped"
    NOT_HELD = "not held"  # the kernel does not hold what was asked for
    NOT_HURT = "not hurt"
    HARDLY = "hardly"  # the best rung took away too little


def finding(result: StoryResult) -> tuple[StoryFinding, float]:
    """What a story showed, and the share of the added latency that the best rung took away.

    All of it are ratios to the same host, so that they hold on a busy one as well.
    """
    best = result.best()
    share = result.recovery(best) if best is not None else 0.0
    if not all(phase.ok for phase in result.phases):
        return StoryFinding.NOT_HELD, share
    if not result.hurt():
        return StoryFinding.NOT_HURT, share
    return (StoryFinding.HELPED if share >= MIN_RECOVERY else StoryFinding.HARDLY), share


def pooled(reports: Sequence[Report]) -> Service | None:
    """The victim's service over reports."""
    return service(reports, REPORT_INTERVAL_S)


def readback_percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """p50 and p99 of sorted times, None of none."""
    return (percentile(values, 0.5), percentile(values, 0.99)) if values else None
