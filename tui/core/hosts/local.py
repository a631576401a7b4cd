"""The machine that this program runs on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Event

from collectors.sampling.frame import Frame
from collectors.sampling.scheduler import Scheduler
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime import limits
from runtime.engines.found import kernel_limits
from runtime.engines.protocol import Engine
from runtime.errors import ConflictError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.self_protection import protect_own_container, protect_self
from runtime.limits import ReclaimProgress
from runtime.model import Container, LimitChange, LimitOutcome
from tui.core.hosts.frames import LOCAL
from tui.core.inspector import Inspector
from tui.core.permissions import state_conflict
from tui.core.subject import Group, Subject, limit_target

log = logging.getLogger(__name__)


class LocalHost:
    """The engines and the kernel of this machine."""

    name = LOCAL

    def __init__(self, engines: Sequence[Engine], *, sweeper: Sweeper | None = None, interval: float = 1.0) -> None:
        """`sweeper` is made when it is first needed unless it is given; `interval` is seconds between two sweeps."""
        self.engines: Mapping[str, Engine] = {engine.key: engine for engine in engines}
        self.inspection = Inspector()
        self._sweeper = sweeper
        self._interval = interval
        self._scheduler: Scheduler | None = None

    async def measure(
        self,
        targets: Callable[[], Sequence[Target]],
        on_frame: Callable[[Frame], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Sweep until cancelled."""
        if self._sweeper is None:
            self._sweeper = await threads.acquiring(Sweeper, Sweeper.close, threads.Kind.MEASURE)
        self._scheduler = Scheduler(self._sweeper, targets, on_frame, self._interval, on_error=on_error)
        await self._scheduler.run()

    def set_interval(self, seconds: float) -> None:
        """The time between two sweeps, from now on."""
        self._interval = seconds
        if self._scheduler is not None:
            self._scheduler.interval = seconds

    async def protect_self(self, subject: Subject, title: str) -> None:
        """Raise `RefusedError` when this program, or what it was started from, runs in there."""
        await threads.acting(self._protect_self, subject, title)

    def _protect_self(self, subject: Subject, title: str) -> None:
        if isinstance(subject, Container):
            protect_own_container(title, subject.ref.id)
        target = limit_target(subject)
        if target is None or not (target.cgroup or target.guarded):  # it has no cgroup of its own here
            return
        cgroup = self.inspection.cgroup(subject) or Cgroup()
        protect_self(title, cgroup, target.pid, unknown_is_ours=target.guarded)

    async def change_group_limits(self, group: Group, change: LimitChange) -> LimitOutcome:
        """Like those of found containers: checked for self-protection and locked."""
        cgroup = await threads.acting(self.inspection.cgroup, group)
        if cgroup is None:
            raise ConflictError(f"change limits of {group.name}", detail="it has no cgroup of its own now")
        return await kernel_limits.change_limits(
            group.ref, cgroup, change, name=group.name, record=kernel_limits.NOBODY_KNOWS
        )

    async def reclaim(
        self, subject: Subject, target_bytes: int, progress: Callable[[ReclaimProgress], None], stop: Event
    ) -> ReclaimProgress:
        """Reclaim memory until it uses no more than `target_bytes`; `progress` is called on the event loop."""
        title = f"reclaim memory of {subject.name}"
        cgroup = await threads.acting(self.inspection.cgroup, subject)
        if cgroup is None:
            raise state_conflict(title, subject.state)
        await self.protect_self(subject, title)
        loop = asyncio.get_running_loop()

        def report(so_far: ReclaimProgress) -> None:
            loop.call_soon_threadsafe(progress, so_far)

        return await threads.completing(lambda: limits.shrink(cgroup, target_bytes, progress=report, stop=stop))

    async def close(self) -> None:
        """Close the engines and the sweeper; an engine that fails does not keep the others open."""
        results = await asyncio.gather(*(engine.close() for engine in self.engines.values()), return_exceptions=True)
        for key, result in zip(self.engines, results, strict=True):
            if isinstance(result, Exception):
                log.error("closing %s", key, exc_info=result)
        if self._sweeper is not None:
            await threads.measuring(self._sweeper.close)
