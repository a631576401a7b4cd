"""Leases in memory, with a kernel in memory: what `runtime.containment.leases` offers, without one behind it."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace

from runtime.containment.by_api import ApiSetter
from runtime.containment.lease import Holder, Lease, LeaseState
from runtime.errors import ConflictError, PytopError
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import same
from runtime.limits.restoring import restoring
from runtime.model import (
    UNLIMITED,
    ContainerRef,
    FieldOutcome,
    GroupKind,
    GroupRef,
    LimitChange,
    LimitOutcome,
    Limits,
    Missing,
    Ref,
    Verdict,
)

V2 = Limits(
    cpus=UNLIMITED,
    cpu_shares=1024,
    cpu_idle=False,
    memory=UNLIMITED,
    memory_high=UNLIMITED,
    memory_reservation=0,
    pids=UNLIMITED,
    io_weight=100,
    io_read_bps=(),
    io_write_bps=(),
    io_read_iops=(),
    io_write_iops=(),
    net_egress=UNLIMITED,
    net_ingress=UNLIMITED,
)


class FakeLeases:
    """Keeps leases, and the limits that they change.

    Attributes:
        kernel: by ref, what a kernel would hold.
        frozen: the containers that are frozen.
        failure: raised by the next `take`.
        hold: `take` waits until this is set.
        units, processes: what was taken of those.
    """

    def __init__(self) -> None:
        self.kernel: dict[Ref, Limits] = {}
        self.frozen: set[Ref] = set()
        self.failure: PytopError | None = None
        self.all: dict[str, Lease] = {}
        self.units: list[tuple[str, LimitChange]] = []
        self.processes: list[tuple[int, int | None]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self._numbers = itertools.count(1)

    def limits(self, ref: Ref) -> Limits:
        return self.kernel.setdefault(ref, V2)

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
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        await self.hold.wait()
        held, now_ns = self.limits(ref), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        lease = Lease(
            id=f"lease{next(self._numbers)}",
            ref=ref,
            name=name,
            target="container",
            boot="boot",
            change=change,
            before=LimitChange.of({name: restoring(held.get(name), value) for name, value in change.items()}),
            frozen=freeze,
            created_ns=now_ns,
            expires_ns=now_ns + int(seconds * 1e9),
            holder=Holder(pid=1, started=1, uid=0),
            reason=reason,
        )
        self.kernel[ref] = held.merge(dict(change.items()))
        if freeze:
            self.frozen.add(ref)
        self.all[lease.id] = lease
        fields = (
            FieldOutcome(name, value, held.get(name), Missing.NOT_SAMPLED, value, Verdict.APPLIED)
            for name, value in change.items()
        )
        return lease, LimitOutcome(ref, tuple(fields))

    async def take_unit(
        self, path: str, change: LimitChange, *, seconds: float, reason: str = ""
    ) -> tuple[Lease, LimitOutcome]:
        self.units.append((path, change))
        ref = GroupRef(GroupKind.SLICE, path)
        return await self.take(ref, path, None, change, pid=None, seconds=seconds, reason=reason)

    async def take_process(self, pid: int, *, seconds: float, nice: int | None = None, reason: str = "") -> Lease:
        self.processes.append((pid, nice))
        ref = ContainerRef("process", str(pid))
        lease, _ = await self.take(ref, str(pid), None, LimitChange(), pid=pid, seconds=seconds, reason=reason)
        self.all[lease.id] = replace(lease, target="process")
        return self.all[lease.id]

    def active(self, lease_id: str) -> Lease:
        lease = self.all.get(lease_id)
        if lease is None or lease.state is not LeaseState.ACTIVE:
            raise ConflictError("look for the lease", detail="it has ended")
        return lease

    async def renew(self, lease_id: str, seconds: float) -> Lease:
        expires_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)
        self.all[lease_id] = replace(self.active(lease_id), expires_ns=expires_ns)
        return self.all[lease_id]

    async def confirmed(self, lease_id: str) -> Lease:
        return self._end(self.active(lease_id), LeaseState.CONFIRMED)

    async def revert(self, lease_id: str, reason: str = "") -> Lease:
        return self.expire(lease_id)

    def expire(self, lease_id: str) -> Lease:
        """What the keeper does at its time. A newer lease of a limit is given what this one has found."""
        lease = self.active(lease_id)
        state, held = LeaseState.REVERTED, self.limits(lease.ref)
        self.frozen -= {lease.ref} if lease.frozen else set()
        for name, value in lease.change.items():
            before = lease.before.get(name)
            above = [
                each
                for each in self.all.values()
                if each.active and each.id > lease.id and each.ref == lease.ref and name in each.change.names()
            ]
            if above:
                self.all[above[0].id] = replace(above[0], before=above[0].before.merge(LimitChange.of({name: before})))
            elif same(name, held.get(name), value) is None:
                state = LeaseState.CONFLICT
            else:
                held = held.merge({name: before})
        self.kernel[lease.ref] = held
        return self._end(lease, state)

    def read_all(self) -> tuple[Lease, ...]:
        return tuple(self.all.values())

    def _end(self, lease: Lease, state: LeaseState) -> Lease:
        self.all[lease.id] = replace(lease, state=state, ended_ns=1)
        return self.all[lease.id]
