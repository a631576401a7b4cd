"""What happened to a container at one moment, as data: kind and arguments. Words are made where it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runtime.model import LimitName, Value


class AnnotationKind(StrEnum):
    """What can stand on the time axis of a graph."""

    STARTED = "started"
    ENDED = "ended"
    PAUSED = "paused"
    RESUMED = "resumed"
    OOM_KILL = "oom_kill"  # the kernel killed a process for lack of memory
    OUTPUT_LIMITED = "output_limited"  # it prints faster than its engine logs, and waits
    LIMITS_CHANGED = "limits_changed"  # an engine says so, without saying which
    LIMITS_SET = "limits_set"  # changed from here; `limits` are what the kernel holds
    LIMIT_DRIFTED = "limit_drifted"  # changed by somebody else; `limits` are now and expected
    LEASE_TAKEN = "lease_taken"  # set for a time; `limits` are what the kernel holds
    LEASE_CONFIRMED = "lease_confirmed"  # stays; `limits` are what the kernel holds
    LEASE_REVERTED = "lease_reverted"  # taken back; `limits` are what they are again
    LEASE_CONFLICT = "lease_conflict"  # was to be taken back, but somebody else has changed it


@dataclass(frozen=True, slots=True)
class AnnotatedLimit:
    """A limit that the kernel held at that moment, and what was expected where that is something else."""

    name: LimitName
    kernel: Value
    expected: Value | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something that happened at `at_ns` (CLOCK_MONOTONIC), when the wall clock said `wall_ns`."""

    at_ns: int
    kind: AnnotationKind
    limits: tuple[AnnotatedLimit, ...] = ()
    wall_ns: int = 0
