"""Undo and redo of one's own changes of limits: previewed, read back, and never over what somebody else has set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.errors import ConflictError
from runtime.limits.restoring import restoring
from runtime.model import (
    UNLIMITED,
    DeviceRate,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Ref,
    Value,
    Verdict,
)
from tests.app.fakes import container
from tests.fake_leases import V2
from tui.core.undo import OwnChange, UndoPreview, UndoStack
from tui.present.containment_text import undo_text

WEB = container("web").ref


class Kernel:
    """Limits of one container; each change is noted as the session does."""

    def __init__(self) -> None:
        self.held = V2
        self.stack = UndoStack(self.update, self.limits)

    async def limits(self, ref: Ref) -> Limits:
        return self.held

    async def update(self, ref: Ref, change: LimitChange) -> LimitOutcome:
        before = self.held
        self.held = before.merge(dict(change.items()))
        fields = tuple(
            FieldOutcome(name, value, before.get(name), value, value, Verdict.APPLIED) for name, value in change.items()
        )
        outcome = LimitOutcome(ref, fields)
        self.stack.note(outcome)
        return outcome


async def test_changes_are_undone_last_first_and_redone() -> None:
    kernel = Kernel()
    await kernel.update(WEB, LimitChange(cpus=1.0))
    await kernel.update(WEB, LimitChange(cpus=0.5, pids=9))
    assert kernel.stack.next_undo == UndoPreview(
        WEB, LimitChange(cpus=1.0, pids=UNLIMITED), LimitChange(cpus=0.5, pids=9)
    )
    await kernel.stack.undo()
    assert (kernel.held.cpus, kernel.held.pids) == (1.0, UNLIMITED)
    await kernel.stack.undo()
    assert kernel.held == V2
    assert kernel.stack.next_undo is None
    await kernel.stack.redo()
    assert kernel.held.cpus == 1.0
    await kernel.stack.redo()
    assert (kernel.held.cpus, kernel.held.pids) == (0.5, 9)
    assert kernel.stack.next_redo is None


async def test_a_new_change_ends_redoing() -> None:
    kernel = Kernel()
    await kernel.update(WEB, LimitChange(cpus=1.0))
    await kernel.stack.undo()
    await kernel.update(WEB, LimitChange(pids=5))
    assert kernel.stack.next_redo is None


async def test_what_somebody_else_has_changed_is_not_overwritten() -> None:
    kernel = Kernel()
    await kernel.update(WEB, LimitChange(cpus=1.0))
    kernel.held = replace(kernel.held, cpus=0.25)
    with pytest.raises(ConflictError) as raised:
        await kernel.stack.undo()
    assert "cpus is 0.25 now, not 1" in raised.value.detail
    assert kernel.held.cpus == 0.25
    assert kernel.stack.next_undo is not None, "it can be tried again"


async def test_nothing_to_undo() -> None:
    kernel = Kernel()
    for act in (kernel.stack.undo, kernel.stack.redo):
        with pytest.raises(ConflictError):
            await act()


def test_what_changed_nothing_or_failed_is_not_noted() -> None:
    kernel = Kernel()
    same = FieldOutcome(LimitName.PIDS, 5, 5, 5, 5, Verdict.APPLIED)
    failed = FieldOutcome(LimitName.CPUS, 1.0, 2.0, 1.0, 2.0, Verdict.FAILED)
    kernel.stack.note(LimitOutcome(WEB, (same, failed)))
    assert kernel.stack.next_undo is None


def test_words() -> None:
    preview = UndoPreview(WEB, LimitChange(cpus=1.0), LimitChange(cpus=0.5))
    assert undo_text(preview, "web").startswith("Undo: web back to ")
    assert undo_text(preview, "web", redo=True).startswith("Redo: web to ")


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (1.0, 2.0, 1.0),
        ((), (DeviceRate("8:0", 5),), (DeviceRate("8:0", UNLIMITED),)),
        (
            (DeviceRate("8:0", 7),),
            (DeviceRate("8:0", 5), DeviceRate("8:16", 5)),
            (DeviceRate("8:0", 7), DeviceRate("8:16", UNLIMITED)),
        ),
    ],
)
def test_what_restores_a_value(before: Value, now: Value, change: Value) -> None:
    assert restoring(before, now) == change


def test_an_empty_change_is_no_entry() -> None:
    kernel = Kernel()
    kernel.stack.add(OwnChange(WEB, LimitChange(), LimitChange()))
    assert kernel.stack.next_undo is None
