"""Changes containers and groups: one change at a time for each, none cancelled half-way, each result told to somebody.

Who is asked, and what may be asked, is in `subject_operations`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field, replace
from threading import Event as Stop
from typing import Any, Final, TypeVar

from runtime.errors import ConflictError, NotFoundError, PytopError, RefusedError
from runtime.limits import ReclaimProgress
from runtime.model import ContainerRef, ContainerSpec, GroupRef, LimitChange, LimitName, LimitOutcome, Limits, Ref, Verb
from tui.core.annotations import Annotations
from tui.core.drift.detector import DriftDetector
from tui.core.subject import EngineRef
from tui.core.subject_operations import (
    ContainerOperations,
    GroupOperations,
    Known,
    SubjectOperations,
    permit_change,
    permit_engine,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_TIMEOUT_S: Final = 30.0  # how long closing waits for changes that are under way


@dataclass(slots=True)
class _Lock:
    """A lock and how many hold it or wait for it: with the last of them it is forgotten."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Operations:
    """The half of the session that writes."""

    def __init__(self, known: Known, *, annotations: Annotations, detector: DriftDetector) -> None:
        self._known = known
        self._annotations = annotations
        self._detector = detector
        self._work: set[asyncio.Task[Any]] = set()
        self._locks: dict[Hashable, _Lock] = {}
        self._closed = False

    @property
    def busy(self) -> bool:
        """A change is under way, which closing would wait for."""
        return bool(self._work)

    async def close(self) -> None:
        """Begin nothing more, and let what is under way come to its end."""
        self._closed = True
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def why_not(self, ref: Ref, what: Verb | LimitName) -> PytopError | None:
        """The error in which this would end now, with the reason as its detail; None when it can be done."""
        return self._of(ref).why_not(what)

    async def recorded(self, ref: Ref) -> Limits:
        """The limits by the engine's record; nobody keeps one of a group's."""
        return await self._of(ref).recorded()

    # verbs

    async def create(self, engine: EngineRef, spec: ContainerSpec) -> ContainerRef:
        """Make a container with this engine; it is listed when this returns."""
        title = f"create {spec.name or 'a container'}"
        self._still_open(title)
        permit_engine(self._known, engine, Verb.CREATE, title)

        async def work() -> ContainerRef:
            ref = await self._known.hosts.engines[engine].create(spec)
            await self._known.inventory.look(ref)
            return ref

        return await self._shielded(title, work())

    async def perform(self, ref: Ref, verb: Verb, **options: Any) -> None:
        """Do it, with the options of the engine's method. A kill does not wait for its turn."""
        if isinstance(ref, GroupRef):
            await self._perform_on_members(GroupOperations(ref, self._known), verb)
            return
        target = ContainerOperations(ref, self._known)
        self._still_open(f"{verb.value} {target.name}")
        target.permit(verb)
        title = f"{verb.value} {target.name}"
        if verb is Verb.KILL:
            await self._shielded(title, target.perform(verb, options))
        else:
            await self._in_turn(ref, title, lambda: target.perform(verb, options))

    async def _perform_on_members(self, target: GroupOperations, verb: Verb) -> None:
        refusal = target.why_not(verb)
        if refusal is not None:
            raise refusal
        results = await asyncio.gather(*(self.perform(ref, verb) for ref in target.able(verb)), return_exceptions=True)
        for failure in results:
            if failure is not None:
                raise failure

    # limits

    async def update(self, ref: Ref, change: LimitChange) -> LimitOutcome:
        """Change limits; what came of it is judged by the kernel. Raises when nothing was written."""
        target = self._of(ref)
        self._permit_change(target, change)
        title = f"change limits of {target.name}"
        return await self._in_turn(ref, title, lambda: self._update(ref, target, change))

    async def shrink(
        self, ref: Ref, memory: int, progress: Callable[[ReclaimProgress], None], beside: LimitChange
    ) -> LimitOutcome:
        """Take memory away until a limit of `memory` bytes fits, then set it, and `beside` with it.

        A caller that is cancelled stops it after the step under way.
        """
        change = replace(beside, memory=memory)
        target = self._of(ref)
        self._permit_change(target, change)
        title = f"make room for a lower memory limit of {target.name}"
        stop = Stop()

        async def work() -> LimitOutcome:
            subject = target.subject
            if subject is None:
                raise NotFoundError(title, detail="it is gone")
            if subject.state.live:
                reached = await self._known.hosts[ref.host].reclaim(subject, memory, progress, stop)
                if not reached.done:
                    raise RefusedError(title, detail=reached.reason, hint="The limits are as they were")
            return await self._update(ref, target, change)

        try:
            return await self._in_turn(ref, title, work)
        finally:
            stop.set()

    async def _update(self, ref: Ref, target: SubjectOperations, change: LimitChange) -> LimitOutcome:
        self._annotations.expect(ref)
        self._detector.begin(ref)
        outcome: LimitOutcome | None = None
        try:
            outcome = await target.update(change)
        finally:
            self._detector.end(ref, outcome)
        self._annotations.outcome(outcome)
        await target.look()
        return outcome

    def _permit_change(self, target: SubjectOperations, change: LimitChange) -> None:
        self._still_open(f"update {target.name}")
        permit_change(target, change)

    # order

    def _of(self, ref: Ref) -> SubjectOperations:
        if isinstance(ref, GroupRef):
            return GroupOperations(ref, self._known)
        return ContainerOperations(ref, self._known)

    def _still_open(self, title: str) -> None:
        if self._closed:
            raise ConflictError(title, detail="the session is closed")

    async def _in_turn(self, ref: Ref, title: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` when nothing else is done to `ref`. Waiting for that can be cancelled, the work itself cannot.

        The lock is held until the work ends, whether its caller still waits for it or not.
        """
        await self._acquire(ref)
        if self._closed:
            self._release(ref)
            self._still_open(title)
        return await self._shielded(title, work(), lambda: self._release(ref))

    async def _acquire(self, ref: Ref) -> None:
        entry = self._locks.setdefault(ref, _Lock())
        entry.users += 1
        try:
            await entry.lock.acquire()
        except BaseException:
            self._leave(ref, entry)
            raise

    def _release(self, ref: Ref) -> None:
        entry = self._locks[ref]
        entry.lock.release()
        self._leave(ref, entry)

    def _leave(self, ref: Ref, entry: _Lock) -> None:
        entry.users -= 1
        if not entry.users:
            del self._locks[ref]

    async def _shielded(self, title: str, work: Coroutine[Any, Any, T], ended: Callable[[], None] = lambda: None) -> T:
        """Run it to its end even if the caller is cancelled; a failure that nobody waits for any more is logged.

        `ended` is called in any case, also when closing cancels the work before it has begun.
        """
        task = asyncio.create_task(work, name=title)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(lambda _: ended())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s, for a caller that has left", task.get_name(), exc_info=error)
