"""Operations on one container or one group: whether one is possible now, and its execution.

`ContainerOperations` (asks the engine) and `GroupOperations` (asks the members, or writes to the group's cgroup)
implement `SubjectOperations`; `Operations` chooses between them. There are no locks here: `Operations` runs one
operation at a time for each ref.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from runtime.engines.found import kernel_limits, unsupported
from runtime.errors import NotFoundError, PytopError, UnavailableError, UnsupportedError
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    GroupRef,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Ref,
    Verb,
)
from tui.core import permissions
from tui.core.groups import Groups
from tui.core.hosts.host import Hosts
from tui.core.inventory import Inventory
from tui.core.subject import EngineRef, Group, Subject, engine_of

SELF_HARMING: Final = frozenset({Verb.STOP, Verb.RESTART, Verb.KILL, Verb.PAUSE, Verb.REMOVE, Verb.UPDATE})
"""What is refused for the container in which this program runs: it would be frozen, starved or ended half-way."""


@dataclass(frozen=True, slots=True)
class OperationContext:
    """What an operation needs of the session."""

    hosts: Hosts
    inventory: Inventory
    groups: Groups
    read_only: bool

    def find(self, ref: Ref) -> Subject | None:
        """A container or a group."""
        return self.inventory.containers.get(ref) if isinstance(ref, ContainerRef) else self.groups.groups.get(ref)


class SubjectOperations(Protocol):
    """One container or one group."""

    @property
    def subject(self) -> Subject | None:
        """As it is now, None when it is gone."""
        ...

    @property
    def name(self) -> str:
        """Its name, also when it is gone."""
        ...

    def why_not(self, what: Verb | LimitName) -> PytopError | None:
        """The error in which this would end now, with the reason as its detail; None when it can be done."""
        ...

    def permit(self, what: Verb | LimitName) -> None:
        """Raise what `why_not` gives, except for the state: the engine judges that at the time of the call."""
        ...

    async def recorded(self) -> Limits:
        """The limits by the engine's record, which hold after a restart."""
        ...

    async def update(self, change: LimitChange) -> LimitOutcome:
        """Change limits; the outcome is what was read back from the kernel."""
        ...

    async def refresh(self) -> None:
        """Bring the inventory up to date after a change."""
        ...


class ContainerOperations:
    """Operations on a container, which its engine does."""

    def __init__(self, ref: ContainerRef, context: OperationContext) -> None:
        self._ref = ref
        self._context = context

    @property
    def subject(self) -> Container | None:
        """The container."""
        return self._context.inventory.containers.get(self._ref)

    @property
    def name(self) -> str:
        """Its name, or the beginning of its id."""
        container = self.subject
        return container.name if container is not None else self._ref.short

    def why_not(self, what: Verb | LimitName) -> PytopError | None:
        """Refused by read-only mode, the engine's capabilities, how it was found, an engine that is away, its state."""
        container, engine = self.subject, self._context.inventory.engines.get(engine_of(self._ref))
        title = self._title(what)
        if container is None or engine is None:
            return NotFoundError(title, detail="it is gone")
        if engine.capabilities is None:
            detail = engine.problem.cause if engine.problem is not None else f"{self._ref.engine} has not answered yet"
            return UnavailableError(title, detail=detail)
        refusal = permissions.by_engine(title, what, engine.capabilities, read_only=self._context.read_only)
        if refusal is not None:
            return refusal
        reason = unsupported.why_not(container, what)
        if reason is not None:
            return UnsupportedError(title, detail=reason)
        if engine.problem is not None:
            return UnavailableError(title, detail=engine.problem.cause)
        return permissions.by_state(title, what, container.state, engine.capabilities.at_rest)

    def permit(self, what: Verb | LimitName) -> None:
        """What the engine cannot do at all is refused here; the rest the engine judges."""
        title = self._title(what)
        permit_engine(self._context, engine_of(self._ref), what, title)
        container = self.subject
        reason = unsupported.why_not(container, what) if container is not None else None
        if reason is not None:
            raise UnsupportedError(title, detail=reason)

    async def recorded(self) -> Limits:
        """The engine's record."""
        return await self._context.hosts.engine(self._ref).recorded(self._ref.id)

    async def update(self, change: LimitChange) -> LimitOutcome:
        """The engine changes them."""
        await self._protect_self(Verb.UPDATE)
        engine = self._context.hosts.engine(self._ref)
        try:
            return await engine.update(self._ref.id, change)
        except NotFoundError:
            await self.refresh()
            container = self.subject
            if container is None or container.state.live:
                raise
            return await engine.update(self._ref.id, change)  # it has ended meanwhile: for its next start

    async def perform(self, verb: Verb, options: Mapping[str, Any]) -> None:
        """Ask the engine, with the options of its method."""
        await self._protect_self(verb)
        engine = self._context.hosts.engine(self._ref)
        methods: Mapping[Verb, Callable[..., Awaitable[None]]] = {
            Verb.START: engine.start,
            Verb.STOP: engine.stop,
            Verb.RESTART: engine.restart,
            Verb.KILL: engine.kill,
            Verb.PAUSE: engine.pause,
            Verb.UNPAUSE: engine.unpause,
            Verb.REMOVE: engine.remove,
        }
        try:
            await methods[verb](self._ref.id, **options)
        finally:
            await self.refresh()

    async def _protect_self(self, verb: Verb) -> None:
        """Raise `RefusedError` for what would hit this program, whichever engine would do it."""
        container = self.subject
        if verb in SELF_HARMING and container is not None and container.state.live:
            await self._context.hosts[self._ref.host].protect_self(container, f"{verb.value} {self.name}")

    async def refresh(self) -> None:
        """Ask the engine again."""
        await self._context.inventory.refresh_container(self._ref)

    def _title(self, what: Verb | LimitName) -> str:
        return f"{what.value.replace('_', ' ')} {self.name}"


class GroupOperations:
    """Operations on a group: verbs go to its members, limits to its cgroup."""

    def __init__(self, ref: GroupRef, context: OperationContext) -> None:
        self._ref = ref
        self._context = context

    @property
    def subject(self) -> Group | None:
        """The group."""
        return self._context.groups.groups.get(self._ref)

    @property
    def name(self) -> str:
        """Its name."""
        return self._ref.short

    def why_not(self, what: Verb | LimitName) -> PytopError | None:
        """Refused for every group, or when it can be done to none of the members."""
        group, limits = self.subject, isinstance(what, LimitName) or what is Verb.UPDATE
        title = f"limit {self.name}" if limits else f"{what.value} {self.name}"
        gone = NotFoundError(title, detail="it is gone")
        if group is None:
            return gone
        refusal = permissions.by_group(title, what, group, read_only=self._context.read_only)
        if refusal is not None or limits:
            return refusal
        refusals = [ContainerOperations(ref, self._context).why_not(what) for ref in group.members]
        return None if None in refusals else next(iter(refusals), gone)

    def members_allowing(self, verb: Verb) -> list[ContainerRef]:
        """The members for which the verb is possible now."""
        members = self.subject.members if self.subject is not None else ()
        return [ref for ref in members if ContainerOperations(ref, self._context).why_not(verb) is None]

    def permit(self, what: Verb | LimitName) -> None:
        """Raise what `why_not` gives."""
        refusal = self.why_not(what)
        if refusal is not None:
            raise refusal

    async def recorded(self) -> Limits:
        """No engine keeps a record of a group's limits."""
        return kernel_limits.NOBODY_KNOWS

    async def update(self, change: LimitChange) -> LimitOutcome:
        """Write them to the kernel, after the groups were found again: other processes may be in its cgroup now."""
        await self._context.groups.refresh()
        permit_change(self, change)
        group = self.subject
        if group is None:
            raise NotFoundError(f"limit {self.name}", detail="it is gone")
        return await self._context.hosts[self._ref.host].change_group_limits(group, change)

    async def refresh(self) -> None:
        """Nothing to ask: what is shown of a group comes from its members."""


def permit_change(target: SubjectOperations, change: LimitChange) -> None:
    """Raise the refusal of one of these limits, if there is one."""
    target.permit(Verb.UPDATE)
    for name, _ in change.items():
        target.permit(name)


def permit_engine(context: OperationContext, engine: EngineRef, what: Verb | LimitName, title: str) -> None:
    """Raise the refusal of this engine, if there is one."""
    inventory = context.inventory.engines.get(engine)
    if inventory is None:
        raise NotFoundError(title, detail=f"there is no engine {engine.engine}")
    capabilities = inventory.capabilities or Capabilities()
    refusal = permissions.by_engine(title, what, capabilities, read_only=context.read_only)
    if refusal is not None:
        raise refusal
