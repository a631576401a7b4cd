"""Changes containers: what may be done now, one change at a time for each, none cancelled half-way.

Verbs go to the engines, limits to the engines or to a group's own cgroup. A group is paused and resumed member by
member.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from threading import Event as Stop
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.engines.found import unsupported
from runtime.engines.protocol import Engine
from runtime.errors import ConflictError, NotFoundError, RefusedError, UnsupportedError
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    LimitChange,
    LimitName,
    LimitOutcome,
    Verb,
)
from tui.core import permissions
from tui.core.annotations import Marks
from tui.core.drift.detector import Drifts
from tui.core.groups import GROUP, Groups
from tui.core.inspector import Looking
from tui.core.inventory import Watch

if TYPE_CHECKING:
    from runtime.limits import Progress

T = TypeVar("T")

LAST_WRITES = 30.0  # how long closing waits for changes that are under way


class Changing:
    """The half of the session that writes; the other half is `Looking`."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        watches: Mapping[str, Watch],
        groups: Groups,
        looking: Looking,
        marks: Marks,
        drifts: Drifts,
        find: Callable[[ContainerRef], Container | None],
        *,
        read_only: bool,
    ) -> None:
        self._engines = engines
        self._watches = watches
        self._groups = groups
        self._looking = looking
        self._marks = marks
        self._drifts = drifts
        self._find = find
        self._read_only = read_only
        self._writes: set[asyncio.Task[Any]] = set()
        self._locks: dict[ContainerRef, asyncio.Lock] = {}
        self._closed = False

    @property
    def busy(self) -> bool:
        """A change is under way, which closing would wait for."""
        return bool(self._writes)

    def forget(self, ref: ContainerRef) -> None:
        """The container is gone."""
        if ref in self._locks and not self._locks[ref].locked():
            del self._locks[ref]

    async def close(self) -> None:
        """Begin nothing more, and let what is under way come to its end."""
        self._closed = True
        if self._writes:
            _, late = await asyncio.wait(self._writes, timeout=LAST_WRITES)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # what may be done

    def why_not(self, ref: ContainerRef, what: Verb | LimitName) -> str | None:
        """Why this cannot be done to this container or group now, in words for the user; None when it can."""
        if ref.engine == GROUP:
            return self._why_not_group(ref, what)
        container = self._find(ref)
        watch = self._watches.get(ref.engine)
        if container is None or watch is None:
            return "it is gone"
        if watch.capabilities is None:
            return watch.problem.title if watch.problem is not None else f"{ref.engine} has not answered yet"
        reason = permissions.by_engine(watch.capabilities, what, read_only=self._read_only)
        reason = reason or unsupported.why_not(container, what)
        if reason is None and watch.problem is not None:
            reason = watch.problem.title
        return reason or permissions.by_state(container.state, what, watch.capabilities.at_rest)

    def _why_not_group(self, row: ContainerRef, what: Verb | LimitName) -> str | None:
        reason = self._groups.why_not(row, what)
        if reason is None and self._read_only:
            return permissions.READ_ONLY
        if reason is None and isinstance(what, Verb) and what is not Verb.UPDATE:
            group = self._groups.get(row)
            reasons = [self.why_not(ref, what) for ref in group.members] if group is not None else []
            reason = None if None in reasons else next(iter(reasons), "it is gone")
        return reason

    def _permit_change(self, ref: ContainerRef, change: LimitChange) -> None:
        self._permit(ref, Verb.UPDATE)
        for name, _ in change.items():
            self._permit(ref, name)

    def _permit(self, ref: ContainerRef, what: Verb | LimitName) -> None:
        """Raise what `why_not` says, except for the state: that the engine judges, by what is true when it is done."""
        if ref.engine == GROUP and not self._closed:
            reason = self._why_not_group(ref, what)
            if reason is not None:
                error = RefusedError if reason == permissions.READ_ONLY else UnsupportedError
                raise error(f"limit {self._name(ref)}", detail=reason)
            return
        title = f"{what.value.replace('_', ' ')} {self._name(ref)}"
        self._permit_engine(ref.engine, what, title)
        container = self._find(ref)
        reason = unsupported.why_not(container, what) if container is not None else None
        if reason is not None:
            raise UnsupportedError(title, detail=reason)

    def _permit_engine(self, engine: str, what: Verb | LimitName, title: str) -> None:
        if self._closed:
            raise ConflictError(title, detail="the session is closed")
        watch = self._watches.get(engine)
        if watch is None:
            raise NotFoundError(title, detail=f"there is no engine {engine}")
        reason = permissions.by_engine(watch.capabilities or Capabilities(), what, read_only=self._read_only)
        if reason is not None:
            raise (RefusedError if reason == permissions.READ_ONLY else UnsupportedError)(title, detail=reason)

    # verbs

    async def create(self, engine: str, spec: ContainerSpec) -> ContainerRef:
        """Make a container with this engine; it is listed when this returns."""
        self._permit_engine(engine, Verb.CREATE, f"create {spec.name or 'a container'}")
        ref = await self._engines[engine].create(spec)
        await self._watches[engine].look(ref)
        return ref

    async def perform(self, ref: ContainerRef, verb: Verb, **options: Any) -> None:
        """Do it, with the options of the engine's method. A kill does not wait for its turn."""
        if ref.engine == GROUP:
            await self._perform_on_group(ref, verb)
            return
        self._permit(ref, verb)
        engine = self._engines[ref.engine]
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

    # limits

    async def update(self, ref: ContainerRef, change: LimitChange) -> LimitOutcome:
        """Change limits; what came of it is judged by the kernel. Raises when nothing was written."""
        self._permit_change(ref, change)
        return await self._write(ref, lambda: self._update(ref, change))

    async def shrink(
        self, ref: ContainerRef, memory: int, progress: Callable[[Progress], None], beside: LimitChange
    ) -> LimitOutcome:
        """Take memory away until a limit of `memory` bytes fits, then set it, and `beside` with it."""
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
                outcome = await self._engines[ref.engine].update(ref.id, change)
        finally:
            self._drifts.end(ref, outcome)
        self._marks.outcome(outcome)
        if ref.engine != GROUP:
            await self._watches[ref.engine].look(ref)
        return outcome

    # inside

    def _name(self, ref: ContainerRef) -> str:
        container = self._find(ref)
        return container.name if container is not None else ref.short

    def _container(self, ref: ContainerRef) -> Container:
        container = self._find(ref)
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
