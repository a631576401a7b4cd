"""What was asked for comes in while the asking widget is taken apart: its children are gone, its worker is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from tests.app import limit_fakes
from tests.app.driving import until
from tests.app.limit_fakes import KERNEL, ScriptedSession
from tests.app.test_detail import ISOLATION, PROCESSES
from tui.app.screens.limit_editor import LimitEditor

ANSWERS = {"limits": KERNEL, "processes": PROCESSES, "isolation": ISOLATION}


class Held:
    """The session's answer to one question, which is held back until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, question: str) -> None:
        self.asked = asyncio.Event()
        self.free = asyncio.Event()
        self.given = asyncio.Event()

        async def answer(session: ScriptedSession, *_: Any) -> Any:
            self.asked.set()
            await self.free.wait()
            self.given.set()
            return ANSWERS[question]

        monkeypatch.setattr(ScriptedSession, question, answer)

    async def come(self, pilot: Pilot[None], node: Widget) -> None:
        """Let it go once the widget that asked has no children any more."""
        await until(pilot, self.asked.is_set)
        await node.query("*").remove()
        self.free.set()
        await until(pilot, self.given.is_set)
        await pilot.pause(0.1)


async def test_limits_that_come_in_late(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, "limits")
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, LimitEditor))
        await held.come(pilot, app.screen)
        assert app.is_running


@pytest.mark.parametrize(("page", "question"), [("3", "processes"), ("4", "isolation")])
async def test_a_page_that_comes_in_late(monkeypatch: pytest.MonkeyPatch, page: str, question: str) -> None:
    held = Held(monkeypatch, question)
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
        await pilot.press("enter", page)
        await until(pilot, held.asked.is_set)
        await held.come(pilot, app.screen.query_one(f"#pane-{question}"))
        assert app.is_running
