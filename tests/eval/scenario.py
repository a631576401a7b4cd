"""What a scenario is: containers with their loads, who hurts whom, and what attribution has to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from collectors.attribution.evidence import Resource, SuspectKind
from runtime.model import LimitChange


class Cpus(StrEnum):
    """Where an actor runs: on the core that victims use, on the others, or anywhere."""

    SHARED = "shared"
    OTHER = "other"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One container and its program in `tests/eval/programs`.

    Attributes:
        at_s: when it starts, in seconds from the start of the harm; None is before the quiet phase.
        data: it gets a directory on the loop device, at /data.
        uplink: it gets the bridge, and the peer's address and port as the last arguments of its program.
    """

    name: str
    program: str
    arguments: tuple[str, ...] = ()
    cpus: Cpus = Cpus.SHARED
    limits: LimitChange = field(default_factory=LimitChange)
    at_s: float | None = 0.0
    data: bool = False
    uplink: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """A program of the host, outside all containers."""

    program: str
    arguments: tuple[str, ...] = ()
    cpus: Cpus = Cpus.SHARED


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """All loads of one run.

    `memory_mb` bounds the memory of all its containers together, `uplink_mbit` their way out.
    """

    actors: tuple[Actor, ...]
    outside: tuple[Outside, ...] = ()
    memory_mb: int | None = None
    uplink_mbit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One labelled scenario.

    Attributes:
        cast: makes its loads; what is drawn from the generator differs from repeat to repeat.
        culprits: pairs of victim and suspect that must be named; every other pair of a victim must not.
        victims: those whose pairs are judged: services with requests. That a batch job waits is no harm.
        told: what the strongest evidence about a victim may be, where no container is to blame; empty: not judged.
        judged_from_s: from when on pairs are judged, in seconds from the start of the harm.
    """

    name: str
    says: str
    cast: Callable[[Random], Cast]
    resource: Resource | None = None
    culprits: frozenset[tuple[str, str]] = frozenset()
    victims: tuple[str, ...] = ("victim",)
    told: frozenset[SuspectKind] = frozenset()
    judged_from_s: float = 0.0
    noise_s: float = field(default=10.0)

    @property
    def positive(self) -> bool:
        return bool(self.culprits)
