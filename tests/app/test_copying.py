"""`y` and `Y` copy to the clipboard of the user's terminal, and say what."""

from __future__ import annotations

import pytest

from tests.app.driving import question, running, screen, toasts, town_session, until
from tests.app.test_logview import opened


@pytest.fixture(autouse=True)
def outside_of_tmux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)


async def test_the_name_and_the_id_of_the_selected_one_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("y")
        assert pilot.app.clipboard == "database"
        await until(pilot, lambda: "Copied: database" in toasts(pilot))
        assert "tmux" not in toasts(pilot)
        await pilot.press("enter", "Y")
        ref = next(ref for ref, found in docker.all.items() if found.name == "database")
        await until(pilot, lambda: pilot.app.clipboard == ref.id)
        monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
        await pilot.press("y")
        await until(pilot, lambda: "set-clipboard on" in toasts(pilot))


async def test_the_terminal_is_told_by_osc_52(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        written: list[str] = []
        monkeypatch.setattr(pilot.app._driver, "write", written.append)
        await pilot.press("y")
        assert "\x1b]52;c;ZGF0YWJhc2U=\a" in written


async def test_in_a_question_y_still_confirms_and_copies_nothing() -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("x")
        await question(pilot)
        await pilot.press("y")
        await until(pilot, lambda: docker.asked)
        assert pilot.app.clipboard == ""


async def test_of_a_log_the_line_of_the_match_is_copied_or_the_last_one() -> None:
    async with opened() as (pilot, talker, _):
        talker.say(*(f"line {n}" for n in range(50)))
        await until(pilot, lambda: "line 49" in screen(pilot))
        await pilot.press("y")
        assert pilot.app.clipboard == "line 49"
        await pilot.press("slash", *"line 40", "enter", "y")
        await until(pilot, lambda: pilot.app.clipboard == "line 40")


async def test_the_help_has_the_keys_and_the_way_with_the_mouse() -> None:
    session, _, _ = town_session()
    async with running(session, size=(120, 60)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: "Copy the name" in screen(pilot))
        assert "drag with Shift held" in screen(pilot)
