"""The list as text, in the sizes that matter, and the colours of its rows in each theme."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion
from textual.widgets._toast import Toast

from tests.app.conftest import never_block, nothing_goes_wrong_unseen  # noqa: F401
from tests.app.containment_fakes import hurt_session
from tests.app.driving import question, running, screen, session_of, town_session, until
from tests.fake_engine import FakeEngine
from themes.loader import load_all

THEMES, _ = load_all()
FULL = 25  # sweeps after which every trend is as long as its column


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (40, 10)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
async def test_the_list(size: tuple[int, int], ascii_only: bool, snapshot: SnapshotAssertion) -> None:
    session, _, _ = town_session()
    async with running(session, size, ascii_only=ascii_only) as pilot:
        await until(pilot, lambda: session.frame is not None and session.frame.seq >= FULL)
        assert screen(pilot) == snapshot


@pytest.mark.parametrize("theme", THEMES)
async def test_the_colours_of_the_rows(theme: str, snapshot: SnapshotAssertion) -> None:
    session, docker, _ = town_session(read_only=True)
    async with running(session, theme=theme) as pilot:
        await pilot.press("j")
        docker.away = True
        await until(pilot, lambda: "? unknown" in screen(pilot))
        pilot.app.clear_notifications()
        await until(pilot, lambda: not pilot.app.screen.query(Toast))
        lines = []
        for strip in pilot.app.screen._compositor.render_strips():
            segment = max(strip, key=lambda s: len(s.text.strip()))
            if segment.text.strip() and segment.style is not None:
                lines.append(
                    f"{segment.text.strip()[:24]:<26}{segment.style.without_color or 'none'!s:<14}{segment.style}"
                )
        assert "\n".join(lines) == snapshot


@pytest.mark.parametrize("size", [(80, 24), (40, 10)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_an_empty_host(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with running(session_of([FakeEngine()], lambda number, targets: {}), size) as pilot:
        await until(pilot, lambda: "There are no containers yet" in screen(pilot))
        assert screen(pilot) == snapshot


async def test_an_engine_that_is_away(snapshot: SnapshotAssertion) -> None:
    session, docker, _ = town_session(read_only=True)
    async with running(session) as pilot:
        await until(pilot, lambda: session.frame is not None and session.frame.seq >= FULL)
        docker.away = True
        await until(pilot, lambda: "? unknown" in screen(pilot))
        pilot.app.clear_notifications()
        await until(pilot, lambda: not pilot.app.screen.query(Toast))
        assert screen(pilot) == snapshot


async def test_the_help(snapshot: SnapshotAssertion) -> None:
    session, _, _ = town_session()
    async with running(session, (100, 40)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert screen(pilot) == snapshot


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_who_hurts_whom(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    session, _ = hurt_session()
    async with running(session, size) as pilot:
        await until(pilot, lambda: session.frame is not None and session.frame.seq >= FULL)
        assert screen(pilot) == snapshot(name="list")
        await pilot.press("m")
        await question(pilot)
        assert screen(pilot) == snapshot(name="rung")
        await pilot.press("escape", "W")
        await until(pilot, lambda: "50% cpu" in screen(pilot))
        assert screen(pilot) == snapshot(name="matrix")
