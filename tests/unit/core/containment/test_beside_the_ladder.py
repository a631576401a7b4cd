"""Leases that a person takes in the editor, and a frame that comes while a rung is being climbed."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.containment.lease import LeaseState
from runtime.errors import ConflictError, RefusedError
from runtime.model import UNLIMITED, LimitChange
from tests.unit.core.containment.conftest import HOG, VICTIM, Stage, opened


async def test_a_change_for_a_time_is_a_lease_and_is_kept_when_confirmed(stage: Stage) -> None:
    outcome = await stage.contain.lease(HOG.ref, LimitChange(cpus=0.4), 300)
    assert outcome.ok
    assert stage.held().cpus == 0.4
    assert [each.ref for each in stage.contain.leases] == [HOG.ref]
    assert stage.engine.changes == [], "no engine's record was told"
    kept = await stage.contain.confirm(HOG.ref)
    assert [each.state for each in kept] == [LeaseState.CONFIRMED]
    assert stage.engine.changes == [LimitChange(cpus=0.4)]
    preview = stage.session.undoing.next_undo
    assert preview is not None
    assert preview.change == LimitChange(cpus=UNLIMITED)


async def test_a_lease_of_another_container_is_not_kept_with_it(stage: Stage) -> None:
    await stage.contain.lease(HOG.ref, LimitChange(cpus=0.4), 300)
    with pytest.raises(ConflictError, match="no lease runs"):
        await stage.contain.confirm(VICTIM.ref)


async def test_read_only_takes_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await opened(monkeypatch, read_only=True)
    with pytest.raises(RefusedError, match="read-only"):
        await stage.contain.lease(HOG.ref, LimitChange(cpus=0.4), 300)
    assert stage.contain.leases == ()
    await stage.session.close()


async def test_a_frame_that_comes_while_the_first_rung_is_climbed_loses_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = stage.leases.take

    async def take(*arguments: Any, **options: Any) -> Any:
        stage.frames(2, waiting=0.8)
        return await taking(*arguments, **options)

    monkeypatch.setattr(stage.leases, "take", take)
    outcome = await stage.contain.climb(VICTIM.ref)
    state = stage.contain.state(VICTIM.ref)
    assert state is not None
    assert [each.lease.id for each in state.rungs] == [outcome.lease.id]
