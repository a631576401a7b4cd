"""Frame observers: in order, one that fails costs its own frames only, and is paused and tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.sampling.frame import Frame, HostUsage
from tests.app.fakes import FakeSweeper
from tests.fake_engine import FakeEngine
from tui.core import observers
from tui.core.observers import MAX_FAILURES, PAUSE_S, FrameObservers
from tui.core.problem import ProblemKind
from tui.core.session import Changed, Session
from tui.present import problem_text


class Observer:
    """Keeps what it is shown, and fails while `broken`."""

    def __init__(self, name: str, ncpu: int = 0) -> None:
        self.name = name
        self.ncpu = ncpu  # of the frame that it gives on, 0 to leave it as it is
        self.broken = False
        self.seen: list[tuple[int, int, int]] = []  # number of the frame, of the one before, processors

    def observe(self, previous: Frame | None, frame: Frame) -> Frame | None:
        self.seen.append((frame.seq, previous.seq if previous is not None else 0, frame.host.ncpu))
        if self.broken:
            raise ZeroDivisionError("on purpose")
        return replace(frame, host=HostUsage(ncpu=self.ncpu)) if self.ncpu else None

    @property
    def frames(self) -> list[int]:
        return [number for number, *_ in self.seen]


class World:
    """Two observers and a clock that is turned by hand; frames come a second apart."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.first, self.second = Observer("first", ncpu=7), Observer("second")
        self.observers = FrameObservers((self.first, self.second), clock=lambda: self.now)
        self.number = 0

    def frame(self, times: int = 1) -> None:
        for _ in range(times):
            self.number += 1
            self.now += 1
            self.observers.take(Frame(self.number, 0, 0, 1, 1, HostUsage(ncpu=2), usages={}))


def test_each_sees_the_frame_before_and_what_those_before_it_made_of_this_one() -> None:
    world = World()
    world.frame(2)
    assert world.first.seen == [(1, 0, 2), (2, 1, 2)]
    assert world.second.seen == [(1, 0, 7), (2, 1, 7)]
    assert world.observers.latest is not None
    assert world.observers.latest.host.ncpu == 7


def test_one_that_raises_once_loses_that_frame_and_nobody_else_does(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.first.broken = True
    world.frame()
    world.first.broken = False
    world.frame()
    assert world.first.frames == world.second.frames == [1, 2]
    assert world.second.seen[0] == (1, 0, 2), "the frame goes on as it was"
    assert not world.observers.problems
    (record,) = caplog.records
    assert record.exc_info is not None, "a traceback is in the log"
    caplog.clear()


def test_three_failures_in_a_row_pause_it_for_a_minute_and_that_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.first.broken = True
    world.frame(MAX_FAILURES - 1)
    assert not world.observers.problems
    world.frame()
    (problem,) = world.observers.problems
    assert (problem.kind, problem.subject) == (ProblemKind.OBSERVER, "first")
    assert "ZeroDivisionError('on purpose')" in problem.cause
    world.frame(int(PAUSE_S) - 1)
    assert world.first.frames == [1, 2, 3]
    assert world.second.frames == list(range(1, world.number + 1))
    caplog.clear()


def test_after_the_pause_it_is_tried_once_and_paused_again_or_healed(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.first.broken = True
    world.frame(MAX_FAILURES)
    world.now += PAUSE_S
    world.frame(10)
    assert len(world.first.frames) == MAX_FAILURES + 1, "one more failure is enough"
    assert world.observers.problems
    world.first.broken = False
    world.now += PAUSE_S
    world.frame(2)
    assert world.first.frames[-2:] == [world.number - 1, world.number]
    assert not world.observers.problems
    world.first.broken = True
    world.frame(MAX_FAILURES - 1)
    assert not world.observers.problems, "failures count anew"
    caplog.clear()


def test_failures_that_are_not_in_a_row_pause_nobody(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    for number in range(10):
        world.first.broken = number % 3 != 2
        world.frame()
    assert len(world.first.frames) == 10
    caplog.clear()


async def test_the_session_goes_on_shows_it_and_tells_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session([FakeEngine()], sweeper=FakeSweeper(lambda *_: {}))  # type: ignore[arg-type]
    now, told = 0.0, []
    monkeypatch.setattr(session._measurement._observers, "_clock", lambda: now)
    session._notifier.tell = told.append  # type: ignore[method-assign]
    monkeypatch.setattr(session.history, "push", lambda _: 1 / 0)
    for number in range(1, 5):
        session._measurement.take("", Frame(number, 0, 0, 1, 1, HostUsage(ncpu=2), usages={}))
    assert session.frame is not None
    assert session.frame.seq == 4
    assert [problem_text.title(problem) for problem in session.problems] == [
        "history failed 3 times and is paused: ZeroDivisionError('division by zero')"
    ]
    assert told.count(Changed.PROBLEMS) == 1
    assert told.count(Changed.FRAME) == 4
    monkeypatch.undo()
    monkeypatch.setattr(session._measurement._observers, "_clock", lambda: observers.PAUSE_S + 1)
    session._measurement.take("", Frame(5, 0, 0, 1, 1, HostUsage(ncpu=2), usages={}))
    assert not session.problems
    assert told.count(Changed.PROBLEMS) == 2
    assert session.history.latest is session.frame
    await session.close()
    caplog.clear()
