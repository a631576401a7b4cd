"""The question before something that destroys."""

from __future__ import annotations

import pytest
from textual.widgets import Static

from tests.pilot import limit_fakes
from tui.screens.confirm import ConfirmScreen


@pytest.mark.parametrize(
    ("danger", "keys", "answer"),
    [
        (True, ["enter"], False),
        (False, ["enter"], True),
        (True, ["y"], True),
        (True, ["n"], False),
        (True, ["escape"], False),
        (True, ["right", "enter"], True),
        (False, ["left", "enter"], False),
    ],
)
async def test_keys(danger: bool, keys: list[str], answer: bool) -> None:
    app, _ = limit_fakes.app()
    answers: list[bool | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(ConfirmScreen("Kill [b]?", "All its processes end.", "Kill", danger), answers.append)
        await pilot.pause()
        assert str(app.screen.query_one("#confirm-title", Static).render()) == "Kill [b]?"
        await pilot.press(*keys)
        await pilot.pause()
    assert answers == [answer]
