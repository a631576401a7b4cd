"""The registry of actions, its keys, and the user's settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.model import State, Verb
from tests.app.fakes import container
from tui.app.app import PytopApp
from tui.app.keymap import (
    VOCABULARY,
    app_bindings,
    format_keys,
    list_bindings,
    log_bindings,
    move_bindings,
    page_bindings,
)
from tui.app.screens.detail import DetailScreen
from tui.app.screens.list import ListScreen
from tui.app.screens.panes.logs import Logs
from tui.app.widgets.table import ContainerTable
from tui.core.actions import ACTIONS, CONTAINER, question
from tui.core.keys import IDS, LOG, MOVES, PAGES
from tui.core.settings import Settings, home, load


def test_every_action_is_bound_by_its_id_and_can_be_called() -> None:
    bindings = [*app_bindings(), *list_bindings(), *move_bindings(), *page_bindings(), *log_bindings()]
    assert sorted(str(b.id) for b in bindings) == sorted(IDS)
    for binding in bindings:
        method = f"action_{binding.action.partition('(')[0]}"
        assert any(hasattr(owner, method) for owner in (PytopApp, ListScreen, ContainerTable, DetailScreen, Logs)), (
            method
        )


def test_no_key_is_given_twice() -> None:
    keys = [key for a in ACTIONS.values() for key in a.keys.split(",")]
    keys += [key for text, _ in MOVES.values() for key in text.split(",")]
    assert len(keys) == len(set(keys))
    inside = [key for entries in (PAGES, LOG) for entry in entries.values() for key in entry[0].split(",")]
    assert len(inside) == len(set(inside))


def test_what_destroys_is_asked_for() -> None:
    for id in ("stop", "restart", "kill", "remove"):
        assert ACTIONS[id].question is not None
    assert {id for id, a in ACTIONS.items() if a.question and a.question.danger} == {"kill", "remove"}
    assert all(a.question is None for a in ACTIONS.values() if not a.verbs)


def test_the_question_names_the_container_and_says_that_it_runs() -> None:
    running = question(ACTIONS["remove"], container("x"), "{weird}")
    stopped = question(ACTIONS["remove"], container("x", state=State.EXITED), "x")
    assert running is not None
    assert stopped is not None
    assert running.title == "Remove {weird}?"
    assert "running" in running.body
    assert "running" not in stopped.body


def test_every_verb_of_the_life_of_a_container_has_an_action() -> None:
    verbs = {verb for action in ACTIONS.values() for verb in action.verbs}
    assert verbs >= {Verb.START, Verb.STOP, Verb.RESTART, Verb.KILL, Verb.PAUSE, Verb.UNPAUSE, Verb.REMOVE, Verb.UPDATE}
    assert all(set(a.done or ()) <= set(a.verbs) for a in ACTIONS.values())
    assert all(a.group == CONTAINER for a in ACTIONS.values() if a.verbs)


def test_keys_are_written_for_people_in_ascii() -> None:
    assert format_keys("filter", {}) == ("/",)
    assert format_keys("faster", {}) == ("+", "=")
    assert format_keys("refresh", {}) == ("f5", "ctrl-r")
    assert format_keys("stop", {"stop": "f9"}) == ("f9",)
    assert all(key.isascii() for id in IDS for key in format_keys(id, {}))


def test_no_settings_are_the_defaults(tmp_path: Path) -> None:
    assert load(None, VOCABULARY) == Settings()
    assert load(tmp_path, VOCABULARY) == Settings(themes=tmp_path / "themes")


def test_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'theme = "light"\ninterval = 2\nuntouchable = ["db"]\n'
        'columns = ["name", "cpu", "trend"]\n[keys]\nstop = "f9"\nup = "w,up"\n'
    )
    found = load(tmp_path, VOCABULARY)
    assert (found.theme, found.interval, found.columns) == ("light", 2.0, ("name", "cpu", "trend"))
    assert found.keys == {"stop": "f9", "up": "w,up"}
    assert found.untouchable == ("db",)
    assert found.problems == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("theme = [", "is not TOML"),
        ("theme = 3", "theme must be a name"),
        ("interval = 0", "interval must be seconds from 0.1 to 60"),
        ("interval = true", "interval must be"),
        ('interval = "1"', "interval must be"),
        ("columns = []", "columns must be a list"),
        ('columns = ["cpu", "colour"]', "there is no column 'colour'"),
        ("columns = [3]", "there is no column 3"),
        ("colour = 1", "unknown entry 'colour'"),
        ("untouchable = 1", "untouchable must be a list"),
        ("untouchable = [1]", "untouchable must be a list"),
        ("keys = 1", "[keys] must be a table"),
        ('[keys]\nfly = "f"', "there is no action 'fly'"),
        ("[keys]\nstop = 3", "keys.stop must be a key"),
        ('[keys]\nstop = "a,,b"', "keys.stop must be a key"),
    ],
)
def test_a_wrong_setting_is_one_clear_line_and_the_default_holds(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    found = load(tmp_path, VOCABULARY)
    assert len(found.problems) == 1
    assert words in str(found.problems[0])
    assert "\n" not in str(found.problems[0])
    assert (found.theme, found.interval, dict(found.keys)) == (None, None, {})
    assert found.columns in ((), ("cpu",))


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    assert "config.toml: Is a directory" in str(load(tmp_path, VOCABULARY).problems[0])


def test_where_the_settings_are() -> None:
    assert home({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/pytop-containers")
    assert home({"HOME": "/h"}) == Path("/h/.config/pytop-containers")
    assert home({}) is None


def test_the_dashboard_starts_without_what_it_may_never_need() -> None:
    late = "('psutil', 'aiohttp', 'pyroute2', 'runtime.engines.embedded')"
    code = f"import sys, tui.app.app; print([m for m in {late} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
