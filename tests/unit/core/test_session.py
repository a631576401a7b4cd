"""The session on engines in memory: a true inventory, changes in turn, why something cannot be done, a clean end."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from collectors.sampling.frame import Frame
from runtime.errors import ConflictError, EngineError, NotFoundError, PytopError, RefusedError, UnsupportedError
from runtime.model import (
    Capabilities,
    Container,
    ContainerSpec,
    Event,
    EventKind,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Missing,
    State,
    Verb,
    Verdict,
)
from tests.app.fakes import FakeSweeper, container, fixed, usage
from tests.fake_engine import FakeEngine
from tests.waiting import until
from tui.core import inventory
from tui.core.session import Changed, Session
from tui.present.annotation_text import annotation_text

WEB = container("web")
OLD = container("old", state=State.EXITED)


def detail(refusal: PytopError | None) -> str | None:
    """The reason of a refusal, None where there is none."""
    return None if refusal is None else refusal.detail


@asynccontextmanager
async def opened(*engines: FakeEngine, start: bool = True, **options: Any) -> AsyncIterator[Session]:
    options.setdefault("sweeper", FakeSweeper(lambda number, targets: {}))
    session = Session(engines, **options)
    try:
        await session.refresh()
        if start:
            await session.start()
            await session.ready()
            # Every watch has its subscription now: what happens from here on is told by events.
            await until(lambda: all(engine.followers or engine.away for engine in engines), 3)
        yield session
    finally:
        await session.close()


def texts(session: Session, of: Container) -> list[str]:
    return [annotation_text(each) for each in session.history.annotations(of.ref)]


async def test_inventory_follows_events() -> None:
    engine = FakeEngine([WEB])
    async with opened(engine) as session:
        assert set(session.containers) == {WEB.ref}
        before = session.containers
        new = container("new")
        engine.put(new, EventKind.STARTED)
        await until(lambda: new.ref in session.containers, 3)
        assert new.ref not in before, "replaced, not mutated"
        engine.drop(WEB.ref)
        await until(lambda: set(session.containers) == {new.ref}, 3)


@pytest.mark.parametrize("detail", [{"exitCode": "3"}, {"containerExitCode": "3"}])
async def test_last_exit_comes_from_the_event_where_the_engine_forgets_it(detail: dict[str, str]) -> None:
    """Docker and Podman forget a status at the next start; their events have it under two names."""
    loop, started = replace(WEB, restarts=1), container("started-by-a-user")
    engine = FakeEngine([loop, started])
    async with opened(engine) as session:
        for one in (loop, started):
            for queue in engine._store.queues:
                queue.put_nowait(Event(EventKind.DIED, one.ref, 0, detail))
        engine.put(replace(loop, restarts=2), EventKind.STARTED)
        await until(lambda: session.containers[loop.ref].last_exit_code == 3, 3)
        await session.refresh()
        assert session.containers[loop.ref].last_exit_code == 3
        assert session.containers[started.ref].last_exit_code is None


async def test_burst_of_events_is_told_once_or_twice() -> None:
    engine = FakeEngine()
    async with opened(engine) as session:
        told: list[Changed] = []
        session.subscribe(told.append)
        for number in range(100):
            engine.put(container(f"c{number}"), EventKind.STARTED)
        await until(lambda: len(session.containers) == 100, 3)
        await asyncio.sleep(0.1)
        assert 1 <= sum(Changed.INVENTORY in what for what in told) <= 3


async def test_missed_event_is_caught_by_the_next_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "SECOND_LIST_S", 0.1)
    monkeypatch.setattr(inventory, "RELIST_S", 0.1)
    engine = FakeEngine([WEB])
    async with opened(engine) as session:
        silent = container("silent")
        engine.all[silent.ref] = silent
        await until(lambda: silent.ref in session.containers, 3)


async def test_container_that_vanishes_between_list_and_look_is_gone() -> None:
    engine = FakeEngine([WEB])
    async with opened(engine) as session:
        del engine.all[WEB.ref]
        engine.tell(EventKind.DIED, WEB.ref)
        await until(lambda: not session.containers, 3)
        assert not session.problems
        assert detail(session.why_not(WEB.ref, Verb.STOP)) == "it is gone"
        with pytest.raises(NotFoundError):
            await session.limits(WEB.ref)


async def test_dead_engine_keeps_its_containers_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "FIRST_RETRY_S", 0.05)
    engine, other = FakeEngine([WEB]), FakeEngine([container("batch", engine="other")], key="other")
    async with opened(engine, other) as session:
        told: list[Changed] = []
        session.subscribe(told.append)
        engine.away = True
        await until(lambda: session.problems, 3)
        (problem,) = session.problems
        assert (problem.engine, problem.hint) == ("fake", "Start it")
        assert session.containers[WEB.ref].state is State.UNKNOWN
        assert "cannot be reached" in (detail(session.why_not(WEB.ref, Verb.STOP)) or "")
        assert session.containers[container("batch", engine="other").ref].state is State.RUNNING
        await until(lambda: any(Changed.PROBLEMS in what for what in told), 3)
        engine.all[OLD.ref] = OLD
        engine.away = False
        await until(lambda: not session.problems, 3)
        assert session.containers[WEB.ref].state is State.RUNNING
        assert OLD.ref in session.containers, "what happened meanwhile is seen"
        await until(lambda: engine.followers > 0, 3)
        engine.put(container("later"), EventKind.STARTED)
        await until(lambda: container("later").ref in session.containers, 3)


async def test_engine_that_breaks_in_an_unexpected_way_is_a_problem_not_a_crash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(FakeEngine):
        async def containers(self) -> list[Container]:
            raise ValueError("odd")

    session = Session([Odd()], sweeper=FakeSweeper(lambda n, t: {}))
    try:
        await session.start()
        await until(lambda: session.problems, 3)
        assert "odd" in session.problems[0].cause
        assert caplog.records
    finally:
        await session.close()


async def test_silent_engine_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "ANSWER_TIMEOUT_S", 0.05)

    class Silent(FakeEngine):
        async def containers(self) -> list[Container]:
            await asyncio.Event().wait()
            raise AssertionError

    session = Session([Silent()])
    await session.refresh()
    assert "did not answer" in session.problems[0].cause
    await session.close()


async def test_one_change_at_a_time_per_container() -> None:
    engine = FakeEngine([WEB, container("db")])
    running: dict[str, int] = {}
    most: dict[str, int] = {}
    ask = engine._ask

    async def counted(verb: Verb, key: str) -> Container:
        running[key] = running.get(key, 0) + 1
        most[key] = max(most.get(key, 0), running[key])
        most["all"] = max(most.get("all", 0), sum(running.values()))
        await asyncio.sleep(0.02)
        running[key] -= 1
        return await ask(verb, key)

    engine._ask = counted  # type: ignore[method-assign]
    async with opened(engine, start=False) as session:
        db = container("db").ref
        await asyncio.gather(*(session.perform(ref, Verb.RESTART) for ref in (WEB.ref, WEB.ref, WEB.ref, db)))
    assert most[WEB.ref.id] == 1
    assert most["all"] == 2, "different containers do not wait for each other"


async def test_kill_does_not_wait_for_a_slow_stop() -> None:
    engine = FakeEngine([WEB])
    release = asyncio.Event()

    async def slow(key: str, *, timeout: float | None = None) -> None:
        await release.wait()

    engine.stop = slow  # type: ignore[method-assign]
    async with opened(engine, start=False) as session:
        stopping = asyncio.create_task(session.perform(WEB.ref, Verb.STOP))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(1):
            await session.perform(WEB.ref, Verb.KILL)
        release.set()
        await stopping
        assert session.containers[WEB.ref].state is State.EXITED


async def test_change_is_not_cancelled_half_way_and_close_waits_for_it() -> None:
    engine = FakeEngine([WEB])
    engine.delay = 0.1
    async with opened(engine, start=False) as session:
        task = asyncio.create_task(session.perform(WEB.ref, Verb.PAUSE))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.all[WEB.ref].state is State.RUNNING, "it is still under way"
    assert engine.all[WEB.ref].state is State.PAUSED


async def test_waiting_for_the_turn_can_be_cancelled() -> None:
    engine = FakeEngine([WEB])
    engine.delay = 0.1
    async with opened(engine, start=False) as session:
        first = asyncio.create_task(session.perform(WEB.ref, Verb.PAUSE))
        second = asyncio.create_task(session.perform(WEB.ref, Verb.STOP))
        await asyncio.sleep(0.02)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await asyncio.sleep(0.15)
        assert engine.asked == [(Verb.PAUSE, "web")]
        await session.perform(WEB.ref, Verb.UNPAUSE)


async def test_state_is_true_when_a_change_returns_also_when_it_failed() -> None:
    engine = FakeEngine([WEB])
    async with opened(engine, start=False) as session:
        await session.perform(WEB.ref, Verb.PAUSE)
        assert session.containers[WEB.ref].state is State.PAUSED
        engine.failures[Verb.UNPAUSE] = EngineError("unpause web", detail="no")
        engine.all[WEB.ref] = container("web", state=State.EXITED)
        with pytest.raises(EngineError):
            await session.perform(WEB.ref, Verb.UNPAUSE)
        assert session.containers[WEB.ref].state is State.EXITED


async def test_read_only_refuses_every_change_and_no_look() -> None:
    engine = FakeEngine([WEB])
    async with opened(engine, start=False, read_only=True) as session:
        for verb in (Verb.STOP, Verb.KILL, Verb.REMOVE):
            assert detail(session.why_not(WEB.ref, verb)) == "started with --read-only"
            with pytest.raises(RefusedError):
                await session.perform(WEB.ref, verb)
        assert detail(session.why_not(WEB.ref, LimitName.CPUS)) == "started with --read-only"
        with pytest.raises(RefusedError):
            await session.update(WEB.ref, LimitChange(cpus=1.0))
        with pytest.raises(RefusedError):
            await session.create("fake", ContainerSpec("host"))
        assert session.why_not(WEB.ref, Verb.LOGS) is None
    assert engine.asked == []


@pytest.mark.parametrize(
    ("state", "verb", "reason"),
    [
        (State.RUNNING, Verb.START, "it is running"),
        (State.RUNNING, Verb.UNPAUSE, "it is running"),
        (State.RUNNING, Verb.STOP, None),
        (State.PAUSED, Verb.PAUSE, "it is paused"),
        (State.PAUSED, Verb.STOP, None),
        (State.EXITED, Verb.STOP, "it is not running"),
        (State.EXITED, Verb.KILL, "it is not running"),
        (State.EXITED, Verb.RESTART, None),
        (State.STOPPING, Verb.KILL, None),
        (State.STOPPING, Verb.STOP, None),
        (State.STOPPING, Verb.PAUSE, "it is stopping"),
        (State.CREATED, Verb.PAUSE, "it was never started"),
        (State.REMOVING, Verb.REMOVE, "it is being removed"),
    ],
)
async def test_why_not_by_state(state: State, verb: Verb, reason: str | None) -> None:
    there = container("x", state=state)
    async with opened(FakeEngine([there]), start=False) as session:
        assert detail(session.why_not(there.ref, verb)) == reason


async def test_capability_is_the_reason_and_stops_the_change() -> None:
    able = Capabilities({Verb.PAUSE: "no freezer here"}, {LimitName.SWAP: "no swap accounting"})
    engine = FakeEngine([WEB], capabilities=able)
    async with opened(engine, start=False) as session:
        assert detail(session.why_not(WEB.ref, Verb.PAUSE)) == "no freezer here"
        assert detail(session.why_not(WEB.ref, LimitName.SWAP)) == "no swap accounting"
        assert session.why_not(WEB.ref, LimitName.CPUS) is None
        with pytest.raises(UnsupportedError, match="no freezer here"):
            await session.perform(WEB.ref, Verb.PAUSE)
        with pytest.raises(UnsupportedError, match="no swap accounting"):
            await session.update(WEB.ref, LimitChange(swap=0))
    assert engine.asked == []


async def test_no_update_at_all_makes_every_limit_unavailable() -> None:
    engine = FakeEngine([WEB], capabilities=Capabilities({Verb.UPDATE: "too old"}))
    async with opened(engine, start=False) as session:
        assert detail(session.why_not(WEB.ref, LimitName.CPUS)) == "too old"


async def test_annotations_of_life_limits_and_oom_each_once() -> None:
    engine = FakeEngine([WEB])

    async def update(key: str, change: LimitChange) -> LimitOutcome:
        engine.put(engine.all[WEB.ref], EventKind.UPDATED)  # as Docker tells of our own change
        await asyncio.sleep(0.05)
        held = FieldOutcome(LimitName.CPUS, 0.5, 1.0, 0.5, 0.5, Verdict.APPLIED)
        return LimitOutcome(WEB.ref, (held,))

    engine.update = update  # type: ignore[method-assign]
    async with opened(engine) as session:
        await session.update(WEB.ref, LimitChange(cpus=0.5))
        assert texts(session, WEB) == ["cpus 0.5"]
        session._measurement.take("", _frame(1, oom_kills=0))
        session._measurement.take("", _frame(2, oom_kills=1))
        engine.tell(EventKind.OOM, WEB.ref)
        engine.tell(EventKind.DIED, WEB.ref)
        await until(lambda: "ended" in texts(session, WEB), 3)
        assert texts(session, WEB) == ["cpus 0.5", "OOM kill", "ended"]


def _frame(seq: int, **more: Any) -> Frame:
    sweeper = FakeSweeper(lambda n, t: {WEB.ref: usage(**more)})
    sweeper.count = seq - 1
    return sweeper.sweep(())


async def test_frames_cover_what_is_live_and_tell_subscribers() -> None:
    engine = FakeEngine([WEB, OLD])
    seen: list[Sequence[Any]] = []
    script = fixed({"web": usage(0.5)}, [WEB])

    def spy(number: int, targets: Sequence[Any]) -> Any:
        seen.append(targets)
        return script(number, targets)

    sweeper = FakeSweeper(spy)
    async with opened(engine, sweeper=sweeper, interval=0.05) as session:
        told: list[Changed] = []
        session.subscribe(told.append)
        await until(lambda: session.frame is not None and session.frame.seq >= 3, 3)
        assert session.frame is not None
        assert session.frame.usages[WEB.ref].cpu == 0.5
        assert Changed.FRAME in told
    assert {target.ref for target in seen[-1]} == {WEB.ref}
    assert sweeper.closed
    assert engine.closed


async def test_sweep_that_fails_is_a_problem_until_one_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    def script(number: int, targets: Sequence[Any]) -> Any:
        if number == 1:
            raise OSError("no more descriptors")
        return {}

    session = Session([FakeEngine()], sweeper=FakeSweeper(script), interval=0.2)
    try:
        await session.start()
        await until(lambda: session.problems, 3)
        assert "no more descriptors" in session.problems[0].cause
        await until(lambda: session.frame is not None, 3)
        assert not session.problems
    finally:
        await session.close()
    caplog.clear()


async def test_subscriber_that_fails_does_not_hurt_the_others(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    async with opened(engine) as session:
        told: list[Changed] = []

        def bad(what: Changed) -> None:
            raise ZeroDivisionError

        session.subscribe(bad)
        stop = session.subscribe(told.append)
        engine.put(WEB, EventKind.STARTED)
        await until(lambda: told, 3)
        assert any(record.exc_info for record in caplog.records)
        stop()
        told.clear()
        engine.drop(WEB.ref)
        await until(lambda: not session.containers, 3)
        await asyncio.sleep(0.02)
        assert not told
    caplog.clear()


async def test_limits_of_a_container_that_is_not_live_are_gone() -> None:
    async with opened(FakeEngine([OLD]), start=False) as session:
        assert (await session.limits(OLD.ref)).memory is Missing.GONE
        assert await session.raw_limits(OLD.ref) == ()
        with pytest.raises(ConflictError, match="not running"):
            await session.processes(OLD.ref)


async def test_create_is_listed_at_once() -> None:
    async with opened(FakeEngine(), start=False) as session:
        ref = await session.create("fake", ContainerSpec("host", name="made"))
        assert session.containers[ref].name == "made"


async def test_close_leaves_nothing_and_refuses_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    before = asyncio.all_tasks()
    engine = FakeEngine([WEB])
    async with opened(engine) as session:
        pass
    gc.collect()
    assert asyncio.all_tasks() == before
    assert engine.followers == 0
    assert not caplog.records
    with pytest.raises(ConflictError, match="closed"):
        await session.perform(WEB.ref, Verb.STOP)


async def test_close_of_one_that_never_started() -> None:
    engine = FakeEngine()
    await Session([engine]).close()
    assert engine.closed
