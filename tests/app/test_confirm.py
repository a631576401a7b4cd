"""The question before something that destroys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Static

from runtime.model import Verb
from tests.app import limit_fakes
from tests.app.driving import question, screen, until
from tests.fake_engine import FakeEngine
from tui.app.screens.confirm import ConfirmScreen
from tui.app.typeahead import DIALOG_GRACE_S, Dialog


@asynccontextmanager
async def asked(danger: bool) -> AsyncIterator[tuple[Pilot[None], list[bool | None]]]:
    """A question, and the answers that it has got."""
    app, _ = limit_fakes.app()
    answers: list[bool | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(ConfirmScreen("Kill [b]?", "All its processes end.", "Kill", danger), answers.append)
        await question(pilot)
        yield pilot, answers


def key(name: str, time_s: float) -> events.Key:
    """A key that was read from the terminal at this time."""
    event = events.Key(name, name if len(name) == 1 else None)
    event.time = time_s
    return event


@pytest.mark.parametrize("danger", [True, False])
@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["y"], True),
        (["enter"], False),
        (["space"], False),
        (["n"], False),
        (["q"], False),
        (["escape"], False),
        (["x"], False),
        (["Y"], False),
        (["slash"], False),
        (["ctrl+c"], False),
        (["tab", "enter"], False),
        (["right", "enter"], False),
        (["left", "enter"], False),
    ],
)
async def test_only_y_says_yes_and_every_other_key_closes_it(danger: bool, keys: list[str], answer: bool) -> None:
    async with asked(danger) as (pilot, answers):
        assert str(pilot.app.screen.query_one("#confirm-title", Static).render()) == "Kill [b]?"
        await pilot.press(*keys)
        await until(pilot, lambda: answers)
        assert answers == [answer]
        assert not isinstance(pilot.app.screen, ConfirmScreen)


async def test_where_nothing_is_lost_the_key_that_opened_it_confirms_too() -> None:
    app, _ = limit_fakes.app()
    answers: list[bool | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        for pressed, answer in (("m", True), ("y", True), ("M", False), ("enter", False)):
            app.push_screen(ConfirmScreen("Contain?", "It waits.", "Do it", False, again=["m"]), answers.append)
            await question(pilot)
            assert "y or m: do it" in screen(pilot)
            await pilot.press(pressed)
            await until(pilot, lambda answer=answer: answers[-1:] == [answer])


async def test_the_key_that_opened_it_held_down_confirms_once() -> None:
    app, _ = limit_fakes.app()
    answers: list[bool | None] = []
    reached: list[str] = []
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        app.push_screen(ConfirmScreen("Contain?", "It waits.", "Do it", False, again=["m"]), answers.append)
        dialog = await question(pilot)
        app.action_climb = lambda: reached.append("m")  # type: ignore[method-assign]
        for number in range(20):
            app.post_message(key("m", dialog.listens_from_s + 0.01 + number * 0.03))
        await until(pilot, lambda: answers == [True])
        await pilot.pause(0.1)
        assert (answers, reached) == ([True], [])


async def test_it_says_which_key_does_what() -> None:
    async with asked(True) as (pilot, _):
        assert "y kill it · any other key: leave" in screen(pilot)


@pytest.mark.parametrize(("words", "answer"), [("#confirm-yes", True), ("#confirm-no", False)])
async def test_a_click_answers(words: str, answer: bool) -> None:
    async with asked(True) as (pilot, answers):
        await pilot.click(words)
        await until(pilot, lambda: answers)
        assert answers == [answer]


async def test_it_takes_no_key_that_was_typed_before_it_could_be_read() -> None:
    async with asked(False) as (pilot, answers):
        dialog = pilot.app.screen
        assert isinstance(dialog, Dialog)
        drawn_s = dialog.listens_from_s - DIALOG_GRACE_S
        for name, time_s in (("y", drawn_s - 1), ("escape", drawn_s), ("y", drawn_s + 0.29), ("enter", drawn_s + 0.29)):
            pilot.app.post_message(key(name, time_s))
        await pilot.pause(0.1)
        assert (answers, pilot.app.screen) == ([], dialog)
        pilot.app.post_message(key("y", drawn_s + 0.31))
        await until(pilot, lambda: answers == [True])


async def test_it_takes_no_key_before_it_is_drawn() -> None:
    app, _ = limit_fakes.app()
    answers: list[bool | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(ConfirmScreen("Stop?", "It ends.", "Stop", False), answers.append)
        await pilot.press("y")
        await question(pilot)
        assert answers == []


@pytest.mark.parametrize("letter", ["x", "r", "K", "D"])
@pytest.mark.parametrize("place", ["list", "page"])
async def test_the_keys_right_behind_a_verbs_never_destroy(letter: str, place: str) -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
        if place == "page":
            await pilot.press("enter")
            await until(pilot, lambda: len(app.screen_stack) == 2)
        for name in (letter, "enter", "y"):
            app.post_message(events.Key(name, name if len(name) == 1 else "\r"))
        await question(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, ConfirmScreen))
        assert verbs(engine) == set()


def verbs(engine: FakeEngine) -> set[Verb]:
    return {verb for verb, _ in engine.asked} - {Verb.LOGS}
