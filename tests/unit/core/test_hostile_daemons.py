"""The session over real engines whose daemon misbehaves: the others go on, and it is said what is the matter.

Where else the kind was looked for: the inventory is the only reader of engines that runs for as long as the program
does; what it asks once at a key (an action, a page of the detail screen) has its error in a toast.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.engines.daemon import listing
from runtime.engines.protocol import Engine
from runtime.errors import EngineError
from runtime.model import Container, ContainerRef, State, Verb
from tests import hostile_daemon as wrong
from tests.app.fakes import FakeSweeper, container
from tests.fake_engine import FakeEngine
from tests.hostile_daemon import DOCKER, PODMAN, HostileDaemon, hostile
from tests.waiting import until
from tui.core import inventory
from tui.core.inventory import EngineInventory
from tui.core.session import Session

BOTH = pytest.mark.parametrize("dialect", [DOCKER, PODMAN])
OTHER = container("batch", engine="other")


@pytest.fixture
async def daemon(dialect: str) -> AsyncIterator[HostileDaemon]:
    async with hostile(dialect) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(*engines: Engine) -> AsyncIterator[Session]:
    session = Session(engines, sweeper=FakeSweeper(lambda number, targets: {}))
    try:
        yield session
    finally:
        await session.close()


@BOTH
@pytest.mark.parametrize(
    "fault", [wrong.odd_list, wrong.brackets, wrong.garbage, wrong.die, wrong.forbidden, wrong.status(500, "no")]
)
async def test_one_daemons_nonsense_leaves_the_others_listed(
    daemon: HostileDaemon, fault: wrong.Fault, tmp_path: Path
) -> None:
    daemon.faults["/containers/json"] = fault
    async with opened(daemon.engine(tmp_path), FakeEngine([OTHER], key="other")) as session:
        await session.refresh()
        assert session.containers.keys() == {OTHER.ref}
        (problem,) = session.problems
        assert problem.engine == daemon.dialect
        assert "<html" not in problem.cause + problem.hint


async def test_what_an_engine_raises_by_mistake_is_its_problem_only(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(FakeEngine):
        async def containers(self) -> list[Container]:
            raise RecursionError("odd")

    async with opened(Odd(), FakeEngine([OTHER], key="other")) as session:
        await session.refresh()
        assert session.containers.keys() == {OTHER.ref}
        assert "odd" in session.problems[0].cause
        assert caplog.records


@BOTH
async def test_an_event_about_a_container_that_hangs_costs_that_container(
    daemon: HostileDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listing, "INSPECT_TIMEOUT_S", 0.3)
    bad, good = daemon.add(1), daemon.add(2)
    async with opened(daemon.engine(tmp_path)) as session:
        await session.start()
        await until(lambda: len(session.containers) == 2 and daemon.count("/events"))
        daemon.faults[f"/containers/{bad}/json"] = wrong.hang
        daemon.containers[good]["state"] = "exited"
        for each in (bad, good):
            daemon.tell("update", each)
        ref = ContainerRef(daemon.dialect, bad)
        await until(lambda: session.containers[ref].error)
        await until(lambda: session.containers[ContainerRef(daemon.dialect, good)].state is State.EXITED)
        assert session.containers[ref].state is State.RUNNING
        assert session.why_not(ref, Verb.STOP) is None
        assert not session.problems


@BOTH
@pytest.mark.parametrize("abort", [False, True])
async def test_nothing_is_said_of_a_stream_of_events_that_is_cut_over_and_over(
    daemon: HostileDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abort: bool
) -> None:
    """Also where each stream is so short that the engine takes it for the daemon's end."""
    monkeypatch.setattr(inventory, "FIRST_RETRY_S", 0.1)
    identity = daemon.add(1)
    daemon.cut_s, daemon.abort = 0.1, abort
    said: list[object] = []
    async with opened(daemon.engine(tmp_path)) as session:
        session.subscribe(lambda what: said.extend(session.problems))
        await session.start()
        await until(lambda: daemon.count("/events") >= 4)
        assert [each.state for each in session.containers.values()] == [State.RUNNING]
        daemon.containers[identity]["state"] = "paused"
        daemon.tell("pause", identity)
        await until(lambda: [each.state for each in session.containers.values()] == [State.PAUSED])
        assert said == []
        await daemon.stop()
        await until(lambda: session.problems)
        assert [each.state for each in session.containers.values()] == [State.UNKNOWN]


@BOTH
async def test_without_events_it_polls_and_names_the_endpoint(
    daemon: HostileDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inventory, "POLL_S", 0.1)
    caplog.set_level(logging.WARNING)
    daemon.faults |= {"/events": wrong.forbidden, "/info": wrong.forbidden, "/version": wrong.forbidden}
    identity = daemon.add(1)
    async with opened(daemon.engine(tmp_path)) as session:
        await session.start()
        await until(lambda: session.containers)
        daemon.containers[identity]["state"] = "exited"
        await until(lambda: [each.state for each in session.containers.values()] == [State.EXITED])
        assert not session.problems
        reason = session.capabilities[daemon.dialect].why_not(Verb.EVENTS) or ""
        assert "forbids GET" in reason
        assert "/events" in reason
        assert "<" not in reason
        assert session.infos[daemon.dialect].detail["no events"] == reason
        assert daemon.count("/events") == 1


@BOTH
async def test_an_events_stream_without_end_is_that_engines_problem_and_memory_is_bounded(
    daemon: HostileDaemon, tmp_path: Path
) -> None:
    daemon.faults["/events"] = wrong.endless_line
    daemon.add(1)
    async with opened(daemon.engine(tmp_path), FakeEngine([OTHER], key="other")) as session:
        await session.start()
        await until(lambda: session.problems)
        assert "longer than 1 MiB" in session.problems[0].cause
        assert session.containers[OTHER.ref].state is State.RUNNING


async def test_a_failing_get_costs_one_container(caplog: pytest.LogCaptureFixture) -> None:
    """By the protocol, whatever the engine: the others of the same burst are taken over."""

    class Failing(FakeEngine):
        async def get(self, key: str) -> Container:
            if key == "bad":
                raise EngineError("look at bad", detail="no")
            return await super().get(key)

    engine = Failing([container("bad"), container("good")])
    followed = EngineInventory(engine, lambda: None, lambda event: None)
    await followed.load()
    good = container("good", state=State.EXITED)
    engine.all[good.ref] = good
    followed._dirty |= {container("bad").ref, good.ref}
    await followed._apply()
    assert followed.containers[good.ref].state is State.EXITED
    assert followed.containers[container("bad").ref].state is State.RUNNING
