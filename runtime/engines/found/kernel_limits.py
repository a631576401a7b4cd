"""Limits where no engine keeps a record: of found containers and of groups. Only the kernel holds them."""

from __future__ import annotations

from typing import Final

from runtime import limits
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.self_protection import protect_self
from runtime.limits.lock import change_lock, with_warning
from runtime.model import LimitChange, LimitOutcome, Limits, Missing, Ref

NOT_RECORDED: Final = Limits()
"""What a record would say of a container whose limits are gone when it ends: it has none of them."""
NOBODY_KNOWS: Final = Limits.of({}, absent=Missing.NOT_SAMPLED)
"""The record of a group: whether its cgroup is made anew with the same limits is for its makers to say."""


async def change_limits(
    ref: Ref, cgroup: Cgroup, change: LimitChange, *, name: str, record: Limits, pid: int | None = None
) -> LimitOutcome:
    """Change limits of a cgroup, one client at a time; `pid` is whose network is meant, `record` who will have them.

    Raises `RefusedError` when process 1, this program or what started it lives in there.
    """
    title = f"change limits of {name}"
    async with change_lock(cgroup, title) as unlocked:
        await threads.acting(protect_self, title, cgroup)
        outcome = await threads.acting(lambda: limits.change(ref, cgroup, change, pid=pid))
    return with_warning(limits.with_persistence(outcome, record), unlocked)
