"""From the registry of actions to Textual's bindings. Every binding has an id, so that a user's keymap can move it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from textual.binding import Binding
from textual.keys import format_key

from tui.core.actions import ACTIONS
from tui.core.keys import IDS, LOG, MOVES, PAGES
from tui.core.settings import Vocabulary
from tui.present.table import KNOWN

_NAMED = frozenset(
    {"up", "down", "left", "right", "enter", "space", "tab", "home", "end", "backspace"}
)  # their signs are not ASCII
VOCABULARY: Final = Vocabulary(columns=KNOWN, actions=IDS)
"""What the user's settings may name."""
_FIRST: Final = {
    **{id: action.keys for id, action in ACTIONS.items()},
    **{id: entry[0] for entries in (MOVES, PAGES, LOG) for id, entry in entries.items()},
}


def app_bindings() -> list[Binding]:
    """The bindings that hold on every screen: what is done to a container, and to the dashboard."""
    return [
        Binding(a.keys, a.call.removeprefix("app."), a.title, show=False, id=a.id)
        for a in ACTIONS.values()
        if a.call.startswith("app.")
    ]


def list_bindings() -> list[Binding]:
    """The bindings of the list's screen."""
    return [
        Binding(a.keys, a.call, a.title, show=False, id=a.id) for a in ACTIONS.values() if not a.call.startswith("app.")
    ]


def move_bindings() -> list[Binding]:
    """The bindings of the table: arrows as well as vi's keys."""
    return [Binding(keys, f"move('{id}')", title, show=False, id=id) for id, (keys, title) in MOVES.items()]


def scroll_bindings() -> list[Binding]:
    """The same keys as the table's, for text that scrolls."""
    calls = ("scroll_up", "scroll_down", "page_up", "page_down", "scroll_home", "scroll_end")
    return [
        Binding(keys, call, title, show=False, id=id)
        for (id, (keys, title)), call in zip(MOVES.items(), calls, strict=True)
    ]


def page_bindings() -> list[Binding]:
    """The bindings of the screen of one container."""
    return [Binding(keys, call, title, show=False, id=id) for id, (keys, call, title) in PAGES.items()]


def log_bindings() -> list[Binding]:
    """The bindings of its log."""
    return [Binding(keys, call, title, show=False, id=id) for id, (keys, call, title) in LOG.items()]


def shown(id: str, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action, a move or a page as people write them, after the user's keymap."""
    return tuple(_written(key) for key in bound(id, keymap))


def bound(id: str, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The same keys by Textual's names."""
    keys = keymap.get(id) or _FIRST[id]
    return tuple(key.strip() for key in keys.split(","))


def _written(key: str) -> str:
    if key.startswith(("ctrl+", "shift+")):
        return key.replace("+", "-", 1)
    words = {"pageup": "pgup", "pagedown": "pgdn", "escape": "esc", "delete": "del"}
    return words.get(key) or (key if key in _NAMED else format_key(key))
