"""Confirming what leases have set: engines' records are told, and the leases end without being taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from runtime.containment.lease import Lease, LeaseState
from runtime.errors import ConflictError, KernelError
from runtime.model import LimitChange, LimitOutcome, Ref
from tui.core.containment.lease_book import LeaseBook
from tui.core.containment.state import TakenRung
from tui.core.undo import OwnChange


class Confirmation:
    """Confirms rungs."""

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

    async def confirm(self, ref: Ref, rungs: Sequence[TakenRung]) -> tuple[Lease, ...]:
        """Keep what these rungs have set. Raises `ConflictError` when there is nothing that could be kept."""
        title = f"confirm what was done for {ref.short}"
        running = [each for each in rungs if each.lease.state is LeaseState.ACTIVE]
        if not running:
            raise ConflictError(title, detail="no lease runs for it")
        kept = [each for each in running if not each.lease.frozen]
        if not kept:
            raise ConflictError(
                title, detail="a freeze always ends by itself", hint="Pause the container to keep it so"
            )
        done: list[Lease] = []
        for target in dict.fromkeys(each.planned.target for each in kept):
            done += await self._confirm_one(title, target, [each for each in kept if each.planned.target == target])
        return tuple(done)

    async def _confirm_one(self, title: str, target: Ref | None, rungs: Sequence[TakenRung]) -> list[Lease]:
        if target is not None:
            before, after = LimitChange(), LimitChange()
            for each in rungs:
                names = each.planned.change.names()
                before = each.lease.before.only(names).merge(before)  # of two leases of a limit the first has found it
                after = after.merge(each.lease.change.only(names))
            outcome = await self._update(target, after)
            if not outcome.ok:
                words = outcome.error or "; ".join(each.detail for each in outcome.fields if each.detail)
                raise KernelError(title, detail=words)
            self._note(OwnChange(target, before, after))
        return [await self._book.confirmed(each.lease) for each in rungs]
