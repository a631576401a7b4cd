"""How the graphs and the limit editor look, kept as text."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.app import limit_fakes
from tests.app.driving import screen, until
from tests.app.test_detail import detail, story
from tui.app.screens.limit_editor import LimitEditor


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time axis shows the local clock."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (40, 12)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_overview(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with detail(story(), size) as (pilot, _):
        graphs = screen(pilot).splitlines()[3:]  # the lines above have times in them
        assert "\n".join(graphs) == snapshot


async def test_overview_in_ascii(snapshot: SnapshotAssertion) -> None:
    async with detail(story(), ascii_only=True) as (pilot, _):
        text = "\n".join(screen(pilot).splitlines()[3:])
        assert text.isascii()
        assert text == snapshot


@pytest.mark.parametrize("size", [(80, 24), (40, 10)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_limit_editor(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    app, _ = limit_fakes.app()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
        await pilot.press("l", "0", ".", "2")
        await until(pilot, lambda: isinstance(app.screen, LimitEditor) and "throttled" in screen(pilot))
        inside = [line for line in screen(pilot).splitlines() if "\N{BOX DRAWINGS LIGHT VERTICAL}" in line]
        assert "\n".join(line.strip() for line in inside) == snapshot
