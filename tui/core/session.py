"""The composition root: engines, sampling and history as one thing that a screen or a command can ask.

Free of Textual, so the dashboard, the command line and the tests use the same `Session`. Everything public is called
on the event loop; what blocks goes to a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from collectors.history.rings import History
from collectors.sampling.frame import Frame
from runtime.engines.protocol import Engine
from runtime.errors import NotFoundError
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    GroupRef,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    LogLine,
    Missing,
    State,
    Verb,
)
from tui.core import inspector
from tui.core.annotations import Marks
from tui.core.deduplication import unclaimed
from tui.core.drift.checker import Patrol
from tui.core.drift.detector import Drift, Drifts
from tui.core.groups import GROUP, Group, Groups
from tui.core.inspector import Looking, Preview
from tui.core.inventory import Problem, Watch
from tui.core.operations import Changing
from tui.core.subscription import Changed, Telling

if TYPE_CHECKING:
    from collectors.inspection.isolation import Isolation
    from collectors.inspection.processes import Process
    from collectors.sampling.scheduler import Scheduler
    from collectors.sampling.sweep import Sweeper
    from collectors.sampling.target import Target
    from runtime.kernel.block import Disks
    from runtime.limits import Progress, RawFile
    from runtime.limits.controllers.network import Shaping

__all__ = ["Changed", "Drift", "Group", "Preview", "Problem", "Session"]

log = logging.getLogger(__name__)

UNRECORDED = Limits.of({}, absent=Missing.NOT_SAMPLED)
RECENT = 60.0  # seconds of history that a preview judges by


class Session:
    """Everything that can be seen and asked, of all engines together.

    Attributes:
        engines: by key.
        containers: by ref, of all engines; replaced, never mutated.
        frame: the last sweep, None before the first.
        history: what the last minutes' sweeps gave, and marks on their time axis.
        read_only: refuse every change.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        sweeper: Sweeper | None = None,
        interval: float = 1.0,
        read_only: bool = False,
    ) -> None:
        self.engines: Mapping[str, Engine] = {engine.key: engine for engine in engines}
        self.containers: Mapping[ContainerRef, Container] = {}
        self.frame: Frame | None = None
        self.history = History()
        self._marks = Marks(self.history)
        self.read_only = read_only
        self._interval = interval
        self._sweeper = sweeper
        self._scheduler: Scheduler | None = None
        self._watches = {
            engine.key: Watch(engine, self._inventory_changed, self._happened) for engine in self.engines.values()
        }
        self._looking = Looking()
        self._groups = Groups(self._groups_changed)
        self._drifts = Drifts(self.history)
        self._patrol = Patrol(
            *(self._drifts, self.engines, self._looking, self.find, self._drifted),
            capabilities=lambda key: self._watches[key].capabilities,
        )
        self._changing = Changing(
            *(self.engines, self._watches, self._groups, self._looking, self._marks, self._drifts, self.find),
            read_only=read_only,
        )
        self._measuring: Problem | None = None
        self._telling = Telling()
        self._tasks: list[asyncio.Task[None]] = []

    # what is there

    @property
    def capabilities(self) -> Mapping[str, Capabilities]:
        """By engine, of those that have answered."""
        return {key: watch.capabilities for key, watch in self._watches.items() if watch.capabilities is not None}

    @property
    def infos(self) -> Mapping[str, EngineInfo]:
        """By engine, of those that have answered."""
        return {key: watch.info for key, watch in self._watches.items() if watch.info is not None}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What does not work now, engines first."""
        problems = [watch.problem for watch in self._watches.values() if watch.problem is not None]
        if self._measuring is not None:
            problems.append(self._measuring)
        return (*problems, *self._patrol.problems)

    @property
    def groups(self) -> Mapping[GroupRef, Group]:
        """Compose projects, pods and slices."""
        return self._groups.groups

    @property
    def rows(self) -> Mapping[ContainerRef, Container]:
        """The groups as rows beside the containers; a row's ref goes wherever a container's does."""
        return self._groups.rows

    @property
    def drift(self) -> Mapping[ContainerRef, tuple[Drift, ...]]:
        """Limits that somebody else has changed, by container or row of a group."""
        return self._drifts.found

    def find(self, ref: ContainerRef) -> Container | None:
        """A container, or a group's row."""
        return self.containers.get(ref) or self._groups.rows.get(ref)

    def group_of(self, ref: ContainerRef) -> Group | None:
        """The group that a row stands for, or under which a container is listed."""
        group = self._groups.of.get(ref)
        return self._groups.groups.get(group) if group is not None else self._groups.get(ref)

    @property
    def busy(self) -> bool:
        """A change is under way, which closing would wait for."""
        return self._changing.busy

    @property
    def interval(self) -> float:
        """Seconds between two sweeps."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = seconds
        if self._scheduler is not None:
            self._scheduler.interval = seconds

    def subscribe(self, callback: Callable[[Changed], None]) -> Callable[[], None]:
        """Call `callback` on the event loop after changes, several of them at once; the result ends it."""
        return self._telling.subscribe(callback)

    # life

    async def start(self) -> None:
        """Begin to follow the engines and to measure; returns at once, the first changes are told when they come."""
        for key, watch in self._watches.items():
            self._spawn(watch.run(), f"inventory of {key}")
        self._spawn(self._groups.follow(), "groups")
        self._spawn(self._patrol.run(), "drift")
        self._spawn(self._measure(), "sweeps")

    async def ready(self, timeout: float = 5.0) -> None:
        """Wait until every engine has answered or failed once, at most `timeout` seconds."""
        waits = [asyncio.ensure_future(watch.answered.wait()) for watch in self._watches.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout)
            for wait in late:
                wait.cancel()

    async def refresh(self) -> None:
        """Ask every engine for everything now; works without `start` too. Failures become `problems`."""
        await asyncio.gather(*(watch.load() for watch in self._watches.values()))

    async def regroup(self) -> None:
        """Look into the kernel for slices and the groups' cgroups now; works without `start` too."""
        await self._groups.look()

    async def compare(self, containers: Iterable[Container]) -> None:
        """Look now for limits that somebody else has changed, into `drift`; works without `start` too."""
        await self._patrol.compare(containers)

    async def close(self) -> None:
        """Let changes that are under way come to their end, then stop everything and let go of every descriptor."""
        self._telling.close()
        await self._changing.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for key, result in zip(
            self.engines,
            await asyncio.gather(*(engine.close() for engine in self.engines.values()), return_exceptions=True),
            strict=True,
        ):
            if isinstance(result, Exception):
                log.error("closing %s", key, exc_info=result)
        if self._sweeper is not None:
            await asyncio.to_thread(self._sweeper.close)

    # asking

    def why_not(self, ref: ContainerRef, what: Verb | LimitName) -> str | None:
        """Why this cannot be done to this container now, in words for the user; None when it can."""
        return self._changing.why_not(ref, what)

    async def perform(self, ref: ContainerRef, verb: Verb, **options: Any) -> None:
        """Do it, after whatever is being done to this container; it is done even if the caller is cancelled.

        Options are those of the engine's method: `timeout` for stop and restart, `signal` for kill, `force` for
        remove. A kill does not wait its turn: it is what one does when a stop takes too long. A group is paused and
        resumed member by member, so that each engine knows of it.
        """
        await self._changing.perform(ref, verb, **options)

    async def create(self, engine: str, spec: ContainerSpec) -> ContainerRef:
        """Make a container with this engine; it is listed when this returns."""
        return await self._changing.create(engine, spec)

    async def update(self, ref: ContainerRef, change: LimitChange) -> LimitOutcome:
        """Change limits; what came of it is judged by the kernel. Raises when nothing was written."""
        return await self._changing.update(ref, change)

    async def shrink(
        self,
        ref: ContainerRef,
        memory: int,
        progress: Callable[[Progress], None],
        *,
        beside: LimitChange = LimitChange(),  # noqa: B008  (frozen)
    ) -> LimitOutcome:
        """Take memory away from a container until a limit of `memory` bytes fits, then set it, and `beside` with it.

        `progress` is called on the event loop. Raises `RefusedError` with what holds the memory when it does not
        fit; the limits are as before then. A caller that is cancelled stops it after the step under way.
        """
        return await self._changing.shrink(ref, memory, progress, beside)

    def expected(self, ref: ContainerRef) -> LimitChange:
        """The change that sets again what somebody else has changed."""
        return self._drifts.expected(ref)

    def accept(self, ref: ContainerRef) -> None:
        """From now on what the kernel holds is what is expected."""
        self._drifts.accept(ref)
        self._drifted()

    async def recorded(self, ref: ContainerRef) -> Limits:
        """The limits by the engine's record; nobody keeps one of a group's."""
        if ref.engine == GROUP:
            return UNRECORDED
        return await self.engines[ref.engine].recorded(ref.id)

    async def shaping(self, ref: ContainerRef) -> Shaping | Missing:
        """The queues that limit a container's network, with their counters; missing with the reason."""
        return await self._looking.shaping(self._container(ref))

    async def disks(self) -> Disks:
        """The machine's block devices, by number and name."""
        return await self._looking.disks()

    async def limits(self, ref: ContainerRef) -> Limits:
        """What the kernel holds; every field is `Missing.GONE` while the container is not live."""
        return await self._looking.limits(self._container(ref))

    async def preview(self, ref: ContainerRef, change: LimitChange) -> Preview:
        """Judge a change before it is made, by the host and by the last minute's use."""
        usage = self.frame.usages.get(ref) if self.frame is not None else None

        def mean(metric: str) -> float | None:
            return self.history.mean(ref, metric, RECENT)

        others = [each for each in self.containers.values() if each.ref != ref and each.state.live]
        return await self._looking.preview(self._container(ref), change, usage, mean, others)

    async def raw_limits(self, ref: ContainerRef) -> tuple[RawFile, ...]:
        """Every limit file as the kernel holds it; none while the container is not live."""
        return await self._looking.raw(self._container(ref))

    def logs(self, ref: ContainerRef, *, follow: bool = True, tail: int | None = None) -> AsyncIterator[LogLine]:
        """The engine's log of this container; close the iterator when done."""
        return self.engines[ref.engine].logs(ref.id, follow=follow, tail=tail)

    async def inspect(self, ref: ContainerRef) -> Mapping[str, Any]:
        """The engine's own document about this container."""
        return await self.engines[ref.engine].inspect(ref.id)

    async def processes(self, ref: ContainerRef) -> tuple[Process, ...]:
        """Everything that runs inside; raises `ConflictError` while the container is not live."""
        return await inspector.processes(self._container(ref))

    async def isolation(self, ref: ContainerRef) -> Isolation:
        """How it is kept apart; raises `ConflictError` while the container is not live."""
        return await inspector.isolation(self._container(ref))

    # inside

    def _container(self, ref: ContainerRef) -> Container:
        container = self.find(ref)
        if container is None:
            raise NotFoundError(f"look at {ref.short}", detail="it is gone")
        return container

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _measure(self) -> None:
        """Sweep until cancelled; a sweep that breaks is a problem on the screen, not a silent gap."""
        from collectors.sampling.scheduler import Scheduler
        from collectors.sampling.sweep import Sweeper

        if self._sweeper is None:
            self._sweeper = await asyncio.to_thread(Sweeper)
        scheduler = Scheduler(self._sweeper, self.targets, self._took, self._interval, on_error=self._sweep_failed)
        self._scheduler = scheduler
        await scheduler.run()

    def _sweep_failed(self, error: Exception) -> None:
        log.error("a sweep failed", exc_info=error)
        problem = Problem("", f"measuring failed: {error}")
        if problem != self._measuring:
            self._measuring = problem
            self._telling.tell(Changed.PROBLEMS)

    def targets(self) -> Sequence[Target]:
        """The live containers, for a sweep. One whose engine is away is measured on: its processes may well live."""
        from collectors.sampling.target import Target

        return [
            *(
                Target(container.ref, container.pid, container.cgroup)
                for container in self.containers.values()
                if container.pid is not None and (container.state.live or container.state is State.UNKNOWN)
            ),
            *self._groups.targets(),
        ]

    def _took(self, frame: Frame) -> None:
        frame = self._groups.complete(frame)
        self._patrol.frame(frame)
        self._marks.frames(self.frame, frame)
        self.frame = frame
        self.history.push(frame)
        healed, self._measuring = self._measuring is not None, None
        self._telling.tell(Changed.FRAME | Changed.PROBLEMS if healed else Changed.FRAME)

    def _inventory_changed(self) -> None:
        before = self.containers
        everything = {ref: c for watch in self._watches.values() for ref, c in watch.containers.items()}
        waiting = not all(watch.answered.is_set() for watch in self._watches.values())
        self.containers = unclaimed(everything, wait=waiting)
        for ref in before.keys() - self.containers.keys():
            self._marks.forget(ref)
            self._changing.forget(ref)
        self._groups.inventory(self.containers)
        self._drifts.inventory({**self.containers, **self.rows})
        self._telling.tell(Changed.INVENTORY | Changed.PROBLEMS)

    def _groups_changed(self) -> None:
        self._drifts.inventory({**self.containers, **self.rows})
        self._telling.tell(Changed.INVENTORY)

    def _drifted(self) -> None:
        self._telling.tell(Changed.FRAME | Changed.PROBLEMS)

    def _happened(self, event: Event) -> None:
        self._marks.event(event)
        self._drifts.event(event)
