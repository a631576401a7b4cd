"""One change at a time, and callers that leave: no lock and no result is lost, whenever they do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.sampling.frame import Usage
from runtime import limits
from runtime.errors import ConflictError, EngineError, NotFoundError, RefusedError
from runtime.kernel import self_protection
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import Severity
from runtime.model import (
    Container,
    ContainerRef,
    ContainerSpec,
    FieldOutcome,
    GroupKind,
    GroupRef,
    LimitChange,
    LimitName,
    LimitOutcome,
    State,
    Verb,
    Verdict,
)
from tests.app.fakes import container
from tests.fake_engine import FakeEngine
from tui.core.groups import Groups
from tui.core.hosts.host import RecentUsage
from tui.core.hosts.local import LocalHost
from tui.core.inspector import Inspector
from tui.core.session import Group, Session

SHOP = GroupRef(GroupKind.COMPOSE, "shop", "fake")
WEB = container("web", group=SHOP)
MANY = 60  # turns of the loop, more than any change takes
Act = Callable[[Session], Awaitable[object]]


class SlowEngine(FakeEngine):
    """Every change has awaits before, in and after it.

    Attributes:
        begun, ended: changes, in order.
        inside: how many are under way now, and `most` how many ever were.
    """

    def __init__(self, *containers: Container) -> None:
        super().__init__(containers)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.inside = self.most = 0

    async def _ask(self, verb: Verb, key: str) -> Container:
        await self._slow(verb.value)
        return await super()._ask(verb, key)

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        known = await self._ask(Verb.UPDATE, key)
        return outcome(known.ref, change)

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        await self._slow("create")
        return await super().create(spec)

    async def _slow(self, what: str) -> None:
        self.begun.append(what)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            for _ in range(5):
                await asyncio.sleep(0)
        finally:
            self.inside -= 1
        self.ended.append(what)


def outcome(ref: ContainerRef | GroupRef, change: LimitChange) -> LimitOutcome:
    fields = [FieldOutcome(name, value, value, value, value, Verdict.APPLIED) for name, value in change.items()]
    return LimitOutcome(ref, tuple(fields))


@asynccontextmanager
async def opened(engine: FakeEngine) -> AsyncIterator[Session]:
    session = Session([engine])
    try:
        await session.refresh()
        yield session
    finally:
        await session.close()


async def at_rest(session: Session) -> None:
    async with asyncio.timeout(3):
        while session.busy:  # noqa: ASYNC110
            await asyncio.sleep(0)


ACTS: dict[str, Act] = {
    "stop": lambda session: session.perform(WEB.ref, Verb.STOP),
    "kill": lambda session: session.perform(WEB.ref, Verb.KILL),
    "update": lambda session: session.update(WEB.ref, LimitChange(pids=9)),
    "create": lambda session: session.create("fake", ContainerSpec("host", name="made")),
    "pause of a group": lambda session: session.perform(SHOP, Verb.PAUSE),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_caller_that_is_cancelled_at_any_await_leaves_the_work_whole_and_no_lock(act: Act) -> None:
    whole = 0
    for turns in range(MANY):
        engine = SlowEngine(WEB)
        async with opened(engine) as session:
            caller = asyncio.ensure_future(act(session))
            for _ in range(turns):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            await at_rest(session)
            assert engine.begun == engine.ended, f"cut in the middle after {turns} turns"
            assert session._operations._locks == {}
            if engine.ended:
                whole += 1
                expected = {ref: each.state for ref, each in engine.all.items()}
                assert {ref: each.state for ref, each in session.containers.items()} == expected, "not looked at"
            async with asyncio.timeout(3):
                await session.update(WEB.ref, LimitChange(pids=10))
    assert 0 < whole < MANY


async def test_a_result_that_nobody_waits_for_is_in_history_drift_and_log(caplog: pytest.LogCaptureFixture) -> None:
    engine = SlowEngine(WEB)
    async with opened(engine) as session:
        caller = asyncio.ensure_future(session.update(WEB.ref, LimitChange(pids=9)))
        await until(lambda: engine.begun)
        caller.cancel()
        await at_rest(session)
        (noted,) = session.history.annotations(WEB.ref)
        assert [(each.name, each.kernel) for each in noted.limits] == [(LimitName.PIDS, 9)]
        engine.failures[Verb.STOP] = EngineError("stop web", detail="it would not")
        caller = asyncio.ensure_future(session.perform(WEB.ref, Verb.STOP))
        await until(lambda: "stop" in engine.begun)
        caller.cancel()
        await at_rest(session)
        await asyncio.sleep(0)
        assert any("stop web" in record.message and record.exc_info for record in caplog.records)
    caplog.clear()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(3):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_one_that_waits_for_its_turn_can_leave_and_the_next_has_it() -> None:
    engine = SlowEngine(WEB)
    async with opened(engine) as session:
        changes = [asyncio.ensure_future(session.update(WEB.ref, LimitChange(pids=n))) for n in (1, 2, 3)]
        await until(lambda: engine.begun)
        changes[1].cancel()
        results = await asyncio.gather(*changes, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert [len(engine.begun), engine.most] == [2, 1]
        assert session._operations._locks == {}


async def test_a_container_that_comes_and_goes_while_others_wait_is_still_changed_one_at_a_time() -> None:
    engine = SlowEngine(WEB)
    async with opened(engine) as session:
        changes = [asyncio.ensure_future(session.update(WEB.ref, LimitChange(pids=n))) for n in range(5)]
        for _ in range(10):
            engine.all.pop(WEB.ref, None)
            await session.refresh()
            engine.all[WEB.ref] = WEB
            await session.refresh()
        await asyncio.gather(*changes, return_exceptions=True)
        assert engine.most == 1


async def test_what_waits_when_the_session_closes_is_refused_and_what_runs_is_finished() -> None:
    engine = SlowEngine(WEB)
    async with opened(engine) as session:
        changes = [asyncio.ensure_future(session.update(WEB.ref, LimitChange(pids=n))) for n in (1, 2)]
        await until(lambda: engine.begun)
        await session.close()
        first, second = await asyncio.gather(*changes, return_exceptions=True)
        assert isinstance(first, LimitOutcome)
        assert isinstance(second, ConflictError)
        assert session._operations._locks == {}


async def test_work_that_closing_cancels_before_it_begins_gives_its_lock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.core.operations.CLOSE_TIMEOUT_S", 0.0)
    for turns in range(8):
        async with opened(SlowEngine(WEB)) as session:
            change = asyncio.ensure_future(session.update(WEB.ref, LimitChange(pids=1)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await session.close()
            await asyncio.gather(change, return_exceptions=True)
            assert session._operations._locks == {}


async def test_limits_of_a_group_are_changed_one_at_a_time_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[LimitChange] = []
    inside = 0

    async def change(_: LocalHost, group: Group, what: LimitChange) -> LimitOutcome:
        nonlocal inside
        inside += 1
        assert inside == 1
        for _turn in range(5):
            await asyncio.sleep(0)
        inside -= 1
        asked.append(what)
        return outcome(group.ref, what)

    monkeypatch.setattr(LocalHost, "change_group_limits", change)
    monkeypatch.setattr(Groups, "_find_cgroups", lambda _, members: dict.fromkeys(members, "/shop"))
    other = container("other", group=SHOP, state=State.PAUSED)
    async with opened(SlowEngine(WEB, other)) as session:
        await session.regroup()
        changes = [asyncio.ensure_future(session.update(SHOP, LimitChange(pids=n))) for n in (1, 2)]
        await until(lambda: inside)
        changes[0].cancel()
        await asyncio.gather(*changes, return_exceptions=True)
        assert asked == [LimitChange(pids=1), LimitChange(pids=2)]


VERBS = (Verb.STOP, Verb.RESTART, Verb.KILL, Verb.PAUSE, Verb.REMOVE)


@pytest.mark.parametrize("ours", ["processes", "id"])
async def test_nothing_is_done_to_a_container_that_would_hit_this_program_or_what_started_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours: str
) -> None:
    """Of an engine that has made it: neither a verb nor a limit reaches the engine, nor is memory reclaimed."""
    (tmp_path / "cgroup.procs").write_text(f"{os.getppid()}\n" if ours == "processes" else "0\n")
    monkeypatch.setattr(Inspector, "cgroup", lambda *_: Cgroup({"pids": tmp_path}))
    mine = replace(WEB, cgroup="/docker/web")
    if ours == "id":
        monkeypatch.setattr(self_protection, "_own_ids", lambda _: frozenset({mine.ref.id}))
    engine = SlowEngine(mine)
    async with opened(engine) as session:
        for verb in VERBS:
            with pytest.raises(RefusedError, match="this program runs in there"):
                await session.perform(mine.ref, verb)
        with pytest.raises(RefusedError, match="this program runs in there"):
            await session.update(mine.ref, LimitChange(pids=9))
        with pytest.raises(RefusedError, match="this program runs in there"):
            await session.shrink(mine.ref, 64 << 20, lambda _: None)
    assert engine.begun == []


async def test_another_container_and_one_whose_processes_nobody_can_tell_are_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What runs in a container could make its processes unreadable; that does not forbid that it is limited."""
    (tmp_path / "cgroup.procs").mkdir()
    monkeypatch.setattr(Inspector, "cgroup", lambda *_: Cgroup({"pids": tmp_path}))
    other = replace(WEB, cgroup="/docker/web")
    engine = SlowEngine(other)
    async with opened(engine) as session:
        assert (await session.update(other.ref, LimitChange(pids=9))).ok
        await session.perform(other.ref, Verb.PAUSE)
    assert engine.begun == ["update", "pause"]


async def test_a_container_that_is_gone_is_not_changed_twice() -> None:
    engine = FakeEngine([WEB])
    engine.failures[Verb.UPDATE] = NotFoundError("set pids", detail="the container's cgroup is gone")
    async with opened(engine) as session:
        with pytest.raises(NotFoundError):
            await session.update(WEB.ref, LimitChange(pids=9))
    assert engine.asked == [(Verb.UPDATE, "web")]


async def test_what_is_in_use_now_is_judged_by_where_nothing_was_measured_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a command, which sweeps nothing: the editor and the command line say the same."""
    (tmp_path / "pids.max").write_text("max")
    (tmp_path / "pids.current").write_text("7")
    monkeypatch.setattr(Inspector, "cgroup", lambda *_: Cgroup({"pids": tmp_path}))
    async with opened(FakeEngine([WEB])) as session:
        preview = await session.preview(WEB.ref, LimitChange(pids=3))
        assert [finding.text for finding in preview.findings if finding.name is LimitName.PIDS] == [
            "3: it has 7 tasks; they stay, and nothing new can be started"
        ]


@pytest.mark.parametrize(("throttled", "waiting"), [(0.8, None), (0.5, 0.3), (None, 0.8)])
async def test_a_starved_container_is_told_what_it_waits_for(throttled: float | None, waiting: float | None) -> None:
    """Held back by its own limit, or by others: it would use that as soon as it may."""
    means = {"cpu": 0.2, "throttled": throttled, "waiting": waiting}
    recent = RecentUsage(Usage(1, cpu=0.2), means.get)
    preview = await Inspector().preview(container("web", pid=None), LimitChange(cpus=0.2), recent)
    (text,) = [finding.text for finding in preview.findings if finding.name is LimitName.CPUS]
    assert "it used 0.2 and waited for 0.8 more in the last minute, so it will be throttled most of the time" in text


async def test_shared_memory_is_not_promised_as_cache_that_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The preview and the refusal have one account of memory: the cgroup's, as it is now."""
    size = 200 << 20
    stat = f"total_rss 0\ntotal_cache {size}\ntotal_shmem {size}\ntotal_inactive_file 0\ntotal_active_file 0\n"
    (tmp_path / "memory.stat").write_text(stat)
    (tmp_path / "memory.usage_in_bytes").write_text(str(size))
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712")
    cgroup = Cgroup({"memory": tmp_path})
    monkeypatch.setattr(Inspector, "cgroup", lambda *_: cgroup)
    change = LimitChange(memory=64 << 20)
    recent = RecentUsage(Usage(1, memory=size, anon=0, file=size), lambda _: None)
    preview = await Inspector().preview(WEB, change, recent)
    with pytest.raises(RefusedError) as refused:
        limits.check(cgroup, change, preview.before)
    told = [finding.text for finding in preview.findings if finding.severity is Severity.REFUSE]
    assert told == [refused.value.detail]


async def test_each_failure_of_a_group_is_told() -> None:
    members = [container(name, group=SHOP) for name in ("one", "two", "three", "four")]
    engine = FakeEngine(members)
    async with opened(engine) as session:
        await until(lambda: SHOP in session.groups)
        real = engine.pause

        async def pause(key: str) -> None:
            name = session.containers[members[0].ref].name if key == members[0].ref.id else ""
            if key == members[0].ref.id:
                raise EngineError(f"pause {name}", detail="no freezer")
            if key == members[1].ref.id:
                raise OSError(24, "Too many open files")
            await real(key)

        engine.pause = pause  # type: ignore[method-assign]
        with pytest.raises(EngineError, match="2 of 4 failed") as raised:
            await session.perform(SHOP, Verb.PAUSE)
        assert "pause one: no freezer" in str(raised.value)
        assert "Too many open files" in str(raised.value)
        await until(lambda: session.containers[members[3].ref].state is State.PAUSED)
