"""The one way in which limits of a daemon's container are changed.

Read the container, lock it, check the change, make room for less memory, tell the daemon, settle the rest with the
kernel, and take all of it back when the kernel refuses a part. What differs between daemons is in `DaemonLimits`.

The container is read once before it is locked, to know what to lock. That description counts under the lock too when
the kernel holds what it says of the limits in question: another client of this project, which would have held the
lock, cannot have changed them in between without changing the kernel's files. Else it is read again. So a change costs
two inspects: one before, and one after the daemon was told.

From the first write on a change runs to its end, also when the caller is cancelled: a cancelled caller waits for that.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

from runtime import limits
from runtime.engines.daemon.limit_hooks import ChangeContext, DaemonContainer, DaemonLimits
from runtime.engines.daemon.placement import cgroup_of
from runtime.engines.daemon.settle import headroom, restore, settle, take_back
from runtime.errors import ConflictError, DeniedError, EngineError, InvalidError, PytopError, UnsupportedError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.limits.lock import change_lock, with_warning
from runtime.model import (
    Capabilities,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Verdict,
)
from runtime.oci.resources import ResourceContext

MAX_ATTEMPTS: Final = 5
"""How often a container that was restarted before it could be locked is looked at again."""
END_TIMEOUT_S: Final = 150.0
"""How long a cancelled caller waits for a change: two answers of a daemon, which may take 60 s each, and the kernel."""
DEPENDENT_LIMITS: Final = (
    frozenset({LimitName.CPUS, LimitName.CPU_PERIOD}),
    frozenset({LimitName.MEMORY, LimitName.SWAP, LimitName.MEMORY_RESERVATION}),
)
"""Limits that daemons' APIs take together: a request for one of them is made from the others' values too."""
UNKNOWN_LIMITS: Final = Limits(**dict.fromkeys((name.value for name in LimitName), Missing.NOT_SAMPLED))
"""What the daemon's record says when it cannot be read any more."""
Document = TypeVar("Document")
Result = TypeVar("Result")


class LimitChanger(Generic[Document]):
    """Changes limits of one daemon's containers, one change at a time for each of them."""

    def __init__(self, daemon: DaemonLimits[Document], hierarchies: Hierarchies) -> None:
        self._daemon = daemon
        self._hierarchies = hierarchies
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def change(self, key: str, change: LimitChange) -> LimitOutcome:
        """As `Engine.update`."""
        if not change:
            raise InvalidError(f"change limits of container {key}", detail="nothing was asked for")
        limits.validate(change)
        target = await self._daemon.read(key)
        title = f"change limits of container {target.container.name}"
        async with self._locks.setdefault(target.container.ref.id, asyncio.Lock()):
            for _ in range(MAX_ATTEMPTS):
                cgroup = await self._own_cgroup(target)
                async with change_lock(cgroup or self._daemon.lock_directory, title) as unlocked:
                    context = await self._context(target, cgroup, change, title)
                    if context.cgroup == cgroup and context.target.container.pid == target.container.pid:
                        return with_warning(await self._change(context), unlocked)
                target = context.target
        raise ConflictError(title, detail="it is being restarted over and over again", hint="Try again when it is not")

    async def _context(
        self, target: DaemonContainer[Document], cgroup: Cgroup | None, change: LimitChange, title: str
    ) -> ChangeContext[Document]:
        """What the change starts from, read again unless the kernel confirms what was read before the lock."""
        if cgroup is not None and await self._own_cgroup(target) == cgroup:
            context = await threads.acting(self._describe, target, cgroup, change, title)
            names = self._daemon.always_requested.union(name for name, _ in change.items())
            if is_confirmed(names, context.baseline.before, context.recorded):
                return context
        target = await self._daemon.read(target.container.ref.id)
        return await threads.acting(self._describe, target, await self._own_cgroup(target), change, title)

    def _describe(
        self, target: DaemonContainer[Document], cgroup: Cgroup | None, change: LimitChange, title: str
    ) -> ChangeContext[Document]:
        """Blocking."""
        pid = target.container.pid if cgroup is not None and limits.asks_network(change) else None
        recorded = UNKNOWN_LIMITS if target.undescribed else self._daemon.persisted_limits(target, target.document)
        kernel = limits.read(cgroup, pid) if cgroup is not None else None
        baseline = baseline_of(recorded, kernel, ncpu=target.ncpu, cgroup_v2=target.cgroup_v2)
        return ChangeContext(target, change, title, cgroup, pid=pid, baseline=baseline, recorded=recorded)

    async def _change(self, context: ChangeContext[Document]) -> LimitOutcome:
        refuse_unsupported(context.change, context.target.capabilities)
        undescribed = context.target.undescribed
        if undescribed and (context.cgroup is None or limits.asks_network(context.change)):
            raise EngineError(context.title, detail=undescribed)
        if reason := self._daemon.forbids(context):
            raise UnsupportedError(context.title, detail=reason)
        cgroup, before = context.cgroup, context.baseline.before
        if cgroup is None:
            refuse_at_rest(context.change, context.baseline, self._daemon.kernel_only, self._daemon.name)
            if not context.target.container.state.live and (reason := context.target.capabilities.at_rest):
                raise UnsupportedError(context.title, detail=reason)
        else:
            await threads.acting(limits.check, cgroup, context.change, before, pid=context.pid)
        request = {} if undescribed else await threads.acting(self._daemon.request, context)
        if cgroup is None:
            return await run_to_end(self._record(context, request))
        return await run_to_end(self._apply(context, cgroup, request))

    # a container without a cgroup on this machine

    async def _record(self, context: ChangeContext[Document], request: Mapping[str, Any]) -> LimitOutcome:
        target, live = context.target, context.target.container.state.live
        if request:
            try:
                await self._daemon.tell_at_rest(target, request, context.title)
            except self._daemon.refusals as error:
                raise EngineError(context.title, detail=error.detail) from error
        recorded = await self._persisted(target, await self._daemon.reread(target, request) if request else None)
        detail = "its processes are not on this machine" if live else "for the next start"
        outcome = unread(context, recorded, detail)
        if request and not live and self._daemon.record_lags:
            return replace(
                outcome, fields=tuple(replace(each, engine=each.requested, persistent=True) for each in outcome.fields)
            )
        return outcome

    # a live one

    async def _apply(
        self, context: ChangeContext[Document], cgroup: Cgroup, request: Mapping[str, Any]
    ) -> LimitOutcome:
        """The daemon first, then the kernel; if that refuses a part, all of it is taken back."""
        target = context.target
        tried: LimitOutcome | None = None
        if self._daemon.is_irrevocable(context, request):
            tried = await self._try(context, cgroup)
            if tried is not None and tried.error:
                return tried
        refused = target.undescribed
        if request:
            refused = await self._tell(context, cgroup, request, tried=tried is not None)
        document, recorded = target.document, context.recorded
        if request:
            document, recorded = await self._reread(target, request)

        outcome = await threads.acting(
            settle,
            target.container.ref,
            cgroup,
            context.change,
            context.baseline.before,
            recorded,
            earlier=context.recorded,
            name=self._daemon.name,
            refused=refused,
            pid=context.pid,
        )
        if outcome.error:
            outcome = await self._take_back(context, cgroup, document, outcome)
        return await self._daemon.finish(context, request, outcome)

    async def _try(self, context: ChangeContext[Document], cgroup: Cgroup) -> LimitOutcome | None:
        """Have the kernel take a change before the daemon hears of it; None where that is not for us to write."""
        ref, recorded = context.target.container.ref, context.recorded
        try:
            outcome = await threads.acting(limits.change, ref, cgroup, context.change, pid=context.pid)
        except DeniedError:
            if any(name in self._daemon.kernel_only for name, _ in context.change.items()):
                raise
            return None
        return replace(
            outcome, fields=tuple(replace(field, engine=recorded.get(field.name)) for field in outcome.fields)
        )

    async def _tell(
        self, context: ChangeContext[Document], cgroup: Cgroup, request: Mapping[str, Any], *, tried: bool
    ) -> str:
        """Why the daemon refused it, "" when it did not. Raises when nothing has come of it.

        `tried`: the kernel was given the change before the daemon, and gets back what it held.
        """
        before = context.baseline.before
        try:
            async with headroom(cgroup, context.change):
                await self._daemon.tell(context.target, request, context.title)
        except self._daemon.refusals as error:
            return error.detail
        except PytopError as error:
            if tried:
                ref = context.target.container.ref
                await threads.acting(restore, ref, cgroup, before, context.pid)
            if await threads.acting(limits.read, cgroup, context.pid) == before:
                raise
            return str(error)  # it failed half-way: what has come of it is what counts now
        return ""

    async def _take_back(
        self, context: ChangeContext[Document], cgroup: Cgroup, document: Document, outcome: LimitOutcome
    ) -> LimitOutcome:
        """Out of what the daemon keeps, as far as that can be, and then out of the kernel."""
        target, stuck = context.target, list[str]()
        now = await threads.acting(limits.read, cgroup, context.pid)
        try:
            request = await threads.acting(self._daemon.revert_request, context, document, now)
            if request and not target.undescribed:
                await self._daemon.tell(target, request, "take a change of limits back")
        except PytopError as error:
            stuck.append(str(error))
        _, recorded = await self._reread(target, {})
        before = context.baseline.before
        return await threads.acting(take_back, outcome, cgroup, before, recorded, stuck=stuck, pid=context.pid)

    async def _reread(self, target: DaemonContainer[Document], sent: Mapping[str, Any]) -> tuple[Document, Limits]:
        """The description and its limits once something was told; a daemon that has gone away stops nothing here."""
        if target.undescribed:
            return target.document, UNKNOWN_LIMITS
        try:
            document = await self._daemon.reread(target, sent)
        except PytopError:
            return target.document, UNKNOWN_LIMITS
        return document, await self._persisted(target, document)

    async def _persisted(self, target: DaemonContainer[Document], document: Document | None) -> Limits:
        found = target.document if document is None else document
        return await threads.acting(self._daemon.persisted_limits, target, found)

    async def _own_cgroup(self, target: DaemonContainer[Document]) -> Cgroup | None:
        return await threads.acting(cgroup_of, target.container, self._daemon.peer, self._hierarchies)


async def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is not cancelled with its caller: a cancelled caller waits for its end.

    What has not ended `END_TIMEOUT_S` later is stuck, and is cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        if not await threads.wait_for_end(task, END_TIMEOUT_S):
            task.cancel()
            await threads.wait_for_end(task, 2 * threads.CANCEL_TIMEOUT_S)
        if task.done() and not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as lost
        raise
    return task.result()


def is_confirmed(names: frozenset[LimitName], kernel: Limits, recorded: Limits) -> bool:
    """Whether the kernel holds what the daemon's record says of these limits and of those that go with them."""
    names = names.union(*(group for group in DEPENDENT_LIMITS if group & names))
    return all(_agrees(name, kernel, recorded) for name in names)


def _agrees(name: LimitName, kernel: Limits, recorded: Limits) -> bool:
    held, kept = kernel.get(name), recorded.get(name)
    if held is Missing.GONE:
        return False
    if isinstance(held, Missing) or isinstance(kept, Missing):  # one of the two never tells it
        return True
    return held == kept if isinstance(held, tuple) else limits.same(name, held, kept) is not None


def baseline_of(recorded: Limits, kernel: Limits | None, *, ncpu: int | None, cgroup_v2: bool) -> ResourceContext:
    """The limits before a change and the facts of the machine, on which it depends what may be asked for. Blocking.

    A daemon of another machine, or one that is kept to some CPUs, has its own number of CPUs.
    """
    facts = limits.host_facts()
    if ncpu is not None and ncpu != facts.ncpu:
        cpus = f"0-{ncpu - 1}" if ncpu > 1 else "0"
        facts = replace(facts, ncpu=ncpu, cpus=facts.cpus if kernel is not None else cpus)
    return ResourceContext(kernel if kernel is not None else recorded, facts, cgroup_v2)


def refuse_unsupported(change: LimitChange, capabilities: Capabilities) -> None:
    """Raise `UnsupportedError` for a limit that the engine does not offer."""
    for name, _ in change.items():
        reason = capabilities.why_not(name)
        if reason is not None:
            raise UnsupportedError(f"set {name.value.replace('_', ' ')}", detail=reason)


def refuse_at_rest(
    change: LimitChange, baseline: ResourceContext, kernel_only: frozenset[LimitName], name: str
) -> None:
    """The checks that need no live cgroup. Raises `RefusedError`, and `UnsupportedError` for what only a kernel can."""
    limits.refuse(change, baseline.before, baseline.facts, None)
    for limit, _ in change.items():
        if limit in kernel_only:
            raise UnsupportedError(
                f"set {limit.value.replace('_', ' ')}",
                detail=f"{name}'s API cannot, and the container has no cgroup on this machine now",
                hint="It can be set on a running container of this machine",
            )


def unread(context: ChangeContext[Any], recorded: Limits, detail: str) -> LimitOutcome:
    """The outcome where no kernel can be asked: the daemon's record is all there is."""
    before = context.baseline.before
    fields = tuple(
        FieldOutcome(
            name,
            value,
            before=before.get(name),
            engine=recorded.get(name),
            kernel=Missing.GONE,
            verdict=Verdict.UNREADABLE,
            detail=detail,
        )
        for name, value in context.change.items()
    )
    return limits.with_persistence(LimitOutcome(context.target.container.ref, fields), recorded)
