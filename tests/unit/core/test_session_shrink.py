"""Lowering memory by reclaim through the session: first the memory, then the limit, and no limit that does not fit."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from runtime import limits
from runtime.errors import ConflictError, RefusedError
from runtime.kernel import cgroups
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import ReclaimProgress
from runtime.model import Container, LimitChange, LimitOutcome, State
from tests.app.fakes import container
from tests.fake_engine import FakeEngine
from tui.cli.update import ReclaimReport
from tui.core.hosts.local import LocalHost
from tui.core.inspector import Inspector
from tui.core.session import Session

MB = 1024 * 1024
WEB, REST = container("web"), container("rest", state=State.EXITED)
Shrink = Callable[[Callable[[ReclaimProgress], None], Event], ReclaimProgress]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order."""
    monkeypatch.setattr(Inspector, "cgroup", lambda _self, _container: Cgroup({"memory": Path("/x")}))
    return []


async def session(*containers: Container, done: list[str]) -> Session:
    engine = FakeEngine(list(containers))

    async def update(key: str, change: LimitChange) -> LimitOutcome:
        done.append(f"update {dict(change.items())}")
        return LimitOutcome(WEB.ref, ())

    engine.update = update  # type: ignore[method-assign]
    opened = Session([engine])
    await opened.refresh()
    return opened


def scripted(monkeypatch: pytest.MonkeyPatch, done: list[str], work: Shrink) -> None:
    def shrink(
        _cgroup: Cgroup, target: int, *, progress: Callable[[ReclaimProgress], None], stop: Event
    ) -> ReclaimProgress:
        done.append(f"shrink to {target}")
        return work(progress, stop)

    monkeypatch.setattr(limits, "shrink", shrink)


async def test_memory_goes_before_the_limit_and_progress_comes_on_the_loop(
    monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:
    told: list[tuple[ReclaimProgress, threading.Thread]] = []
    steps = [ReclaimProgress(90 * MB, 64 * MB, 10 * MB), ReclaimProgress(64 * MB, 64 * MB, 36 * MB, done=True)]

    def work(progress: Callable[[ReclaimProgress], None], _stop: Event) -> ReclaimProgress:
        assert threading.current_thread() is not threading.main_thread()
        for each in steps:
            progress(each)
        return steps[-1]

    scripted(monkeypatch, done, work)
    opened = await session(WEB, done=done)
    await opened.shrink(
        WEB.ref, 64 * MB, lambda each: told.append((each, threading.current_thread())), beside=LimitChange(pids=9)
    )
    assert done == [
        "shrink to 67108864",
        "update {<LimitName.MEMORY: 'memory'>: 67108864, <LimitName.PIDS: 'pids'>: 9}",
    ]
    assert told == [(each, threading.main_thread()) for each in steps]
    await opened.close()


async def test_what_does_not_fit_is_refused_with_what_holds_it(
    monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:
    scripted(monkeypatch, done, lambda _progress, _stop: ReclaimProgress(80 * MB, 64 * MB, 5, reason="80 MiB are held"))
    opened = await session(WEB, done=done)
    with pytest.raises(RefusedError, match="80 MiB are held"):
        await opened.shrink(WEB.ref, 64 * MB, lambda _: None)
    assert done == ["shrink to 67108864"]
    await opened.close()


async def test_a_caller_that_leaves_stops_it_and_sets_no_limit(
    monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:
    begun = threading.Event()

    def work(_progress: Callable[[ReclaimProgress], None], stop: Event) -> ReclaimProgress:
        begun.set()
        assert stop.wait(5), "nobody has told it to stop"
        return ReclaimProgress(80 * MB, 64 * MB, 5, reason="it was stopped")

    scripted(monkeypatch, done, work)
    opened = await session(WEB, done=done)
    task = asyncio.create_task(opened.shrink(WEB.ref, 64 * MB, lambda _: None))
    assert await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await opened.close()
    assert done == ["shrink to 67108864"]


async def test_a_container_at_rest_has_nothing_to_give_back(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    opened = await session(REST, done=done)
    await opened.shrink(REST.ref, 64 * MB, lambda _: None)
    assert len(done) == 1
    assert done[0].startswith("update")
    monkeypatch.setattr(Inspector, "cgroup", lambda _self, _container: None)
    with pytest.raises(ConflictError):
        await LocalHost([]).reclaim(REST, 1, lambda _: None, Event())
    await opened.close()


def test_progress_is_told_now_and_then_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: Any = ReclaimReport("web\x1b[31m")
    told(ReclaimProgress(100 * MB, 120 * MB, 0, done=True))
    assert capsys.readouterr().err == "", "it fits already"
    for current in range(100, 64, -1):
        told(ReclaimProgress(current * MB, 64 * MB, (100 - current) * MB))
    told(ReclaimProgress(64 * MB, 64 * MB, 36 * MB, done=True))
    told.end()
    first, last = capsys.readouterr().err.splitlines()
    assert "uses 100.0 MiB, to come down to 64.0 MiB; 0 B given back" in first
    assert "uses 64.0 MiB" in last
    assert "\x1b" not in first


async def test_no_memory_is_taken_from_what_this_program_was_started_from(
    monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:
    scripted(monkeypatch, done, lambda _progress, _stop: ReclaimProgress(64 * MB, 64 * MB, 0, done=True))
    monkeypatch.setattr(cgroups, "known_pids", lambda _cgroup: frozenset({os.getppid()}))
    opened = await session(replace(WEB, found="its cgroup"), done=done)
    with pytest.raises(RefusedError, match="this program runs in there"):
        await opened.shrink(WEB.ref, 64 * MB, lambda _: None)
    assert not done
    await opened.close()
