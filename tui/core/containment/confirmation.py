"""Confirming what leases have set: engines' records are told, and the leases end without being taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from runtime.containment.lease import CONTAINER, Lease, LeaseState
from runtime.errors import ConflictError, KernelError
from runtime.model import LimitChange, LimitOutcome, Ref
from tui.core.containment.lease_book import LeaseBook
from tui.core.undo import OwnChange


class Confirmation:
    """Confirms leases: of rungs, and of changes beside the ladder."""

    def __init__(
        self,
        book: LeaseBook,
        update: Callable[[Ref, LimitChange], Awaitable[LimitOutcome]],
        note: Callable[[OwnChange], None],
    ) -> None:
        """`update` changes limits through the engine, `note` makes a change one that can be undone."""
        self._book = book
        self._update = update
        self._note = note

    async def confirm(self, ref: Ref, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        """Keep what these leases have set. Raises `ConflictError` when there is nothing that could be kept."""
        title = f"confirm what was done for {ref.short}"
        running = [each for each in leases if each.state is LeaseState.ACTIVE]
        if not running:
            raise ConflictError(title, detail="no lease runs for it")
        kept = [each for each in running if not each.frozen]
        if not kept:
            raise ConflictError(
                title, detail="a freeze always ends by itself", hint="Pause the container to keep it so"
            )
        done: list[Lease] = []
        for target in dict.fromkeys(_recorded(each) for each in kept):
            done += await self._confirm_one(title, target, [each for each in kept if _recorded(each) == target])
        return tuple(done)

    async def _confirm_one(self, title: str, target: Ref | None, leases: Sequence[Lease]) -> list[Lease]:
        if target is not None:
            before, after = LimitChange(), LimitChange()
            for each in leases:
                before = each.before.merge(before)  # of two leases of a limit the first has found it
                after = after.merge(each.change)
            outcome = await self._update(target, after)
            if not outcome.ok:
                words = outcome.error or "; ".join(each.detail for each in outcome.fields if each.detail)
                raise KernelError(title, detail=words)
            self._note(OwnChange(target, before, after))
        return [await self._book.confirmed(each) for each in leases]


def _recorded(lease: Lease) -> Ref | None:
    """The container or group whose engine is told; None of a unit or process, which has no engine."""
    return lease.ref if lease.target == CONTAINER else None
