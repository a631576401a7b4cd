"""What is done to containers from the list, how it is asked and told; settings, themes, keys, help and palette."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from runtime.errors import EngineError
from runtime.model import Capabilities, State, Verb
from tests.app.driving import (
    main,
    names,
    question,
    running,
    screen,
    selected,
    session_of,
    table,
    toasts,
    town_session,
    until,
)
from tests.app.fakes import container, usage
from tests.fake_engine import FakeEngine
from themes.loader import load_all
from tui.app.keymap import VOCABULARY
from tui.app.screens.help import HelpScreen
from tui.core.actions import ACTIONS
from tui.core.session import Session
from tui.core.settings import Settings, load

THEMES, _ = load_all()


def one(state: State = State.RUNNING, **options: object) -> tuple[Session, FakeEngine]:
    """A session with one container, "only"."""
    engine = FakeEngine([container("only", state=state)], capabilities=options.pop("capabilities", None))  # type: ignore[arg-type]
    script = lambda number, targets: {t.ref: usage() for t in targets}  # noqa: E731
    return session_of([engine], script, **options), engine


async def answer(pilot: Pilot[None], yes: bool) -> None:
    await question(pilot)
    await pilot.press("y" if yes else "escape")
    await pilot.pause()


@pytest.mark.parametrize(("id", "state", "verb"), [
    ("start", State.EXITED, Verb.START),
    ("pause", State.RUNNING, Verb.PAUSE),
    ("pause", State.PAUSED, Verb.UNPAUSE),
])  # fmt: skip
async def test_what_does_no_harm_is_done_at_once(id: str, state: State, verb: Verb) -> None:
    session, engine = one(state)
    async with running(session) as pilot:
        await pilot.press(ACTIONS[id].keys)
        await until(pilot, lambda: engine.asked == [(verb, "only")])
        await until(pilot, lambda: f"only: {(ACTIONS[id].done or {})[verb]}" in toasts(pilot))


@pytest.mark.parametrize("id", ["stop", "restart", "kill", "remove"])
async def test_what_destroys_is_asked_for_first(id: str) -> None:
    session, engine = one()
    async with running(session) as pilot:
        key = ACTIONS[id].keys.split(",")[0]
        await pilot.press(key)
        await answer(pilot, yes=False)
        assert engine.asked == []
        await pilot.press(key)
        await question(pilot)
        assert f"{ACTIONS[id].title} only?" in screen(pilot)
        await answer(pilot, yes=True)
        await until(pilot, lambda: engine.asked == [(Verb(id), "only")])


async def test_a_running_container_is_removed_by_force_and_leaves_the_list() -> None:
    session, engine = one()
    async with running(session) as pilot:
        await pilot.press("D")
        await answer(pilot, yes=True)
        await until(pilot, lambda: "There are no containers yet" in screen(pilot))
        assert engine.all == {}


async def test_what_the_engine_refuses_is_told_with_its_reason_and_a_hint() -> None:
    session, engine = one()
    engine.failures[Verb.PAUSE] = EngineError("pause only", detail="no freezer [here]", hint="Mount it")
    async with running(session) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "pause only: no freezer [here]\nMount it" in toasts(pilot))
        await until(pilot, lambda: "no freezer [here]" in screen(pilot))


async def test_what_cannot_be_done_now_says_why() -> None:
    session, engine = one(capabilities=Capabilities(verbs={Verb.PAUSE: "this kernel has no freezer"}))
    async with running(session) as pilot:
        await pilot.press("p", "s")
        await until(pilot, lambda: "this kernel has no freezer." in toasts(pilot))
        assert "Start: not now: it is running." in toasts(pilot)
        assert engine.asked == []
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        await until(pilot, lambda: "(not now: this kernel has no freezer)" in screen(pilot))


@pytest.mark.parametrize("key", ["s", "x", "r", "p", "K", "D", "l"])
async def test_read_only_changes_nothing_and_says_so(key: str) -> None:
    session, engine = one(read_only=True)
    async with running(session) as pilot:
        assert "READ-ONLY" in screen(pilot)
        await pilot.press(key)
        await until(pilot, lambda: "started with --read-only" in toasts(pilot))
        assert engine.asked == []
        assert pilot.app.screen is main(pilot)


async def test_a_container_that_vanishes_behind_its_question() -> None:
    session, engine = one()
    async with running(session) as pilot:
        await pilot.press("x")
        await question(pilot)
        engine.drop(next(iter(engine.all)))
        await until(pilot, lambda: not session.containers)
        await answer(pilot, yes=True)
        await until(pilot, lambda: "Stop: not now: it is gone." in toasts(pilot))
        assert engine.asked == []


async def test_the_question_keeps_to_its_container_when_the_order_changes() -> None:
    fleet = [container("a"), container("b")]
    busy = {"a": 1.5, "b": 0.5}
    engine = FakeEngine(fleet)
    session = session_of([engine], lambda number, targets: {c.ref: usage(busy[c.name]) for c in fleet})
    async with running(session) as pilot:
        assert selected(pilot) == "a"
        await pilot.press("x")
        await question(pilot)
        busy["a"] = 0.1
        await pilot.pause(0.2)
        await answer(pilot, yes=True)
        await until(pilot, lambda: engine.asked == [(Verb.STOP, "a")])


async def test_quitting_lets_a_change_end() -> None:
    session, engine = one()
    engine.delay = 0.3
    async with running(session) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: engine.asked)
        await pilot.press("q")
    assert next(iter(engine.all.values())).state is State.PAUSED
    assert engine.closed


async def test_the_keys_of_the_keymap_replace_ours() -> None:
    session, engine = one()
    async with running(session, chosen=Settings(keys={"pause": "f9", "limits": "f2"})) as pilot:
        assert "f2 limits" in screen(pilot)
        await pilot.press("p")
        await pilot.pause()
        assert engine.asked == []
        await pilot.press("f9")
        await until(pilot, lambda: engine.asked == [(Verb.PAUSE, "only")])


@pytest.fixture
def wrong_settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.toml").write_text('theme = "pink"\ninterval = -1\n')
    (tmp_path / "themes").mkdir()
    (tmp_path / "themes" / "mine.toml").write_text('name = "mine"')
    return load(tmp_path, VOCABULARY)


async def test_wrong_settings_are_told_and_do_not_stop_it(wrong_settings: Settings) -> None:
    session, _ = one()
    async with running(session, (120, 40), chosen=wrong_settings) as pilot:
        assert pilot.app.theme == "dark"
        for words in ("interval must be", "there is no theme 'pink'", "theme mine.toml: the section [base] is missing"):
            assert words in toasts(pilot)
        assert names(pilot) == ["only"]


async def test_the_theme_changes_by_a_key_and_rows_take_its_colours() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        seen = {}
        for _ in THEMES:
            await pilot.press("t")
            await pilot.pause(0.05)
            strips = pilot.app.screen._compositor.render_strips()
            line = next(strip for strip in strips if " hog " in strip.text)
            style = next(s.style for s in line if " hog " in s.text)
            assert style is not None
            assert style.color is not None
            seen[pilot.app.theme] = style.color
        assert set(seen) == set(THEMES)
        for name, theme in THEMES.items():
            if not theme.ansi:
                assert seen[name].triplet is not None
                assert seen[name].triplet.hex == theme.roles["throttled"]  # type: ignore[union-attr]


async def test_without_colours_the_cursor_is_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    session, _, _ = town_session()
    async with running(session) as pilot:
        strips = pilot.app.screen._compositor.render_strips()
        for strip in strips:
            for segment in strip:
                if segment.style is not None:
                    assert segment.style.color is None or segment.style.color.is_default
                    assert segment.style.bgcolor is None or segment.style.bgcolor.is_default
        cursor = next(s for strip in strips for s in strip if s.text.startswith("▌"))
        assert cursor.style is not None
        assert cursor.style.reverse


async def test_ascii_is_ascii_wherever_one_goes() -> None:
    fleet = [container("日本"), container("ok", state=State.EXITED)]
    engine = FakeEngine(fleet)
    session = session_of([engine], lambda number, targets: {c.ref: usage() for c in fleet})
    async with running(session, ascii_only=True) as pilot:
        for keys in (
            (),
            ("slash", "a", "escape"),
            ("question_mark",),
            ("escape", "ctrl+p"),
            ("escape", "x"),
            ("n", "t"),
        ):
            await pilot.press(*keys)
            await pilot.pause(0.1)
            assert screen(pilot).isascii(), screen(pilot)


async def test_the_palette_lists_everything_and_does_it() -> None:
    session, engine = one()
    async with running(session) as pilot:
        await pilot.press("ctrl+p", *"pause")
        await pilot.pause(0.3)
        assert "Pause or resume" in screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: engine.asked == [(Verb.PAUSE, "only")])


async def test_the_palette_says_what_cannot_be_done() -> None:
    session, _ = one()
    async with running(session) as pilot:
        await pilot.press("ctrl+p", *"start")
        await until(pilot, lambda: "Start (not now: it is running)" in screen(pilot))


async def test_the_help_explains_every_action_and_column() -> None:
    session, _ = one()
    async with running(session, (120, 120)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        text = screen(pilot)
        for action in ACTIONS.values():
            assert action.title in text
        assert "Periods cut short by its own CPU limit" in text
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.screen is main(pilot)


async def test_the_interval_steps() -> None:
    session, _ = one(interval=1.0)
    async with running(session) as pilot:
        await pilot.press("minus")
        assert session.interval == 2.0
        await pilot.press("plus", "plus", "plus")
        assert session.interval == 0.5
        await until(pilot, lambda: "every 0.5 s" in screen(pilot))


async def test_enter_opens_the_container_and_the_list_catches_up_afterwards() -> None:
    session, engine = one()
    async with running(session) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is not main(pilot))
        engine.put(container("second"))
        await until(pilot, lambda: len(session.containers) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: set(names(pilot)) == {"only", "second"})
        assert selected(pilot) == "only"
        assert table(pilot).has_focus


async def test_a_key_is_about_what_was_selected_when_it_was_pressed() -> None:
    fleet = [container("a"), container("b")]
    engine = FakeEngine(fleet)
    session = session_of([engine], lambda number, targets: {c.ref: usage() for c in fleet})
    async with running(session) as pilot:
        assert selected(pilot) == "a"
        pilot.app.action_change("pause")  # type: ignore[attr-defined]
        table(pilot).action_move("down")
        await until(pilot, lambda: engine.asked)
        assert engine.asked == [(Verb.PAUSE, "a")]
