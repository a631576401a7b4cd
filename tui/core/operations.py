"""Operations on containers and groups: one at a time for each, never cancelled half-way, no failure lost.

What is possible, and the execution, is in `subject_operations`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field, replace
from threading import Event as Stop
from typing import Any, Final, TypeVar

from runtime.errors import ConflictError, EngineError, NotFoundError, PytopError, RefusedError
from runtime.limits import ReclaimProgress
from runtime.limits.lock import with_warning
from runtime.model import ContainerRef, ContainerSpec, GroupRef, LimitChange, LimitName, LimitOutcome, Limits, Ref, Verb
from tui.core.annotations import Annotations
from tui.core.change_audit import ChangeAudit
from tui.core.drift.detector import DriftDetector
from tui.core.subject import EngineRef
from tui.core.subject_operations import (
    ContainerOperations,
    GroupOperations,
    OperationContext,
    SubjectOperations,
    permit_change,
    permit_engine,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_TIMEOUT_S: Final = 30.0  # how long closing waits for changes that are under way


@dataclass(slots=True)
class _Lock:
    """A lock and the number of operations that hold it or wait for it; it is dropped with the last one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Operations:
    """The operations of a session, all of which change something.

    Attributes:
        context, annotations, detector: what they need of the session, and tell of what they have done.
    """

    def __init__(
        self,
        context: OperationContext,
        *,
        annotations: Annotations,
        detector: DriftDetector,
        audit: ChangeAudit,
        changed: Callable[[LimitOutcome], None],
    ) -> None:
        """`changed` is called with the outcome of each change of limits."""
        self.context = context
        self._changed = changed
        self._audit = audit
        self.annotations = annotations
        self.detector = detector
        self._work: set[asyncio.Task[Any]] = set()
        self._locks: dict[Hashable, _Lock] = {}
        self._closed = False

    @property
    def busy(self) -> bool:
        """A change is under way, which closing would wait for."""
        return bool(self._work)

    @property
    def under_way(self) -> tuple[str, ...]:
        """What is being changed now, in words."""
        return tuple(sorted(task.get_name() for task in self._work))

    async def close(self) -> None:
        """Refuse new operations, and wait for those under way, at most `CLOSE_TIMEOUT_S`."""
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
        """The limits by the engine's record; of a group all are unknown."""
        return await self._of(ref).recorded()

    # verbs

    async def create(self, engine: EngineRef, spec: ContainerSpec) -> ContainerRef:
        """Make a container with this engine; it is listed when this returns."""
        title = f"create {spec.name or 'a container'}"
        self._require_open(title)
        permit_engine(self.context, engine, Verb.CREATE, title)

        async def work() -> ContainerRef:
            ref = await self.context.hosts.engines[engine].create(spec)
            await self.context.inventory.refresh_container(ref)
            return ref

        return await self._shielded(title, work())

    async def perform(self, ref: Ref, verb: Verb, **options: Any) -> None:
        """Perform a verb, with the options of the engine's method. A kill does not wait for the operation under way."""
        if isinstance(ref, GroupRef):
            await self._perform_on_members(GroupOperations(ref, self.context), verb)
            return
        target = ContainerOperations(ref, self.context)
        self._require_open(f"{verb.value} {target.name}")
        target.permit(verb)
        title = f"{verb.value} {target.name}"
        if verb is Verb.KILL:
            await self._shielded(title, target.perform(verb, options))
        else:
            await self._serialized(ref, title, lambda: target.perform(verb, options))

    async def _perform_on_members(self, target: GroupOperations, verb: Verb) -> None:
        refusal = target.why_not(verb)
        if refusal is not None:
            raise refusal
        results = await asyncio.gather(
            *(self.perform(ref, verb) for ref in target.members_allowing(verb)), return_exceptions=True
        )
        failures = [failure for failure in results if failure is not None]
        if failures:
            raise together(f"{verb.value} {target.name}", failures, of=len(results))

    # limits

    async def update(self, ref: Ref, change: LimitChange) -> LimitOutcome:
        """Change limits; the outcome is read back from the kernel. Raises when nothing was written."""
        target = self._of(ref)
        self._permit_change(target, change)
        title = f"change limits of {target.name}"
        return await self._serialized(ref, title, lambda: self._update(ref, target, change))

    async def shrink(
        self, ref: Ref, memory: int, progress: Callable[[ReclaimProgress], None], beside: LimitChange
    ) -> LimitOutcome:
        """Reclaim memory until a limit of `memory` bytes fits, then set it, and `beside` with it.

        Cancelling the caller stops the reclaim after the step under way.
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
                reached = await self.context.hosts[ref.host].reclaim(subject, memory, progress, stop)
                if not reached.done:
                    raise RefusedError(title, detail=reached.reason, hint="The limits are as they were")
            return await self._update(ref, target, change)

        try:
            return await self._serialized(ref, title, work)
        finally:
            stop.set()

    async def _update(self, ref: Ref, target: SubjectOperations, change: LimitChange) -> LimitOutcome:
        self.annotations.expect(ref)
        self.detector.begin(ref)
        outcome: LimitOutcome | None = None
        try:
            outcome = await self._audited(ref, target, change)
        finally:
            self.detector.end(ref, outcome)
        self.annotations.outcome(outcome)
        self._changed(outcome)
        await target.refresh()
        return outcome

    async def leased(self, ref: Ref, title: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run what takes or ends a lease of `ref`, in turn with its other changes; what it writes is no drift."""
        self._require_open(title)

        async def undisturbed() -> T:
            self.annotations.expect(ref)
            self.detector.begin(ref)
            try:
                return await work()
            finally:
                self.detector.end(ref, None)

        return await self._serialized(ref, title, undisturbed)

    async def _audited(self, ref: Ref, target: SubjectOperations, change: LimitChange) -> LimitOutcome:
        if not self._audit.enabled:
            return await target.update(change)
        entry = await self._audit.begin(ref, change)
        try:
            outcome = await target.update(change)
        except BaseException as error:
            await self._audit.end(entry, error)
            raise
        return with_warning(outcome, await self._audit.end(entry, outcome))

    def _permit_change(self, target: SubjectOperations, change: LimitChange) -> None:
        self._require_open(f"update {target.name}")
        permit_change(target, change)

    # one at a time

    def _of(self, ref: Ref) -> SubjectOperations:
        if isinstance(ref, GroupRef):
            return GroupOperations(ref, self.context)
        return ContainerOperations(ref, self.context)

    def _require_open(self, title: str) -> None:
        if self._closed:
            raise ConflictError(title, detail="the session is closed")

    async def _serialized(self, ref: Ref, title: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` under the lock of `ref`. The wait for the lock can be cancelled, the work cannot.

        The lock is held until the work ends, also when its caller was cancelled.
        """
        await self._acquire(ref)
        if self._closed:
            self._release(ref)
            self._require_open(title)
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
        """Run the work to its end even if the caller is cancelled; its failure is then logged.

        `ended` is always called, also when closing cancels the work before it has begun.
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


def together(title: str, failures: Sequence[BaseException], *, of: int) -> BaseException:
    """One error that tells each failure of a group's `of` members; the failure itself when there is only one."""
    if len(failures) == 1:
        return failures[0]
    for failure in failures:
        if not isinstance(failure, PytopError):
            log.error("%s", title, exc_info=failure)
    told = [str(failure) if isinstance(failure, PytopError) else repr(failure) for failure in failures]
    return EngineError(f"{title}: {len(failures)} of {of} failed", detail="; ".join(told))


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s, after its caller was cancelled", task.get_name(), exc_info=error)
