"""The words of attribution: a victim, its suspects, and the evidence against each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum

from runtime.model import LimitName, Ref, Value
from runtime.model import Resource as Resource


class SuspectKind(StrEnum):
    """What a suspect is. Only a container, a unit and a process can be contained; the others blame nobody."""

    CONTAINER = "container"
    UNIT = "unit"  # a systemd unit or login session of the host
    PROCESS = "process"  # a process of the host without a unit
    OWN_QUOTA = "own quota"  # the victim is throttled by its own limit
    OWN_LIMIT = "own limit"  # the victim's own memory, disk or network limit
    ITSELF = "itself"  # its own threads contend for the CPUs that it may use
    DIFFUSE = "diffuse"  # many small users, nobody in particular
    HYPERVISOR = "hypervisor"  # steal
    INVISIBLE = "invisible"  # slow without any stall: memory bandwidth, cache, SMT siblings


CONTAINABLE = frozenset({SuspectKind.CONTAINER, SuspectKind.UNIT, SuspectKind.PROCESS})


@dataclass(frozen=True, slots=True)
class Suspect:
    """Who may be the cause. `ref` is that of a container; `name` is the unit's or program's, `pid` a process's."""

    kind: SuspectKind
    ref: Ref | None = None
    name: str = ""
    pid: int | None = None


class Confidence(StrEnum):
    """How sure the evidence is: by score, or confirmed by a probe."""

    SUSPECTED = "suspected"
    STRONG = "strong"
    CONFIRMED = "confirmed"
    CLEARED = "cleared"  # a probe showed that it is not the cause


@dataclass(frozen=True, slots=True)
class Figure:
    """One number on which evidence rests; `id` names it, the words are those of the one who shows it.

    Its unit is told by the id's ending: `_share` 0 to 1, `_cores`, `_bytes`, `_per_s`, `_ms`, and a plain count.
    """

    id: str
    value: float


@dataclass(frozen=True, slots=True)
class Gain:
    """What capping a suspect would give to the victim: the smaller of what the suspect gives up and what it lacks.

    `limit` and `value` are the cap on the suspect, `gain` is in the resource's unit (cores, bytes per second).
    """

    limit: LimitName
    value: Value
    gain: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a suspect is held to hurt a victim.

    Attributes:
        wait: the share of time (0 to 1) that the victim loses on this resource by others, mean of the window.
        share: of what it waits for, the part (0 to 1) that this suspect holds.
        score: `wait * share`, the share of time that the victim loses by this suspect; what suspects are ordered by.
        device: "major:minor" or an interface, where the resource is one of several.
        since_ns: CLOCK_MONOTONIC of the frame from which on the score is above the threshold.
        gain: None where capping would give the victim nothing, or nobody can be capped.
    """

    victim: Ref
    suspect: Suspect
    resource: Resource
    score: float
    _: KW_ONLY
    wait: float
    share: float
    confidence: Confidence
    since_ns: int
    device: str = ""
    figures: tuple[Figure, ...] = ()
    gain: Gain | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """All evidence at one frame. `by_victim` has the strongest first; a victim without evidence is not in it."""

    at_ns: int = 0
    by_victim: Mapping[Ref, tuple[Evidence, ...]] = field(default_factory=dict)

    def strongest(self, victim: Ref) -> Evidence | None:
        """The strongest evidence about a victim, whatever the kind of suspect."""
        return next(iter(self.by_victim.get(victim, ())), None)

    def against(self, suspect: Ref) -> tuple[Evidence, ...]:
        """Evidence against a container, over all victims, the strongest first."""
        found = (each for evidence in self.by_victim.values() for each in evidence if each.suspect.ref == suspect)
        return tuple(sorted(found, key=lambda each: -each.score))


NO_ATTRIBUTION = Attribution()
