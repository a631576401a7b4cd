"""What the containment of a session asks of leases; `runtime.containment.leases` is that, and a fake in tests."""

from __future__ import annotations

from typing import Protocol

from runtime.containment.by_api import ApiSetter
from runtime.containment.lease import Lease
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import LimitChange, LimitOutcome, Ref


class LeaseService(Protocol):
    """Takes, prolongs, confirms and takes back leases of this machine."""

    async def take(
        self,
        ref: Ref,
        name: str,
        cgroup: Cgroup | None,
        change: LimitChange,
        *,
        pid: int | None,
        seconds: float,
        reason: str = "",
        freeze: bool = False,
        force: bool = False,
        by_api: ApiSetter | None = None,
        must_be_on_disk: bool = False,
    ) -> tuple[Lease, LimitOutcome]:
        """Change limits for some seconds, read back.

        `by_api` is used by who may not write the kernel; with `must_be_on_disk` the audit trail has it before.
        """
        ...

    async def renew(self, lease_id: str, seconds: float) -> Lease:
        """Let it end in so many seconds from now."""
        ...

    async def confirmed(self, lease_id: str) -> Lease:
        """End it without taking it back."""
        ...

    async def revert(self, lease_id: str, reason: str = "") -> Lease:
        """Take it back now."""
        ...

    def read_all(self) -> tuple[Lease, ...]:
        """Every lease of this machine, also of other programs, and those that have ended a moment ago. Blocks."""
        ...
