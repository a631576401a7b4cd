"""Quitting while a change is under way: it is said at once, the change comes to its end, the second time leaves.

The same kind, waiting at the end without a word, was looked for in the command line (`tui.cli.common.session`).
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from runtime.model import Verb
from tests import waiting
from tests.app.driving import running, toasts, town_session, until
from tui.app.leaving import LossyStream, StdoutDriver
from tui.core import slow_changes


@pytest.mark.parametrize(("code", "key"), [(0, "q"), (143, "")])
async def test_what_has_begun_is_finished_and_that_is_said(code: int, key: str) -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        app: Any = pilot.app
        docker.delay = 1.0
        await pilot.press("p")
        await until(pilot, lambda: session.busy)
        if key:
            await pilot.press(key)
        else:
            app.leave(code)  # what the handler of a signal calls
        await until(pilot, lambda: "First what has begun comes to its end: pause " in toasts(pilot))
        assert session.busy
        assert not app._exit
        await waiting.until(lambda: app._exit, 5)
        assert not session.busy
    assert docker.asked == [(Verb.PAUSE, "database")]
    assert app.return_code == code


async def test_the_second_time_it_leaves_at_once() -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        app: Any = pilot.app
        docker.delay = 1.0
        await pilot.press("p")
        await until(pilot, lambda: session.busy)
        await pilot.press("q", "q")
        await waiting.until(lambda: app._exit, 0.8)


async def test_with_nothing_under_way_it_leaves_at_once() -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        app: Any = pilot.app
        await pilot.press("q")
        await waiting.until(lambda: app._exit, 1)


def test_what_a_terminal_that_is_gone_does_not_take_is_dropped() -> None:
    """Else the thread that writes ends, and the loop waits for ever with the next frame: a dropped ssh line left the
    dashboard, and the demo's containers, behind. Looked for elsewhere: the command line ends at a closed pipe."""
    main, other = os.openpty()
    with open(other, "w", encoding="utf-8") as gone:
        stream = LossyStream(gone)
        os.close(main)
        for _ in range(3):
            assert stream.write("x" * 100_000) == 100_000
            stream.flush()
        assert stream.fileno() == other
        with contextlib.suppress(OSError):
            gone.close()


def test_the_screen_is_given_back_before_the_thread_that_reads_keys_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """That thread looks every 0.1 s whether it is to end, and then once more. Looked for elsewhere: a suspension by
    Ctrl-Z goes the same way."""
    done: list[str] = []
    driver = object.__new__(StdoutDriver)
    monkeypatch.setattr(driver, "write", done.append, raising=False)
    monkeypatch.setattr(driver, "flush", lambda: None, raising=False)
    monkeypatch.setattr(driver, "disable_input", lambda: done.append("waits"), raising=False)
    driver._mouse, driver._in_band_window_resize, driver.attrs_before = True, False, None
    driver.stop_application_mode()
    assert "\x1b[?1049l" in "".join(done[: done.index("waits")])
    assert "\x1b[?1000l" in "".join(done[: done.index("waits")]), "no reports of the mouse on the shell's screen"


async def test_a_change_that_takes_long_is_no_failure_and_it_is_said_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_changes, "SLOW_S", 0.1)
    session, docker, _ = town_session()
    async with running(session) as pilot:
        docker.delay = 1.0
        await pilot.press("p")
        await until(pilot, lambda: "still waiting: pause database" in toasts(pilot))
        await until(pilot, lambda: not session.busy)
    assert docker.asked == [(Verb.PAUSE, "database")]
