"""The policy of a guard: who is protected and with which targets, who may be contained and how far, and how often.

Without a policy the guard may touch nothing. `policy_file` reads one; docs/guard.md is the reference of its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from collectors.attribution.evidence import Resource, SuspectKind
from runtime.model import LimitName

DEFAULT_HOLD_S: Final = 3.0
DEFAULT_CALM_S: Final = 30.0
DEFAULT_TRIAL_S: Final = 15.0
DEFAULT_COOL_DOWN_S: Final = 5.0
DEFAULT_LEASE_S: Final = 60.0
DEFAULT_MAX_ACTIONS: Final = 60
DEFAULT_MIN_CPUS: Final = 0.2
DEFAULT_P99_EVERY_S: Final = 5.0
P99_TIMEOUT_S: Final = 1.0
"""How long a command may take to print a p99."""
P99_FRESH_FACTOR: Final = 3.0
"""A p99 counts for so many of its intervals: a command that fails once does not end a harm, a dead one does."""
RUNGS: Final = ("protect", "weight", "idle", "limit", "hard_limit", "freeze")
"""How far a policy may go, from mild to sharp."""


class Aim(StrEnum):
    """What a target is about; the values are the policy's keys."""

    CPU_WAIT = "cpu_wait"  # share of time for which it waits for CPU that others use
    MEMORY_WAIT = "memory_wait"  # share of time in which all its tasks stall for memory
    IO_WAIT = "io_wait"  # share of time in which all its tasks stall for a disk
    MEMORY_PRESSURE = "memory_pressure"  # share of time in which some task stalls for memory
    P99_MS = "p99_ms"  # what its command prints


RESOURCE_OF: Final[Mapping[Aim, Resource]] = {
    Aim.CPU_WAIT: Resource.CPU,
    Aim.MEMORY_WAIT: Resource.MEMORY,
    Aim.IO_WAIT: Resource.IO,
    Aim.MEMORY_PRESSURE: Resource.MEMORY,
}
"""The resource of which the evidence must be; a p99 takes evidence of any."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What patterns are compared with: a container or group, a systemd unit, or a process of the host."""

    kind: SuspectKind
    name: str
    engine: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Whom an entry of the policy means.

    Of each kind of pattern that is given one must match. A label's pattern is "key" or "key=value". Patterns are those
    of a shell: `*`, `?`, `[ab]`.
    """

    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def matches(self, candidate: Candidate) -> bool:
        """Whether it means this one. An entry about containers never means a unit or a program."""
        if candidate.kind is SuspectKind.UNIT:
            return _one_of(self.units, candidate.name)
        if candidate.kind is SuspectKind.PROCESS:
            return _one_of(self.programs, candidate.name)
        if not (self.names or self.labels or self.engines):
            return False
        return (
            (not self.names or _one_of(self.names, candidate.name))
            and (not self.engines or _one_of(self.engines, candidate.engine))
            and (not self.labels or any(_has_label(candidate.labels, pattern) for pattern in self.labels))
        )


def _one_of(patterns: tuple[str, ...], text: str) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _has_label(labels: Mapping[str, str], pattern: str) -> bool:
    key, equals, value = pattern.partition("=")
    return any(fnmatchcase(name, key) and (not equals or fnmatchcase(held, value)) for name, held in labels.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class P99Command:
    """The command that prints a p99 in ms; `user` is as whom it runs, "" for an unprivileged one."""

    argv: tuple[str, ...]
    every_s: float = DEFAULT_P99_EVERY_S
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """Who is protected. `targets` are the figures above which it is harmed: shares of 0 to 1, and ms of a p99."""

    selector: Selector
    targets: Mapping[Aim, float]
    p99: P99Command | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Containable:
    """Who may be contained. `last_rung` is the sharpest means allowed, `floors` what a limit never goes below."""

    selector: Selector
    last_rung: str
    floors: Mapping[LimitName, float]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy, as read from `path`. Of several entries that match, the first counts.

    Attributes:
        never: who is never touched, whatever `contain` says. The guard itself is never touched either.
        dry_run: report what would be done, and do nothing.
        hold_s: a harm must hold so long before anything is done.
        calm_s: a victim must be within its targets so long before a means is taken back on trial.
        trial_s: how long a trial lasts; a harm that returns in it brings the means back.
        cool_down_s: between two means for one victim, or against one suspect.
        lease_s: after which everything ends by itself unless it is renewed.
        actions_per_hour: how often a means may be taken; taking back is always allowed.
    """

    path: str
    _: KW_ONLY
    protect: tuple[Protected, ...]
    contain: tuple[Containable, ...]
    never: tuple[Selector, ...] = ()
    dry_run: bool = False
    hold_s: float = DEFAULT_HOLD_S
    calm_s: float = DEFAULT_CALM_S
    trial_s: float = DEFAULT_TRIAL_S
    cool_down_s: float = DEFAULT_COOL_DOWN_S
    lease_s: float = DEFAULT_LEASE_S
    actions_per_hour: int = DEFAULT_MAX_ACTIONS

    def protection(self, candidate: Candidate) -> Protected | None:
        """The entry that protects it."""
        return next((entry for entry in self.protect if entry.selector.matches(candidate)), None)

    def permission(self, candidate: Candidate) -> Containable | None:
        """The entry by which it may be contained, as far as `never` does not forbid it."""
        return next((entry for entry in self.contain if entry.selector.matches(candidate)), None)

    def forbids(self, candidate: Candidate) -> bool:
        """It is on the never-touch list."""
        return any(selector.matches(candidate) for selector in self.never)
