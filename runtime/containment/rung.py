"""The words of the ladder: a victim and its suspect, and what one rung does to one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.model import LimitChange, LimitName, Limits, Resource


class Whom(StrEnum):
    """Whose limits a rung changes."""

    VICTIM = "victim"
    SUSPECT = "suspect"


class TargetKind(StrEnum):
    """What is changed; the values are those of `Lease.target`."""

    CONTAINER = "container"
    UNIT = "unit"
    PROCESS = "process"


class RungId(StrEnum):
    """Every rung."""

    PROTECT_CPU = "protect_cpu"  # the victim's CPU weight up
    PROTECT_MEMORY = "protect_memory"  # the victim's memory.low at what it uses (v2)
    PROTECT_IO = "protect_io"  # the victim's I/O weight up
    CPU_WEIGHT = "cpu_weight"  # the suspect's CPU weight down
    CPU_IDLE = "cpu_idle"  # the suspect into the idle class
    CPU_QUOTA = "cpu_quota"  # the suspect's quota, in steps
    MEMORY_SOFT_LIMIT = "memory_soft_limit"  # the suspect's soft limit: reclaimed before others (v1)
    MEMORY_HIGH = "memory_high"  # the suspect's memory.high, in steps (v2)
    MEMORY_LIMIT = "memory_limit"  # the suspect's hard limit, in steps after reclaim (v1)
    IO_WEIGHT = "io_weight"  # the suspect's I/O weight down
    DISK_RATE = "disk_rate"  # the suspect's rates on the device, in steps
    NETWORK_RATE = "network_rate"  # the suspect's rates, in steps
    TASKS = "tasks"  # no more tasks than the suspect has now
    FREEZE = "freeze"  # the suspect stands still until the lease ends


class Cost(StrEnum):
    """What a rung costs those whom it changes, and others; the words are in `tui.present.containment_text`."""

    OTHERS_LESS_CPU = "others_less_cpu"
    OTHERS_LESS_CACHE = "others_less_cache"
    OTHERS_LATER_DISK = "others_later_disk"
    LESS_WHEN_CONTENDED = "less_when_contended"
    ONLY_LEFTOVERS = "only_leftovers"
    UNUSED_CPU = "unused_cpu"
    RECLAIMED_FIRST = "reclaimed_first"
    SLOWED_BY_RECLAIM = "slowed_by_reclaim"
    KILLED_IF_IT_GROWS = "killed_if_it_grows"
    LATER_DISK = "later_disk"
    SLOWER_DISK = "slower_disk"
    SLOWER_NETWORK = "slower_network"
    NO_NEW_TASKS = "no_new_tasks"
    STANDS_STILL = "stands_still"


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What is read and written on one device, a second: bytes and operations."""

    read_bytes: float = 0.0
    write_bytes: float = 0.0
    read_ops: float = 0.0
    write_ops: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """What a victim or suspect uses: cores, bytes, tasks, disks by "major:minor", bits a second of the network."""

    cpu: float = 0.0
    memory: int = 0
    tasks: int = 0
    disks: Mapping[str, DiskUse] = field(default_factory=dict)
    sent: float = 0.0
    received: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """The victim or the suspect.

    Attributes:
        limits: what the kernel holds.
        refused: limits that cannot be changed here, by the reason: the host, the engine, how it was found.
        untouchable: why nothing of it may be changed; "" when it may.
        unfreezable: why it cannot be frozen; "" when it can.
    """

    kind: TargetKind = TargetKind.CONTAINER
    limits: Limits = Limits()  # noqa: RUF009  (frozen)
    use: ResourceUse = field(default_factory=ResourceUse)
    refused: Mapping[LimitName, str] = field(default_factory=dict)
    untouchable: str = ""
    unfreezable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A victim and its suspect.

    Attributes:
        victim: None when the harm is not known as one container's: the rungs that protect are then skipped.
        first_use: what the suspect used before the first rung.
        device: "major:minor" where the harm is on one device.
        siblings: their cgroups have the same parent; weights and the idle class count among siblings only.
    """

    resource: Resource
    suspect: Party
    victim: Party | None = None
    first_use: ResourceUse = field(default_factory=ResourceUse)
    device: str = ""
    siblings: bool = True


Proposal = LimitChange | str  # the change, or the reason why the rung is not to be had


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung. `propose` gives the change for a case; one that freezes proposes an empty change."""

    id: RungId
    whom: Whom
    cost: Cost
    limits: tuple[LimitName, ...]
    propose: Callable[[Case], Proposal]
    among_siblings: bool = False
    repeats: bool = False

    @property
    def freezes(self) -> bool:
        """It freezes the suspect, and changes no limit."""
        return self.id is RungId.FREEZE


@dataclass(frozen=True, slots=True)
class SkippedRung:
    """A rung that is not to be had, and why."""

    rung: RungId
    reason: str
