"""Several keys in one packet, as a slow SSH connection sends them, act in the order in which they were pressed."""

from __future__ import annotations

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from tests.pilot import limit_fakes
from tests.pilot.driving import running, town_session
from tests.pilot.test_limits import editor
from tui.app import PytopApp

KEYS = {"\x7f": "backspace", "<left>": "left", "<home>": "home", "<delete>": "delete"}


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
