"""Keys of a layout that is not Latin."""

from __future__ import annotations

import pytest

from tests.app.driving import main, names, question, running, screen, selected, toasts, town_session, until
from tui.app.screens.help import HelpScreen
from tui.app.screens.limit_editor import LimitEditor
from tui.core.keyboard_layout import is_foreign, latin_at


@pytest.mark.parametrize(
    ("character", "latin"), [("й", "q"), ("Й", "Q"), ("д", "l"), ("Ж", ":"), ("і", "s"), ("α", None), ("q", None)]
)
def test_the_place_on_a_latin_layout(character: str, latin: str | None) -> None:
    assert latin_at(character) == latin
    assert is_foreign(character) == (character != "q")


def test_accents_are_latin() -> None:
    assert not any(map(is_foreign, "éßøš1/?"))
    assert all(map(is_foreign, "αשعक字"))


async def test_cyrillic_letters_are_the_keys_at_their_place() -> None:
    """Moves, actions, dialogs and screens all get their keys from the one queue."""
    session, docker, _ = town_session()
    async with running(session) as pilot:
        before = selected(pilot)
        await pilot.press("о")
        assert selected(pilot) != before
        await pilot.press("л")
        assert selected(pilot) == before
        await pilot.press("ч")
        await question(pilot)
        await pilot.press("н")
        await until(pilot, lambda: docker.asked)
        await pilot.press("д")
        await until(pilot, lambda: isinstance(pilot.app.screen, LimitEditor))
        await pilot.press("escape")
        assert not toasts(pilot).count("Latin")
        await until(pilot, lambda: pilot.app.screen is main(pilot))
        await pilot.press("й")
        assert pilot.app._exit


async def test_what_is_typed_into_a_field_is_left_alone() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("slash", *"йод")
        await until(pilot, lambda: "'йод'" in screen(pilot))
        assert names(pilot) == []
        assert not pilot.app._exit


async def test_an_unknown_script_is_told_once_that_keys_are_latin() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("λ")
        await until(pilot, lambda: "Keys are Latin letters; 'λ' is none" in toasts(pilot))
        await pilot.press("π", "ω")
        await pilot.pause()
        assert toasts(pilot).count("Latin") == 1
        assert not isinstance(pilot.app.screen, HelpScreen)
