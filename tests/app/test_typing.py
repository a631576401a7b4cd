"""Several keys in one packet, as a slow SSH connection sends them, act in the order in which they were pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from runtime.model import LimitChange, Verb
from tests.app import limit_fakes
from tests.app.driving import question, running, screen, toasts, town_session, until
from tests.app.test_limits import editor
from tui.app.app import PytopApp
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.help import HelpScreen
from tui.app.widgets.table import ContainerTable

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


def typed_at(app: PytopApp, *keys: tuple[str, float]) -> None:
    """Keys with the seconds at which the terminal sent them."""
    begun_s = events.Event().time
    for key, after_s in keys:
        event = events.Key(KEYS.get(key, key), key)
        event.time = begun_s + after_s
        app.post_message(event)


@pytest.mark.parametrize("word", ["nginx", "Ecx\r", "eox", "WxK\r"])
async def test_letters_that_follow_a_dead_key_are_no_commands(word: str) -> None:
    """Each of these words begins with a key that the list does not know; 0.1 s between keys is fast typing."""
    session, *engines = town_session()
    async with running(session) as pilot:
        typed_at(pilot.app, *((key, 0.1 * number) for number, key in enumerate(word)))  # type: ignore[arg-type]
        await pilot.pause(0.3)
        assert len(pilot.app.screen_stack) == 1
        assert all(not engine.asked for engine in engines)


@pytest.mark.parametrize(("pause_s", "asks"), [(0.14, False), (0.16, True)])
async def test_a_dead_key_is_forgotten_after_a_moment(pause_s: float, asks: bool) -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        typed_at(pilot.app, ("e", 0.0), ("x", pause_s))  # type: ignore[arg-type]
        await pilot.pause(0.2)
        assert isinstance(pilot.app.screen, ConfirmScreen) is asks


async def test_keys_that_type_nothing_are_commands_behind_a_dead_key_too() -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        typed_at(pilot.app, ("?", 0.0), ("e", 0.0), ("escape", 0.01), ("f1", 0.02))  # type: ignore[arg-type]
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        await pilot.pause(0.1)
        assert isinstance(pilot.app.screen, HelpScreen)


async def test_a_key_that_closes_a_question_is_dead_there() -> None:
    """A word typed into a question closes it with its first letter, and the rest asks nothing."""
    session, *engines = town_session()
    async with running(session) as pilot:
        await pilot.press("x")
        await question(pilot)
        packet(pilot.app, *"wxKr\r")  # type: ignore[arg-type]
        await pilot.pause(0.3)
        assert len(pilot.app.screen_stack) == 1
        assert all(not engine.asked for engine in engines)


async def test_no_letter_is_lost_in_a_field() -> None:
    """The key that opens it comes behind a dead one, and a key that the field does not know is among the letters."""
    session, *_ = town_session()
    async with running(session) as pilot:
        await pilot.press("slash", "w", "f9", "e", "b")
        assert pilot.app.screen.query_one("#filter", Input).value == "web"


@pytest.mark.parametrize("page", ["1", "2", "3", "4"])
async def test_slash_on_every_page_of_a_container_searches_its_log(page: str) -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
        await pilot.press("enter", page)
        await until(pilot, lambda: app.screen.query("#log-search"))
        field = app.screen.query_one("#log-search", Input)
        assert await typed(pilot, field, list("/memgr")) == "memgr"
        assert "[2 logs]" in screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "'memgr': not found" in screen(pilot))
        assert len(app.screen_stack) == 2
        assert {verb for verb, _ in engine.asked} <= {Verb.LOGS}


async def test_slash_where_there_is_nothing_to_search_says_where_it_works() -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        packet(pilot.app, *"/q")  # type: ignore[arg-type]
        await until(pilot, lambda: "/ filters the list, and searches a container's log." in toasts(pilot))
        assert isinstance(pilot.app.screen, HelpScreen), "the q is text"


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
            return (
                True if callback == app._await_queues else real(callback, *more)
            )  # it says that it will, and never does

        monkeypatch.setattr(table, "call_later", promise)
        packet(app, "?", "v", "\x7f")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
