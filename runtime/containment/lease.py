"""A lease: a change of limits that lives in the kernel only and is taken back at its time unless it is confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.model import LimitChange, LimitName, Ref

CONTAINER = "container"
UNIT = "unit"
PROCESS = "process"


class LeaseState(StrEnum):
    """Where a lease is in its life."""

    ACTIVE = "active"  # holds, and is taken back at `expires_ns`
    CONFIRMED = "confirmed"  # stays: it was told to the engine's record
    REVERTED = "reverted"  # taken back
    CONFLICT = "conflict"  # somebody else has changed the limit meanwhile: what they wrote was left as it is
    FAILED = "failed"  # could not be set, or not be taken back, which is tried again; `reason` says why
    GONE = "gone"  # its container, process or boot has ended, and the limit with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who took a lease: the process, and its user. `ssh` and `sudo_user` are what the environment claims.

    `started` is in clock ticks since boot, `namespace` is the PID namespace in which `pid` means this process.
    """

    pid: int
    started: int | None
    uid: int
    loginuid: int | None = None
    sudo_user: str = ""
    ssh: str = ""
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class DirectoryIdentity:
    """A directory of a cgroup by device and inode: one that was made again at the same path is another one."""

    path: str
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class LeasedCgroup:
    """The cgroup that a lease is about: the paths of its directories, and what they were when it was taken."""

    v1: Mapping[str, str] = field(default_factory=dict)
    unified: str | None = None
    directories: tuple[DirectoryIdentity, ...] = ()


@dataclass(frozen=True, slots=True)
class ThreadScheduling:
    """How the kernel schedules one thread: policy, nice and I/O priority as numbers (sched(7), ioprio_set(2))."""

    thread: int
    policy: int
    nice: int
    io_priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One lease. Times are CLOCK_BOOTTIME in ns, which goes on while the machine sleeps.

    Attributes:
        id: of this lease, unique on this machine.
        ref, name: the container or group. `target` is what is changed: "container", "unit" or "process".
        change: what was set, as the kernel read it back.
        before: what it was: the change that takes it back.
        frozen: the container is frozen by this lease, and thawed when it ends.
        expires_ns: when it is taken back.
        reason: why, in words; "" when nobody said. `result` is what came of it at its end.
        cgroup: what the limits are of; None for a process, and where only an engine's API may write them.
        pid, pid_started: a process of it, by which its network is found; of a process lease the process.
        by_api: the engine's API has set it, on behalf of the program that holds it, and the lease ends with that.
        scheduled, scheduling: of a process lease, what its threads were set to and what each was before.
        ended_ns: when it ended; 0 while it holds.
    """

    id: str
    ref: Ref
    name: str
    target: str
    boot: str
    change: LimitChange
    before: LimitChange
    frozen: bool = False
    created_ns: int
    expires_ns: int
    holder: Holder
    state: LeaseState = LeaseState.ACTIVE
    reason: str = ""
    result: str = ""
    cgroup: LeasedCgroup | None = None
    pid: int | None = None
    pid_started: int | None = None
    by_api: bool = False
    scheduled: ThreadScheduling | None = None
    scheduling: tuple[ThreadScheduling, ...] = ()
    ended_ns: int = 0

    @property
    def active(self) -> bool:
        """It holds something in the kernel, as far as it is known."""
        return not self.ended_ns

    def is_of(self, other: Lease) -> bool:
        """Whether both are about the same cgroup."""
        if self.cgroup is None or other.cgroup is None:
            return self.cgroup is other.cgroup and self.ref == other.ref
        return bool(set(self.cgroup.directories) & set(other.cgroup.directories))

    def shares(self, other: Lease) -> frozenset[LimitName]:
        """The limits that both hold, where both are about the same cgroup."""
        return self.change.names() & other.change.names() if self.is_of(other) else frozenset()
