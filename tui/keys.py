"""From the registry of actions to Textual's bindings. Every binding has an id, so that a user's keymap can move it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from textual.binding import Binding
from textual.keys import format_key

from tui.actions import ACTIONS

MOVES: Final[Mapping[str, tuple[str, str]]] = {
    "up": ("up,k", "Up"),
    "down": ("down,j", "Down"),
    "page_up": ("pageup,ctrl+b", "A page up"),
    "page_down": ("pagedown,ctrl+f", "A page down"),
    "first": ("home,g", "To the first"),
    "last": ("end,G", "To the last"),
}
_NAMED = frozenset({"up", "down", "left", "right", "enter", "space", "tab", "home", "end"})  # their signs are not ASCII
IDS: Final = frozenset({*ACTIONS, *MOVES})


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


def shown(id: str, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action or a move as people write them, after the user's keymap."""
    keys = keymap.get(id) or (ACTIONS[id].keys if id in ACTIONS else MOVES[id][0])
    return tuple(_written(key.strip()) for key in keys.split(","))


def _written(key: str) -> str:
    if key.startswith("ctrl+"):
        return f"ctrl-{key.removeprefix('ctrl+')}"
    words = {"pageup": "pgup", "pagedown": "pgdn", "escape": "esc", "delete": "del"}
    return words.get(key) or (key if key in _NAMED else format_key(key))
