"""Operations that block threads for long, on real threads: they delay no sweep and no change of limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from runtime.kernel import threads
from runtime.model import Container, LimitChange, LimitOutcome, Verb
from tests.app.fakes import FakeSweeper, container
from tests.fake_engine import FakeEngine
from tests.waiting import until
from tui.core.session import Session

WEB = container("web")
MANY = [container(f"slow-{number}") for number in range(40)]
"""More than `asyncio.to_thread` has threads for on 32 CPUs, fewer than `MAX_THREADS` of those that wait."""


class BlockingEngine(FakeEngine):
    """A stop blocks a thread until it is let go, a pause one of those that act; a change of limits needs one too."""

    def __init__(self, containers: Sequence[Container]) -> None:
        super().__init__(containers)
        self.go = threading.Event()

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await threads.completing(self.go.wait, 30)
        await super().stop(key, timeout=timeout)

    async def pause(self, key: str) -> None:
        await threads.acting(self.go.wait, 30)
        await super().pause(key)

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        await threads.acting(int)
        return await super().update(key, change)


@pytest.fixture
def engine() -> BlockingEngine:
    return BlockingEngine([WEB, *MANY])


@pytest.fixture
def sweeper() -> FakeSweeper:
    return FakeSweeper(lambda number, targets: {})


@pytest.fixture
async def session(engine: BlockingEngine, sweeper: FakeSweeper) -> AsyncIterator[Session]:
    made = Session([engine], sweeper=sweeper, interval=0.05)
    try:
        await made.refresh()
        await made.start()
        yield made
    finally:
        engine.go.set()
        await made.close()


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.PAUSE])
async def test_slow_operations_delay_no_sweep(
    session: Session, engine: BlockingEngine, sweeper: FakeSweeper, verb: Verb
) -> None:
    under_way = [asyncio.create_task(session.perform(each.ref, verb)) for each in MANY]
    await asyncio.sleep(0.1)
    before = sweeper.count
    await until(lambda: sweeper.count >= before + 5, 5, "five sweeps more")
    assert not any(task.done() for task in under_way)
    engine.go.set()
    await asyncio.gather(*under_way)


async def test_slow_stops_delay_no_change_of_limits(session: Session, engine: BlockingEngine) -> None:
    under_way = [asyncio.create_task(session.perform(each.ref, Verb.STOP)) for each in MANY]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        await session.update(WEB.ref, LimitChange(pids=10))
    assert not any(task.done() for task in under_way)
    engine.go.set()
    await asyncio.gather(*under_way)
