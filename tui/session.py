"""The composition root: engines, sampling and history as one thing that a screen or a command can ask.

Free of Textual, so the dashboard, the command line and the tests use the same `Session`. Everything public is called
on the event loop; what blocks goes to a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from enum import Flag, auto
from threading import Event as Stop
from typing import TYPE_CHECKING, Any, TypeVar

from collectors.frame import Frame
from collectors.history import History
from runtime.engine import Engine
from runtime.errors import ConflictError, NotFoundError, RefusedError, UnsupportedError
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
from tui import looking, permission
from tui.claims import unclaimed
from tui.drift import Drift, Drifts
from tui.grouping import GROUP, Group, Groups, row_of
from tui.inventory import Problem, Watch
from tui.looking import Looking, Preview
from tui.marks import Marks
from tui.patrol import Patrol

if TYPE_CHECKING:
    from collectors.isolation import Isolation
    from collectors.processes import Process
    from collectors.scheduler import Scheduler
    from collectors.sweep import Sweeper
    from collectors.target import Target
    from runtime.kernel.block import Disks
    from runtime.limits import Progress, RawFile
    from runtime.limits.network import Shaping

__all__ = ["Changed", "Drift", "Group", "Preview", "Problem", "Session"]

log = logging.getLogger(__name__)

T = TypeVar("T")

LAST_WRITES = 30.0  # how long closing waits for changes that are under way
UNRECORDED = Limits(**dict.fromkeys([name.value for name in LimitName], Missing.NOT_SAMPLED))
RECENT = 60.0  # seconds of history that a preview judges by


class Changed(Flag):
    """What a subscriber should look at again."""

    INVENTORY = auto()
    FRAME = auto()
    PROBLEMS = auto()


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
        self._patrol = Patrol(self._drifts, self.engines, self._looking, self.find, self._drifted)
        self._measuring: Problem | None = None
        self._subscribers: list[Callable[[Changed], None]] = []
        self._pending: Changed | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._writes: set[asyncio.Task[Any]] = set()
        self._locks: dict[ContainerRef, asyncio.Lock] = {}
        self._closed = False

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
        return tuple(problems)

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
        return bool(self._writes)

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
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

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

    async def close(self) -> None:
        """Let changes that are under way come to their end, then stop everything and let go of every descriptor."""
        self._closed = True
        if self._writes:
            await asyncio.wait(self._writes, timeout=LAST_WRITES)
        tasks = [*self._tasks, *self._writes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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
        if ref.engine == GROUP:
            return self._why_not_group(ref, what)
        container = self.containers.get(ref)
        watch = self._watches.get(ref.engine)
        if container is None or watch is None:
            return "it is gone"
        if watch.capabilities is None:
            return watch.problem.title if watch.problem is not None else f"{ref.engine} has not answered yet"
        reason = permission.by_engine(watch.capabilities, what, read_only=self.read_only)
        if reason is None and watch.problem is not None:
            reason = watch.problem.title
        return reason or permission.by_state(container.state, what, watch.capabilities.at_rest)

    async def perform(self, ref: ContainerRef, verb: Verb, **options: Any) -> None:
        """Do it, after whatever is being done to this container; it is done even if the caller is cancelled.

        Options are those of the engine's method: `timeout` for stop and restart, `signal` for kill, `force` for
        remove. A kill does not wait its turn: it is what one does when a stop takes too long. A group is paused and
        resumed member by member, so that each engine knows of it.
        """
        if ref.engine == GROUP:
            await self._perform_on_group(ref, verb)
            return
        self._permit(ref, verb)
        engine = self.engines[ref.engine]
        methods: Mapping[Verb, Callable[..., Awaitable[None]]] = {
            Verb.START: engine.start,
            Verb.STOP: engine.stop,
            Verb.RESTART: engine.restart,
            Verb.KILL: engine.kill,
            Verb.PAUSE: engine.pause,
            Verb.UNPAUSE: engine.unpause,
            Verb.REMOVE: engine.remove,
        }

        async def work() -> None:
            try:
                await methods[verb](ref.id, **options)
            finally:
                await self._watches[ref.engine].look(ref)

        await self._write(ref, work, in_turn=verb is not Verb.KILL)

    async def create(self, engine: str, spec: ContainerSpec) -> ContainerRef:
        """Make a container with this engine; it is listed when this returns."""
        self._permit_engine(engine, Verb.CREATE, f"create {spec.name or 'a container'}")
        ref = await self.engines[engine].create(spec)
        await self._watches[engine].look(ref)
        return ref

    async def update(self, ref: ContainerRef, change: LimitChange) -> LimitOutcome:
        """Change limits; what came of it is judged by the kernel. Raises when nothing was written."""
        self._permit_change(ref, change)
        return await self._write(ref, lambda: self._update(ref, change))

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
        change = replace(beside, memory=memory)
        self._permit_change(ref, change)
        stop = Stop()

        async def work() -> LimitOutcome:
            container = self._container(ref)
            if container.state.live:
                reached = await self._looking.shrink(container, memory, progress, stop)
                if not reached.done:
                    title = f"make room for a lower memory limit of {container.name}"
                    raise RefusedError(title, detail=reached.reason, hint="The limits are as they were")
            return await self._update(ref, change)

        try:
            return await self._write(ref, work)
        finally:
            stop.set()

    async def update_group(self, ref: GroupRef, change: LimitChange) -> LimitOutcome:
        """Change limits of a group's own cgroup, through the kernel."""
        return await self.update(row_of(ref), change)

    async def _update(self, ref: ContainerRef, change: LimitChange) -> LimitOutcome:
        self._marks.expect(ref)
        self._drifts.begin(ref)
        outcome: LimitOutcome | None = None
        try:
            if ref.engine == GROUP:
                await self._groups.look()  # somebody else may have come to live there
                self._permit_change(ref, change)
                outcome = await self._looking.change(self._container(ref), change)
            else:
                outcome = await self.engines[ref.engine].update(ref.id, change)
        finally:
            self._drifts.end(ref, outcome)
        self._marks.outcome(outcome)
        if ref.engine != GROUP:
            await self._watches[ref.engine].look(ref)
        return outcome

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
        return await looking.processes(self._container(ref))

    async def isolation(self, ref: ContainerRef) -> Isolation:
        """How it is kept apart; raises `ConflictError` while the container is not live."""
        return await looking.isolation(self._container(ref))

    # inside

    def _why_not_group(self, row: ContainerRef, what: Verb | LimitName) -> str | None:
        reason = self._groups.why_not(row, what)
        if reason is None and self.read_only:
            return permission.READ_ONLY
        if reason is None and isinstance(what, Verb) and what is not Verb.UPDATE:
            group = self._groups.get(row)
            reasons = [self.why_not(ref, what) for ref in group.members] if group is not None else []
            reason = None if None in reasons else next(iter(reasons), "it is gone")
        return reason

    async def _perform_on_group(self, row: ContainerRef, verb: Verb) -> None:
        reason = self._why_not_group(row, verb)
        if reason is not None:
            raise UnsupportedError(f"{verb.value} {self._name(row)}", detail=reason)
        members = self._groups.get(row)
        able = [ref for ref in members.members if self.why_not(ref, verb) is None] if members is not None else []
        results = await asyncio.gather(*(self.perform(ref, verb) for ref in able), return_exceptions=True)
        for failure in results:
            if failure is not None:
                raise failure

    def _permit_change(self, ref: ContainerRef, change: LimitChange) -> None:
        self._permit(ref, Verb.UPDATE)
        for name, _ in change.items():
            self._permit(ref, name)

    def _permit(self, ref: ContainerRef, what: Verb | LimitName) -> None:
        """Raise what `why_not` says, except for the state: that the engine judges, by what is true when it is done."""
        if ref.engine == GROUP and not self._closed:
            reason = self._why_not_group(ref, what)
            if reason is not None:
                error = RefusedError if reason == permission.READ_ONLY else UnsupportedError
                raise error(f"limit {self._name(ref)}", detail=reason)
            return
        self._permit_engine(ref.engine, what, f"{what.value.replace('_', ' ')} {self._name(ref)}")

    def _permit_engine(self, engine: str, what: Verb | LimitName, title: str) -> None:
        if self._closed:
            raise ConflictError(title, detail="the session is closed")
        watch = self._watches.get(engine)
        if watch is None:
            raise NotFoundError(title, detail=f"there is no engine {engine}")
        reason = permission.by_engine(watch.capabilities or Capabilities(), what, read_only=self.read_only)
        if reason is not None:
            raise (RefusedError if reason == permission.READ_ONLY else UnsupportedError)(title, detail=reason)

    def _name(self, ref: ContainerRef) -> str:
        container = self.find(ref)
        return container.name if container is not None else ref.short

    def _container(self, ref: ContainerRef) -> Container:
        container = self.find(ref)
        if container is None:
            raise NotFoundError(f"look at {ref.short}", detail="it is gone")
        return container

    async def _write(self, ref: ContainerRef, work: Callable[[], Coroutine[Any, Any, T]], *, in_turn: bool = True) -> T:
        """Run `work` when its turn has come. Waiting for the turn can be cancelled, the work itself cannot."""
        lock = self._locks.setdefault(ref, asyncio.Lock()) if in_turn else asyncio.Lock()
        await lock.acquire()
        if self._closed:
            lock.release()
            raise ConflictError(f"change {self._name(ref)}", detail="the session is closed")
        task = asyncio.create_task(work(), name=f"change of {ref.engine}:{ref.short}")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        task.add_done_callback(lambda _: lock.release())
        return await asyncio.shield(task)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _measure(self) -> None:
        """Sweep until cancelled; a sweep that breaks is a problem on the screen, not a silent gap."""
        from collectors.scheduler import Scheduler
        from collectors.sweep import Sweeper

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
            self._notify(Changed.PROBLEMS)

    def targets(self) -> Sequence[Target]:
        """The live containers, for a sweep. One whose engine is away is measured on: its processes may well live."""
        from collectors.target import Target

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
        self._notify(Changed.FRAME | Changed.PROBLEMS if healed else Changed.FRAME)

    def _inventory_changed(self) -> None:
        before = self.containers
        everything = {ref: c for watch in self._watches.values() for ref, c in watch.containers.items()}
        waiting = not all(watch.answered.is_set() for watch in self._watches.values())
        self.containers = unclaimed(everything, wait=waiting)
        for ref in before.keys() - self.containers.keys():
            self._marks.forget(ref)
            if ref in self._locks and not self._locks[ref].locked():
                del self._locks[ref]
        self._groups.inventory(self.containers)
        self._drifts.inventory({**self.containers, **self.rows})
        self._notify(Changed.INVENTORY | Changed.PROBLEMS)

    def _groups_changed(self) -> None:
        self._drifts.inventory({**self.containers, **self.rows})
        self._notify(Changed.INVENTORY)

    def _drifted(self) -> None:
        self._notify(Changed.FRAME)

    def _happened(self, event: Event) -> None:
        self._marks.event(event)
        self._drifts.event(event)

    def _notify(self, what: Changed) -> None:
        """Tell the subscribers once per turn of the loop, however much has changed in it."""
        if self._pending is None:
            self._pending = what
            asyncio.get_running_loop().call_soon(self._deliver)
        else:
            self._pending |= what

    def _deliver(self) -> None:
        what, self._pending = self._pending, None
        if what is None or self._closed:
            return
        for callback in tuple(self._subscribers):
            try:
                callback(what)
            except Exception:
                log.exception("a subscriber failed")
