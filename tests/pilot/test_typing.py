"""Several keys in one packet, as a slow SSH connection sends them, act in the order in which they were pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from runtime.model import LimitChange, Verb
from tests.pilot import limit_fakes
from tests.pilot.driving import running, town_session, until
from tests.pilot.test_limits import editor
from tui.app import PytopApp
from tui.widgets.table import ContainerTable

KEYS = {
    "/": "slash",
    "?": "question_mark",
    "\r": "enter",
    "\x7f": "backspace",
    "<left>": "left",
    "<home>": "home",
    "<delete>": "delete",
}


def packet(app: PytopApp, *keys: str) -> None:
    """As the driver hands them over: one after the other, nobody waits in between."""
    for key in keys:
        name = KEYS.get(key, key)
        app.post_message(events.Key(name, None if key.startswith("<") else key))


async def typed(pilot: Pilot[None], field: Input, keys: list[str]) -> str:
    packet(pilot.app, *keys)  # type: ignore[arg-type]
    await pilot.pause(0.3)
    return field.value


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["1", "\x7f", "2"], "2"),
        (["1", "2", "<left>", "3"], "132"),
        (["2", "<home>", "1", "<delete>", "5"], "15"),
        (["u", "\x7f", "d"], "unlimited"),
        (["8", "<", "\x7f", "6"], "6"),
    ],
)
async def test_in_the_limit_editor(keys: list[str], text: str) -> None:
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        assert await typed(pilot, screen.query_one("#field-cpus Input", Input), keys) == text


async def test_in_the_filter() -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        await pilot.press("slash")
        field = pilot.app.screen.query_one("#filter", Input)
        assert await typed(pilot, field, ["w", "x", "\x7f", "e", "b"]) == "web"


async def test_what_is_typed_behind_the_key_that_opens_the_filter_is_not_the_lists() -> None:
    """The `x` of nginx would stop a container, and Enter say yes to it."""
    session, *engines = town_session()
    async with running(session) as pilot:
        field = pilot.app.screen.query_one("#filter", Input)
        assert await typed(pilot, field, list("/nginx\r")) == "nginx"
        assert len(pilot.app.screen_stack) == 1
        assert all(not engine.asked for engine in engines)


async def test_what_is_typed_behind_the_key_that_opens_the_search_of_a_log_is_not_the_pages() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
        await pilot.press("enter", "2")
        await until(pilot, lambda: app.screen.query("#log-search"))
        field = app.screen.query_one("#log-search", Input)
        assert await typed(pilot, field, list("/axK")) == "axK"
        assert {verb for verb, _ in engine.asked} <= {Verb.LOGS}


async def test_a_whole_change_in_one_packet() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
        packet(app, *"l0.29\x7f\r")
        await until(pilot, lambda: engine.changes)
        assert engine.changes == [LimitChange(cpus=0.2)]


async def test_a_widget_that_does_not_answer_holds_no_key_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        app: Any = pilot.app
        table = app.screen.query_one(ContainerTable)
        real = table.call_later

        def promise(callback: Callable[..., Any], *more: Any) -> bool:
            return True if callback == app._go else real(callback, *more)  # it says that it will, and never does

        monkeypatch.setattr(table, "call_later", promise)
        packet(app, "?", "v", "\x7f")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
