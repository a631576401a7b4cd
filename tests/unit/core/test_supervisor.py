"""What one part of the session raises stays there: tasks are started again, callbacks lose one call.

The same kind was looked for in the subscribers, the frame observers (test_observers), the callbacks of an engine's
inventory and its events, what an engine raises, the drift rounds (test_drift_checker), and sweeps.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from runtime.model import EventKind, State
from tests.app.fakes import FakeSweeper, container
from tests.fake_engine import FakeEngine
from tests.waiting import until
from tui.core import supervisor
from tui.core.annotations import Annotations
from tui.core.drift.checker import DriftChecker
from tui.core.drift.detector import DriftDetector
from tui.core.groups import Groups
from tui.core.hosts.local import LocalHost
from tui.core.inventory import EngineInventory
from tui.core.session import Changed, Session
from tui.core.supervisor import Supervisor

WEB = container("web")


def once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[str]:
    """The method raises the first time it is called; the list then is not empty."""
    original, raised = getattr(owner, name), []

    def method(self: Any, *args: Any, **options: Any) -> Any:
        if not raised:
            raised.append(name)
            raise OSError(24, "injected")
        return original(self, *args, **options)

    monkeypatch.setattr(owner, name, method)
    return raised


@pytest.mark.parametrize(("owner", "name"), [
    (EngineInventory, "run"),
    (EngineInventory, "_lost"),
    (Groups, "follow"),
    (Groups, "inventory"),
    (DriftChecker, "_follow"),
    (LocalHost, "measure"),
    (Annotations, "forget"),
    (Annotations, "event"),
    (DriftDetector, "inventory"),
    (DriftDetector, "event"),
    (Session, "targets"),
    (FakeSweeper, "sweep"),
    (FakeEngine, "containers"),
    (FakeEngine, "info"),
    (FakeEngine, "get"),
])  # fmt: skip
async def test_whatever_raises_once_costs_nothing_but_itself(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(supervisor, "QUIET_S", 0.2)
    monkeypatch.setattr("tui.core.inventory.FIRST_RETRY_S", 0.05)
    raised = once(monkeypatch, owner, name)
    engine, other = FakeEngine([WEB]), FakeEngine([container("batch", engine="other")], key="other")
    session = Session((engine, other), sweeper=FakeSweeper(lambda number, targets: {}), interval=0.05)
    try:
        await session.start()
        await session.ready()
        if name == "_lost":
            engine.away = True
            await until(lambda: raised, 3)
            engine.away = False
        engine.put(container("new"), EventKind.STARTED)
        await until(lambda: container("new").ref in session.containers, 5)
        engine.drop(container("new").ref)
        await until(lambda: container("new").ref not in session.containers, 5)
        await until(lambda: raised, 3)
        await until(lambda: session.containers[WEB.ref].state is State.RUNNING, 5)
        seq = session.frame.seq if session.frame is not None else 0
        await until(lambda: session.frame is not None and session.frame.seq > seq + 3, 5)
        assert container("batch", engine="other").ref in session.containers
        await until(lambda: not session.problems, 5)
    finally:
        await session.close()


async def test_a_subscriber_that_fails_is_a_problem_once_and_the_others_are_told() -> None:
    session = Session([FakeEngine([WEB])], sweeper=FakeSweeper(lambda number, targets: {}), interval=0.02)
    told: list[Changed] = []
    calls: list[Changed] = []

    def broken(what: Changed) -> None:
        calls.append(what)
        raise ZeroDivisionError(f"injected {len(calls)}")

    session.subscribe(broken)
    session.subscribe(told.append)
    try:
        await session.start()
        await until(lambda: len(calls) >= 10, 5)
        assert told == calls
        (problem,) = session.problems
        assert "injected 1" in problem.cause
        assert sum(Changed.PROBLEMS in what for what in told) <= 4, "a failure that goes on is no news"
    finally:
        await session.close()


async def test_a_task_is_started_again_with_growing_pauses_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(supervisor, "LAST_PAUSE_S", 0.08)
    begun: list[float] = []

    async def fails() -> None:
        begun.append(asyncio.get_running_loop().time())
        raise ValueError("injected")

    watched = Supervisor(lambda: None)
    watched.spawn("it", fails)
    await until(lambda: len(begun) >= 6, 5)
    await watched.close()
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert pauses[0] < 0.08 <= pauses[3] + 0.005
    count = len(begun)
    await asyncio.sleep(0.1)
    assert len(begun) == count
