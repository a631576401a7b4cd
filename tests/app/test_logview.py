"""The log page: following, holding, searching, floods, and logs that end and begin again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from runtime.errors import UnavailableError
from runtime.model import Capabilities, EventKind, LogLine, State, Verb
from tests.app import limit_fakes
from tests.app.driving import screen, until
from tui.app.screens.panes.logs import Logs
from tui.app.widgets.logview import LogView
from tui.present.log_buffer import MAX_LINES

NOW = time.time_ns()


class Talker:
    """Puts its lines in place of the engine's log."""

    def __init__(self, engine: Any) -> None:
        self.queue: asyncio.Queue[LogLine | None] = asyncio.Queue()
        self.opened = 0
        self.closed = 0
        engine.logs = self.logs

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        self.opened += 1
        try:
            while (line := await self.queue.get()) is not None:
                yield line
        finally:
            self.closed += 1

    def say(self, *texts: str | bytes, stream: str = "stdout") -> None:
        for text in texts:
            data = text if isinstance(text, bytes) else text.encode()
            self.queue.put_nowait(LogLine(stream, NOW, data))


@asynccontextmanager
async def opened(size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Pilot[None], Talker, LogView]]:
    app, engine = limit_fakes.app()
    talker = Talker(engine)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("o")
        await until(pilot, lambda: talker.opened)
        yield pilot, talker, app.screen.query_one(LogView)


def status(pilot: Pilot[None]) -> str:
    return screen(pilot).splitlines()[-2]


async def test_lines_are_shown_as_they_come_and_the_end_is_followed() -> None:
    async with opened() as (pilot, talker, view):
        talker.say("hello [b]there[/b]")
        await until(pilot, lambda: "hello [b]there[/b]" in screen(pilot))
        talker.say(*(f"line {n}" for n in range(100)))
        await until(pilot, lambda: "line 99" in screen(pilot))
        assert "line 50" not in screen(pilot)
        assert view.following
        assert "following" in status(pilot)


async def test_stderr_has_a_sign_and_control_sequences_are_only_shown() -> None:
    async with opened() as (pilot, talker, _):
        talker.say("fine")
        talker.say(b"\x1b[2Jwiped \xff\x07", stream="stderr")
        await until(pilot, lambda: "wiped" in screen(pilot))
        lines = screen(pilot).splitlines()
        assert "  fine" in lines
        assert "! \\e[2Jwiped \\xff\\x07" in lines


async def test_scrolling_up_holds_the_place_and_f_follows_again() -> None:
    async with opened() as (pilot, talker, view):
        talker.say(*(f"line {n}" for n in range(200)))
        await until(pilot, lambda: "line 199" in screen(pilot))
        await pilot.press("pageup")
        await until(pilot, lambda: "held" in status(pilot))
        before = [line[:60].rstrip() for line in screen(pilot).splitlines()[4:20]]
        talker.say(*(f"more {n}" for n in range(50)))
        await until(pilot, lambda: "250 lines" in status(pilot))
        assert [line[:60].rstrip() for line in screen(pilot).splitlines()[4:20]] == before  # but for the bar
        await pilot.press("f")
        await until(pilot, lambda: "more 49" in screen(pilot))
        for up, end in (("pageup", "end"), ("k", "G"), ("g", "G"), ("up", "down")):
            await pilot.press(up)
            await until(pilot, lambda: not view.following)
            await pilot.press(end)
            await until(pilot, lambda: view.following)


async def test_what_is_held_stays_in_a_flood() -> None:
    async with opened() as (pilot, talker, view):
        talker.say(*(f"line {n}" for n in range(100)))
        await until(pilot, lambda: "line 99" in screen(pilot))
        await pilot.press("home")
        await until(pilot, lambda: "held" in status(pilot))
        talker.say(*(f"flood {n}" for n in range(3 * MAX_LINES)))
        await until(pilot, lambda: view.buffer.full)
        await pilot.pause(0.3)
        assert "  line 0" in screen(pilot).splitlines()
        await pilot.press("f")
        await until(pilot, lambda: f"flood {3 * MAX_LINES - 1}" in screen(pilot))
        assert len(view.buffer) <= MAX_LINES


async def test_search_finds_upwards_and_goes_round() -> None:
    async with opened() as (pilot, talker, view):
        talker.say(*(f"line {n} {'ERROR' if n in (10, 150) else 'ok'}" for n in range(200)))
        await until(pilot, lambda: "line 199" in screen(pilot))
        await pilot.press("slash", *"error", "enter")
        await until(pilot, lambda: view.here == 150)
        assert "line 150 ERROR" in screen(pilot)
        assert "line 151" in status(pilot)
        await pilot.press("n")
        await until(pilot, lambda: "line 10 ERROR" in screen(pilot))
        await pilot.press("n")
        assert view.here == 150
        await pilot.press("N")
        assert view.here == 10
        await pilot.press("slash", *"nowhere", "enter")
        await until(pilot, lambda: "not found" in status(pilot))


async def test_escape_closes_the_search_before_the_screen() -> None:
    async with opened() as (pilot, _, view):
        on = pilot.app.screen
        await pilot.press("slash", "1", "escape")
        await pilot.pause()
        assert pilot.app.screen is on
        assert view.has_focus
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not on)


async def test_wrap_and_time_stamps_can_be_switched() -> None:
    async with opened() as (pilot, talker, _):
        talker.say("a" * 70 + "b" * 70)
        await until(pilot, lambda: "bbb" in screen(pilot))
        await pilot.press("w")
        await until(pilot, lambda: "bbbbbbbbb" not in screen(pilot))
        await pilot.press("w", "T")
        clock = time.strftime("%H:%M:%S", time.localtime(NOW // 10**9))
        await until(pilot, lambda: clock in screen(pilot))


async def test_a_log_that_ends_says_so_and_begins_again_with_the_container() -> None:
    app, engine = limit_fakes.app()
    talker = Talker(engine)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("o")
        talker.say("the last words")
        talker.queue.put_nowait(None)
        await until(pilot, lambda: "the log has ended" in status(pilot))
        assert "the last words" in screen(pilot)
        assert talker.closed == 1
        engine.put(replace(limit_fakes.HOG, state=State.EXITED, pid=None), EventKind.DIED)
        await pilot.pause(0.1)
        assert talker.opened == 1
        engine.put(replace(limit_fakes.HOG, started_ns=NOW), EventKind.STARTED)
        await until(pilot, lambda: talker.opened == 2)
        await until(pilot, lambda: "following" in status(pilot))


async def test_a_stopped_container_shows_its_old_log() -> None:
    hog = replace(limit_fakes.HOG, state=State.EXITED, pid=None, exit_code=1)
    app, _ = limit_fakes.app(hog=hog)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("o")
        await until(pilot, lambda: "second line" in screen(pilot))
        assert "exit status 1" in screen(pilot)


@pytest.mark.parametrize(
    ("capabilities", "failure", "words"),
    [
        (Capabilities(), UnavailableError("read the log", detail="connection refused"), "connection refused"),
    ],
)
async def test_a_log_that_cannot_be_read_says_why(
    capabilities: Capabilities, failure: UnavailableError, words: str
) -> None:
    app, engine = limit_fakes.app(capabilities=capabilities)
    engine.failures[Verb.LOGS] = failure
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("o")
        await until(pilot, lambda: words in status(pilot))


async def test_leaving_closes_the_engines_iterator() -> None:
    async with opened() as (pilot, talker, _):
        on = pilot.app.screen
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not on)
        await until(pilot, lambda: talker.closed == 1)


def flood() -> Iterator[LogLine]:
    """Old enough to be behind, endless."""
    while True:
        yield LogLine("stdout", NOW - 3600 * 10**9, b"a line of a flood, of some length, as they are")


async def test_a_flood_does_not_block_and_is_taken_up_again_at_its_end() -> None:
    app, engine = limit_fakes.app()
    lines = flood()
    opened = 0

    async def logs(key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        nonlocal opened
        opened += 1
        for line in lines:
            yield line

    engine.logs = logs  # type: ignore[method-assign]
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("o")
        await until(pilot, lambda: opened >= 2)
        worst = 0.0
        for _ in range(20):
            begun = time.monotonic()
            await asyncio.sleep(0)
            worst = max(worst, time.monotonic() - begun)
        view = app.screen.query_one(LogView)
        assert worst < 0.5
        assert len(view.buffer) <= MAX_LINES
        assert "too fast" in status(pilot)
        await pilot.press("1")
        await until(pilot, lambda: app.screen.query_one(Logs).display is False)


async def test_n_goes_down_and_capital_n_up_as_in_less_and_vi() -> None:
    """`/` looks downwards from what is seen, so `n` goes on downwards. The list has no such keys, `N` sorts there."""
    async with opened() as (pilot, talker, view):
        talker.say(*(f"line {n} {'ERROR' if n in (10, 90, 150) else 'ok'}" for n in range(200)))
        await until(pilot, lambda: "line 199" in screen(pilot))
        await pilot.press("g", "slash", *"error", "enter")
        await until(pilot, lambda: view.here == 10)
        seen = []
        for key in ("n", "n", "n", "N", "N"):
            await pilot.press(key)
            seen.append(view.here)
        assert seen == [90, 150, 10, 150, 90]


async def test_q_goes_back_to_the_list_and_the_foot_says_so() -> None:
    async with opened() as (pilot, _, _):
        on = pilot.app.screen
        await until(pilot, lambda: "q back" in screen(pilot))
        await pilot.press("slash", "q")
        assert pilot.app.screen is on, "a letter in a field is no command"
        await pilot.press("escape", "q")
        await until(pilot, lambda: pilot.app.screen is not on)
        assert not pilot.app._exit
        await until(pilot, lambda: "q quit" in screen(pilot))
        await pilot.press("q")
        assert pilot.app._exit


async def test_a_line_is_drawn_between_two_runs() -> None:
    """The engines' logs hold both runs; only when the last one began is known. `logs` writes bytes as they are."""
    started_ns = NOW - 5 * 10**9
    app, engine = limit_fakes.app(hog=replace(limit_fakes.HOG, started_ns=started_ns))
    talker = Talker(engine)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("o")
        for ago_s, text in ((9, "old 1"), (8, "old 2"), (4, "new 1"), (3, "new 2")):
            talker.queue.put_nowait(LogLine("stdout", NOW - ago_s * 10**9, text.encode()))
        await until(pilot, lambda: "new 2" in screen(pilot))
        shown = [line.strip() for line in screen(pilot).splitlines()]
        at = shown.index("old 2")
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started_ns / 1e9))
        assert shown[at + 1 : at + 3] == [f"---- started {clock} ----", "new 1"]
        assert screen(pilot).count("started 20") == 2, "in the head and between the runs"
