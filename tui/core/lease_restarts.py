"""Gives a leased container that was started again its leases again, until they run out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from runtime.containment import leases
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Container, ContainerRef
from tui.core.subject import Subject

SETTLE_S: Final = 0.2
"""After a start, in which its engine writes the limits that it has recorded."""


class LeaseRestarts:
    """Learns of restarts by the inventory."""

    def __init__(self, cgroup: Callable[[Subject], Cgroup | None]) -> None:
        """`cgroup` finds that of a live container, and blocks."""
        self._cgroup = cgroup
        self._pids: dict[ContainerRef, int] = {}
        self._restarted: dict[ContainerRef, Container] = {}
        self._wake = asyncio.Event()

    def inventory(self, containers: Iterable[Container]) -> None:
        """The containers now; one whose first process is another one was started again."""
        seen: set[ContainerRef] = set()
        for container in containers:
            seen.add(container.ref)
            if container.pid is None:
                continue
            before = self._pids.get(container.ref)
            self._pids[container.ref] = container.pid
            if before not in (None, container.pid):
                self._restarted[container.ref] = container
                self._wake.set()
        self._pids = {ref: pid for ref, pid in self._pids.items() if ref in seen}

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await threads.measuring(leases.any_active):
                self._restarted.clear()
                continue
            await asyncio.sleep(SETTLE_S)
            found, self._restarted = self._restarted, {}
            for ref, container in found.items():
                cgroup = await threads.measuring(self._cgroup, container)
                if cgroup is not None:
                    await leases.reapply(ref, cgroup, container.pid)
