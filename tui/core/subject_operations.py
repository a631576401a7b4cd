"""What may be asked of one container or one group, why not, and who is asked: its engine, its members, its kernel.

`ContainerOperations` and `GroupOperations` fill `SubjectOperations`; which of them a ref needs is decided in
`Operations` alone. Nothing here waits for anything but the engines and the kernel: order is kept by `Operations`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.engines.found import kernel_limits, unsupported
from runtime.errors import NotFoundError, PytopError, RefusedError, UnsupportedError
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    GroupRef,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Verb,
)
from tui.core import permissions
from tui.core.groups import Groups
from tui.core.hosts.host import Hosts
from tui.core.inventory import Inventory
from tui.core.subject import EngineRef, Group, Subject, engine_of


@dataclass(frozen=True, slots=True)
class Known:
    """What decides whether something may be done, and who is asked."""

    hosts: Hosts
    inventory: Inventory
    groups: Groups
    read_only: bool


class SubjectOperations(Protocol):
    """One container or one group."""

    @property
    def subject(self) -> Subject | None:
        """As it is now, None when it is gone."""
        ...

    @property
    def name(self) -> str:
        """What it is called, or was."""
        ...

    def why_not(self, what: Verb | LimitName) -> str | None:
        """Why this cannot be done now, in words for the user; None when it can."""
        ...

    def permit(self, what: Verb | LimitName) -> None:
        """Raise what `why_not` says, except for the state: whoever does it judges that, when it is done."""
        ...

    async def recorded(self) -> Limits:
        """The limits that it will have when it is made anew, by whoever keeps a record."""
        ...

    async def update(self, change: LimitChange) -> LimitOutcome:
        """Change limits; judged by the kernel."""
        ...

    async def look(self) -> None:
        """See what came of a change."""
        ...


class ContainerOperations:
    """A container: its engine is asked."""

    def __init__(self, ref: ContainerRef, known: Known) -> None:
        self._ref = ref
        self._known = known

    @property
    def subject(self) -> Container | None:
        """The container."""
        return self._known.inventory.containers.get(self._ref)

    @property
    def name(self) -> str:
        """Its name, or the beginning of its id."""
        container = self.subject
        return container.name if container is not None else self._ref.short

    def why_not(self, what: Verb | LimitName) -> str | None:
        """Read-only mode, the engine's word, how it was found, its engine's absence, its state."""
        container, engine = self.subject, self._known.inventory.engines.get(engine_of(self._ref))
        if container is None or engine is None:
            return "it is gone"
        if engine.capabilities is None:
            problem = engine.problem
            return problem.title if problem is not None else f"{self._ref.engine} has not answered yet"
        reason = permissions.by_engine(engine.capabilities, what, read_only=self._known.read_only)
        reason = reason or unsupported.why_not(container, what)
        if reason is None and engine.problem is not None:
            reason = engine.problem.title
        return reason or permissions.by_state(container.state, what, engine.capabilities.at_rest)

    def permit(self, what: Verb | LimitName) -> None:
        """What the engine cannot do at all is refused here; the rest the engine judges."""
        title = f"{what.value.replace('_', ' ')} {self.name}"
        permit_engine(self._known, engine_of(self._ref), what, title)
        container = self.subject
        reason = unsupported.why_not(container, what) if container is not None else None
        if reason is not None:
            raise UnsupportedError(title, detail=reason)

    async def recorded(self) -> Limits:
        """By its engine."""
        return await self._known.hosts.engine(self._ref).recorded(self._ref.id)

    async def update(self, change: LimitChange) -> LimitOutcome:
        """By its engine."""
        return await self._known.hosts.engine(self._ref).update(self._ref.id, change)

    async def perform(self, verb: Verb, options: Mapping[str, Any]) -> None:
        """With the options of the engine's method."""
        engine = self._known.hosts.engine(self._ref)
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
            await self.look()

    async def look(self) -> None:
        """Ask the engine again."""
        await self._known.inventory.look(self._ref)


class GroupOperations:
    """A group: verbs are for its members, limits for the kernel that has its cgroup."""

    def __init__(self, ref: GroupRef, known: Known) -> None:
        self._ref = ref
        self._known = known

    @property
    def subject(self) -> Group | None:
        """The group."""
        return self._known.groups.groups.get(self._ref)

    @property
    def name(self) -> str:
        """Its name."""
        return self._ref.short

    def why_not(self, what: Verb | LimitName) -> str | None:
        """What cannot be done to any group; for the rest it is enough that one of the members can."""
        group = self.subject
        if group is None:
            return "it is gone"
        reason = permissions.by_group(group, what)
        if reason is None and self._known.read_only:
            return permissions.READ_ONLY
        if reason is None and isinstance(what, Verb) and what is not Verb.UPDATE:
            reasons = [ContainerOperations(ref, self._known).why_not(what) for ref in group.members]
            return None if None in reasons else next(iter(reasons), "it is gone")
        return reason

    def able(self, verb: Verb) -> list[ContainerRef]:
        """The members to which it can be done now."""
        members = self.subject.members if self.subject is not None else ()
        return [ref for ref in members if ContainerOperations(ref, self._known).why_not(verb) is None]

    def permit(self, what: Verb | LimitName) -> None:
        """Raise what `why_not` says."""
        reason = self.why_not(what)
        if reason is not None:
            raise _refusal(reason, f"limit {self.name}")

    async def recorded(self) -> Limits:
        """Nobody keeps a record of a group's."""
        return kernel_limits.NOBODY_KNOWS

    async def update(self, change: LimitChange) -> LimitOutcome:
        """In the kernel, after another look: somebody else may have come to live in its cgroup."""
        await self._known.groups.look()
        permit_change(self, change)
        group = self.subject
        if group is None:
            raise NotFoundError(f"limit {self.name}", detail="it is gone")
        return await self._known.hosts[self._ref.host].change_group_limits(group, change)

    async def look(self) -> None:
        """Nothing to see: its members tell."""


def permit_change(target: SubjectOperations, change: LimitChange) -> None:
    """Raise why one of these limits cannot be set."""
    target.permit(Verb.UPDATE)
    for name, _ in change.items():
        target.permit(name)


def permit_engine(known: Known, engine: EngineRef, what: Verb | LimitName, title: str) -> None:
    """Raise why this engine cannot be asked for this."""
    inventory = known.inventory.engines.get(engine)
    if inventory is None:
        raise NotFoundError(title, detail=f"there is no engine {engine.engine}")
    reason = permissions.by_engine(inventory.capabilities or Capabilities(), what, read_only=known.read_only)
    if reason is not None:
        raise _refusal(reason, title)


def _refusal(reason: str, title: str) -> PytopError:
    return (RefusedError if reason == permissions.READ_ONLY else UnsupportedError)(title, detail=reason)
