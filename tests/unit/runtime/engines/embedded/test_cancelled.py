"""A caller of the embedded engine that is cancelled leaves no lock, and operations that wait hold up nobody else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded import reconcile
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.kernel import threads
from runtime.model import ContainerSpec, State
from tests.waiting import until


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedEngine:
    """Its records are taken as they are."""
    monkeypatch.setattr(reconcile, "repaired", lambda store, hierarchies, record: record)
    monkeypatch.setattr(reconcile, "repair_unless_busy", lambda store, hierarchies, record: record)
    made = EmbeddedEngine(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))
    made._store.prepare()
    return made


@pytest.fixture
def record(engine: EmbeddedEngine) -> ContainerRecord:
    spec = ContainerSpec("host", ("sleep", "1"), name="one", network="none")
    return engine._store.add(lambda container_id: ContainerRecord(container_id, spec, 1))


def is_free(engine: EmbeddedEngine, record: ContainerRecord) -> bool:
    held = engine._store.operation(record.id, wait=0)
    if held is not None:
        os.close(held)
    return held is not None


def take_and_release(engine: EmbeddedEngine, record: ContainerRecord) -> None:
    held = engine._store.operation(record.id)
    assert held is not None
    os.close(held)


async def test_a_stop_that_is_cancelled_while_it_waits_for_the_lock_does_not_keep_it(
    engine: EmbeddedEngine, record: ContainerRecord
) -> None:
    held = engine._store.operation(record.id)
    assert held is not None
    stop = asyncio.create_task(engine._stop(record, 1))
    await asyncio.sleep(0.05)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(stop), 5)
    os.close(held)
    await asyncio.sleep(0.05)  # the thread takes the lock now
    await until(lambda: is_free(engine, record), 5, "the lock is released")


async def test_a_stop_goes_on_while_more_operations_wait_for_its_lock_than_act_at_once(
    engine: EmbeddedEngine, record: ContainerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = engine._store.change(record.id, lambda found: replace(found, state=State.RUNNING))
    monkeypatch.setattr(engine._verbs, "begin_stop", lambda record: None)

    def signal(record: ContainerRecord, number: int) -> None:
        engine._store.change(record.id, lambda found: replace(found, state=State.EXITED))

    monkeypatch.setattr(engine._verbs, "signal", signal)
    stop = asyncio.create_task(engine._stop(record, 0.3))
    await until(lambda: not is_free(engine, record), 5)
    others = [
        asyncio.create_task(engine._complete(take_and_release, engine, record))
        for _ in range(threads.MAX_THREADS[threads.Kind.WAIT] + 6)
    ]
    await asyncio.wait_for(asyncio.gather(stop, *others), 10)
    assert engine._store.read(record.id).state is State.EXITED
