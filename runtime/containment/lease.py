"""A lease: a change of limits that lives in the kernel only and is taken back at its time unless it is confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runtime.model import LimitChange, Ref


class LeaseState(StrEnum):
    """Where a lease is in its life."""

    ACTIVE = "active"  # holds, and is taken back at `expires_ns`
    CONFIRMED = "confirmed"  # stays: it was told to the engine's record
    REVERTED = "reverted"  # taken back
    CONFLICT = "conflict"  # somebody else has changed the limit meanwhile: what they wrote was left as it is
    FAILED = "failed"  # could not be taken back; `reason` says why
    GONE = "gone"  # its container, process or boot has ended, and the limit with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who took a lease: the process, and its user. `ssh` and `sudo_user` are what the environment claims."""

    pid: int
    started: int | None
    uid: int
    loginuid: int | None = None
    sudo_user: str = ""
    ssh: str = ""


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
        reason: why, in words; "" when nobody said.
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
