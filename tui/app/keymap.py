"""Textual bindings made from the registries of actions and keys. Each has an id, which a user's keymap refers to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from textual.binding import Binding
from textual.keys import format_key

from tui.core.actions import ACTIONS
from tui.core.keys import IDS, LOG, MOVES, PAGES
from tui.core.settings import Vocabulary
from tui.present.table import COLUMN_IDS

_NAMED = frozenset(
    {"up", "down", "left", "right", "enter", "space", "tab", "home", "end", "backspace"}
)  # named, because Textual shows them as arrows
VOCABULARY: Final = Vocabulary(columns=COLUMN_IDS, actions=IDS)
"""The ids that the user's settings may contain."""
_DEFAULT_KEYS: Final = {
    **{id: action.keys for id, action in ACTIONS.items()},
    **{id: entry[0] for entries in (MOVES, PAGES, LOG) for id, entry in entries.items()},
}


def app_bindings() -> list[Binding]:
    """Bindings of every screen: actions on a container and on the dashboard."""
    return [
        Binding(a.keys, a.call.removeprefix("app."), a.title, show=False, id=a.id)
        for a in ACTIONS.values()
        if a.call.startswith("app.")
    ]


def list_bindings() -> list[Binding]:
    """Bindings of the list screen."""
    return [
        Binding(a.keys, a.call, a.title, show=False, id=a.id) for a in ACTIONS.values() if not a.call.startswith("app.")
    ]


def move_bindings() -> list[Binding]:
    """Bindings of the table: arrow keys and those of vi."""
    return [Binding(keys, f"move('{id}')", title, show=False, id=id) for id, (keys, title) in MOVES.items()]


def scroll_bindings() -> list[Binding]:
    """The table's keys, for scrolling text."""
    calls = ("scroll_up", "scroll_down", "page_up", "page_down", "scroll_home", "scroll_end")
    return [
        Binding(keys, call, title, show=False, id=id)
        for (id, (keys, title)), call in zip(MOVES.items(), calls, strict=True)
    ]


def page_bindings() -> list[Binding]:
    """Bindings of the screen of one container."""
    return [Binding(keys, call, title, show=False, id=id) for id, (keys, call, title) in PAGES.items()]


def log_bindings() -> list[Binding]:
    """Bindings of the logs page."""
    return [Binding(keys, call, title, show=False, id=id) for id, (keys, call, title) in LOG.items()]


def format_keys(id: str, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action, a move or a page as written in the help ("ctrl-r", "pgup"), after the user's keymap."""
    return tuple(_format_key(key) for key in bound(id, keymap))


def bound(id: str, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action by Textual's names, after the user's keymap."""
    keys = keymap.get(id) or _DEFAULT_KEYS[id]
    return tuple(key.strip() for key in keys.split(","))


def _format_key(key: str) -> str:
    if key.startswith(("ctrl+", "shift+")):
        return key.replace("+", "-", 1)
    words = {"pageup": "pgup", "pagedown": "pgdn", "escape": "esc", "delete": "del"}
    return words.get(key) or (key if key in _NAMED else format_key(key))
