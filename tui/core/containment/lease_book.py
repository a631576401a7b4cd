"""The leases that this session knows: its own and those of other programs of this machine, and taking or ending one.

Whatever touches a lease of a container runs in turn with its other changes, and is no drift.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from collectors.attribution.evidence import Suspect
from runtime.containment.by_api import ApiSetter
from runtime.containment.lease import Lease, LeaseState
from runtime.containment.outsiders import MAX_NICE, PROCESS_ENGINE
from runtime.engines.protocol import Engine
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import ContainerRef, GroupKind, GroupRef, LimitChange, LimitOutcome, Ref
from tui.core.containment.outsiders import Outsider, OutsiderService
from tui.core.containment.service import LeaseService
from tui.core.drift.leased import LeasedLimits
from tui.core.operations import Operations
from tui.core.subject import Subject

REFRESH_INTERVAL_S: Final = 1.0


class LeaseBook:
    """Takes and ends leases.

    Attributes:
        known: every lease by id that was readable at the last refresh, also those that have ended a moment ago.
    """

    def __init__(
        self,
        service: LeaseService,
        operations: Operations,
        *,
        outsiders: OutsiderService,
        engine: Callable[[Ref], Engine | None],
        cgroup: Callable[[Subject], Cgroup | None],
    ) -> None:
        """`engine` is that of a container, `cgroup` finds that of a subject of this machine and blocks."""
        self._engine = engine
        self.known: Mapping[str, Lease] = {}
        self._service = service
        self._outsiders = outsiders
        self._operations = operations
        self._detector = operations.detector
        self._annotations = operations.annotations
        self._cgroup = cgroup

    @property
    def active(self) -> tuple[Lease, ...]:
        """Those that hold now, the oldest first."""
        return tuple(lease for lease in self.known.values() if lease.active)

    async def refresh(self) -> bool:
        """Read all leases again; whether anything has changed."""
        before = self.known
        found = await threads.measuring(self._service.read_all)
        self.known = {lease.id: lease for lease in found}
        if self.known == before:
            return False
        self._detector.leased(LeasedLimits(self.active))
        for lease in self.known.values():
            earlier = before.get(lease.id)
            if lease.state is LeaseState.REVERTED and earlier is not None and earlier.state is LeaseState.ACTIVE:
                self._annotations.reverted(lease.ref, lease.before)
        return True

    async def take(
        self,
        subject: Subject,
        change: LimitChange,
        *,
        seconds: float,
        reason: str,
        freeze: bool = False,
        audited: bool = False,
    ) -> tuple[Lease, LimitOutcome]:
        """Take a lease on a container or group; raises what the service raises, nothing is changed then.

        With `audited` nothing is changed unless the audit trail's entry is on the disk.
        """

        async def work() -> tuple[Lease, LimitOutcome]:
            cgroup = await threads.acting(self._cgroup, subject)
            lease, outcome = await self._service.take(
                subject.ref,
                subject.name,
                cgroup,
                change,
                pid=subject.pid,
                seconds=seconds,
                reason=reason,
                freeze=freeze,
                by_api=self._api(subject.ref),
                must_be_on_disk=audited,
            )
            await self.refresh()
            return lease, outcome

        title = f"limit {subject.name} for a time"
        lease, outcome = await self._operations.leased(subject.ref, title, work)
        self._annotations.outcome(outcome)
        return lease, outcome

    async def take_outsider(
        self, suspect: Suspect, outsider: Outsider, change: LimitChange, *, seconds: float, reason: str
    ) -> tuple[Lease, LimitOutcome]:
        """Take a lease on a unit, or on a process: its idle policy, or for a lower weight the highest nice value.

        A process has one lease at a time, so the one before is ended.
        """
        process = outsider.programs[0].pid
        ref: Ref = (
            GroupRef(GroupKind.SLICE, outsider.path) if outsider.path else ContainerRef(PROCESS_ENGINE, str(process))
        )

        async def work() -> tuple[Lease, LimitOutcome]:
            if outsider.path:
                taken = await self._outsiders.take_unit(outsider.path, change, seconds=seconds, reason=reason)
            else:
                for each in self.active:
                    if each.ref == ref:
                        await self._service.revert(each.id, reason)
                nice = None if change.cpu_idle else MAX_NICE
                lease = await self._outsiders.take_process(process, seconds=seconds, nice=nice, reason=reason)
                taken = lease, LimitOutcome(lease.ref, (), error=lease.result)
            await self.refresh()
            return taken

        return await self._operations.leased(ref, f"limit {suspect.name}", work)

    def _api(self, ref: Ref) -> ApiSetter | None:
        """How the engine changes limits of this container, for who may not write the kernel; it ends with us."""
        engine = self._engine(ref)
        if engine is None:
            return None
        update = partial(engine.update, ref.id)
        return ApiSetter(update, update)

    async def revert(self, lease: Lease, reason: str = "") -> Lease:
        """Take a lease back now."""

        async def work() -> Lease:
            ended = await self._service.revert(lease.id, reason)
            await self.refresh()
            return ended

        title = f"take back a lease of {lease.name}"
        return await self._operations.leased(lease.ref, title, work)

    async def renew(self, lease: Lease, seconds: float) -> Lease:
        """Let it end in so many seconds from now."""
        return await self._service.renew(lease.id, seconds)

    async def confirmed(self, lease: Lease) -> Lease:
        """It stays: the engine's record was told."""
        return await self._service.confirmed(lease.id)
