"""The words of leases: what is leased, for how long yet, and whose it is. Pure, but for the names of users."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from runtime.containment.lease import Holder, Lease, LeaseState
from runtime.model import LimitChange
from tui.present import format as fmt
from tui.present.limit_text import LABELS, format_limit
from tui.present.messages import Message, say

SHORT_S: Final = 100  # below this time that is left it is told in seconds alone
STATE_WORDS: Final = {
    LeaseState.ACTIVE: "active",
    LeaseState.CONFIRMED: "confirmed",
    LeaseState.REVERTED: "taken back",
    LeaseState.CONFLICT: "left as it is: somebody else has changed it",
    LeaseState.FAILED: "could not be taken back",
    LeaseState.GONE: "ended with its container",
}


def change_text(change: LimitChange, *, frozen: bool = False) -> str:
    """A change in a few words: "CPU idle on, CPU cores 0.4", "frozen"."""
    parts = [f"{LABELS.get(name, name.value)} {format_limit(name, value)}" for name, value in change.items()]
    return ", ".join([*parts, *([say(Message.FROZEN)] if frozen else ())])


def remaining_s(lease: Lease, now_ns: int) -> int:
    """Whole seconds until it is taken back; `now_ns` is on CLOCK_BOOTTIME."""
    return max(0, -(-(lease.expires_ns - now_ns) // 1_000_000_000))


def countdown(lease: Lease, now_ns: int) -> str:
    """The time that is left: "60s", "4m 10s"."""
    left = remaining_s(lease, now_ns)
    return f"{left}s" if left < SHORT_S else f"{left // 60}m {left % 60}s"


def active(leases: Iterable[Lease]) -> list[Lease]:
    """Those that hold, the first to be taken back first."""
    return sorted((each for each in leases if each.state is LeaseState.ACTIVE), key=lambda each: each.expires_ns)


def lease_text(lease: Lease, now_ns: int, own_pid: int) -> str:
    """One lease: "hog: CPU idle on, 47s left"; one of another process with its user."""
    text = say(
        Message.LEASE_HELD,
        name=fmt.clean(lease.name),
        change=change_text(lease.change, frozen=lease.frozen),
        time=countdown(lease, now_ns),
    )
    return text if lease.holder.pid == own_pid else f"{text} ({holder_text(lease.holder)})"


def head_text(leases: Sequence[Lease], now_ns: int) -> str:
    """All leases for the head of the list: "lease hog 47s", "3 leases, first 47s"; empty without one."""
    held = active(leases)
    if not held:
        return ""
    if len(held) == 1:
        return say(Message.ONE_LEASE, name=fmt.clean(held[0].name), time=countdown(held[0], now_ns))
    return say(Message.LEASES, count=len(held), time=countdown(held[0], now_ns))


def holder_text(holder: Holder) -> str:
    """Who took a lease: the user, by whom through sudo or ssh, and the process."""
    user = user_name(holder.uid)
    if holder.sudo_user and holder.sudo_user != user:
        user = say(Message.USER_BY_SUDO, user=fmt.clean(holder.sudo_user), target=user)
    if holder.ssh:
        user = say(Message.USER_BY_SSH, user=user, address=fmt.clean(holder.ssh.split()[0]))
    return say(Message.HOLDER, user=user, pid=holder.pid)


@lru_cache(256)
def user_name(uid: int) -> str:
    """A user's name, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def user_number(name: str) -> int | None:
    """A user's number by name, None when there is no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
