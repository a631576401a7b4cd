"""Undo and redo of the changes of limits that were made in this session: previewed, made by the same way, read back.

What somebody else has changed meanwhile is not overwritten: undoing is refused, and says what is held now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from runtime.errors import ConflictError, PytopError
from runtime.limits import same
from runtime.limits.restoring import restoring
from runtime.limits.units import format_value
from runtime.model import LimitChange, LimitName, LimitOutcome, Limits, Missing, Ref, Value, Verdict

MAX_ENTRIES: Final = 100


@dataclass(frozen=True, slots=True)
class OwnChange:
    """One change that was made here: what the kernel held before and after it."""

    ref: Ref
    before: LimitChange
    after: LimitChange


@dataclass(frozen=True, slots=True)
class UndoPreview:
    """What undoing or redoing would do: the change, and what the kernel must hold for that."""

    ref: Ref
    change: LimitChange
    holds: LimitChange


class UndoStack:
    """The changes of this session, and those that were undone."""

    def __init__(
        self,
        update: Callable[[Ref, LimitChange], Awaitable[LimitOutcome]],
        limits: Callable[[Ref], Awaitable[Limits]],
    ) -> None:
        """`update` changes limits by the usual way, `limits` reads the kernel's."""
        self._update = update
        self._limits = limits
        self._done: list[OwnChange] = []
        self._undone: list[OwnChange] = []
        self._replaying: Ref | None = None

    @property
    def next_undo(self) -> UndoPreview | None:
        """What undoing would do; None when there is nothing to undo."""
        return UndoPreview(last.ref, last.before, last.after) if (last := _last(self._done)) is not None else None

    @property
    def next_redo(self) -> UndoPreview | None:
        """What redoing would do; None when nothing was undone."""
        return UndoPreview(last.ref, last.after, last.before) if (last := _last(self._undone)) is not None else None

    def note(self, outcome: LimitOutcome) -> None:
        """A change was made here; one by `undo` or `redo` is noted there."""
        if outcome.ref == self._replaying:
            return
        before: dict[LimitName, Value] = {}
        after: dict[LimitName, Value] = {}
        for each in outcome.fields:
            old, new = each.before, each.kernel
            if each.verdict not in (Verdict.APPLIED, Verdict.ROUNDED) or old == new:
                continue
            if not isinstance(old, Missing) and not isinstance(new, Missing):
                before[each.name], after[each.name] = restoring(old, new), new
        self.add(OwnChange(outcome.ref, LimitChange.of(before), LimitChange.of(after)))

    def add(self, change: OwnChange) -> None:
        """Note a change whose values are known otherwise. One that changed nothing is not noted."""
        if change.after:
            self._done.append(change)
            del self._done[:-MAX_ENTRIES]
            self._undone.clear()

    async def undo(self) -> LimitOutcome:
        """Set what was held before the last change; the outcome is read back.

        Raises `ConflictError` when there is nothing to undo, or somebody else has changed it meanwhile.
        """
        title = "undo the last change"
        return await self._replay(title, self.next_undo, self._done, self._undone)

    async def redo(self) -> LimitOutcome:
        """Set again what was undone last. Raises as `undo`."""
        title = "redo the last change"
        return await self._replay(title, self.next_redo, self._undone, self._done)

    async def _replay(
        self, title: str, preview: UndoPreview | None, source: list[OwnChange], target: list[OwnChange]
    ) -> LimitOutcome:
        if preview is None:
            raise ConflictError(title, detail="there is none")
        held = await self._limits(preview.ref)
        for name, value in preview.holds.items():
            now = held.get(name)
            if not isinstance(now, Missing) and same(name, now, value) is None:
                detail = f"{name.value} is {format_value(name, now)} now, not {format_value(name, value)}"
                raise ConflictError(title, detail=f"{detail}: somebody else has changed it", hint="Set it yourself")
        entry = source[-1]
        self._replaying = preview.ref
        try:
            outcome = await self._update(preview.ref, preview.change)
        finally:
            self._replaying = None
        if outcome.ok and entry in source:
            source.remove(entry)
            target.append(entry)
        elif outcome.error:
            raise PytopError(title, detail=outcome.error)
        return outcome


def _last(changes: list[OwnChange]) -> OwnChange | None:
    return changes[-1] if changes else None
