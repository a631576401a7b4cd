"""Keys that are not actions on a container: cursor movement, the pages of the container screen, the log.

The titles are texts by id, so a translation replaces these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tui.core.actions import ACTIONS

MOVES: Final[Mapping[str, tuple[str, str]]] = {  # keys, title
    "up": ("up,k", "Up"),
    "down": ("down,j", "Down"),
    "page_up": ("pageup,ctrl+b", "A page up"),
    "page_down": ("pagedown,ctrl+f", "A page down"),
    "first": ("home,g", "To the first"),
    "last": ("end,G", "To the last"),
}
PAGES: Final[Mapping[str, tuple[str, str, str]]] = {  # keys, call, title; of the container screen
    "back": ("q,escape", "back", "Back to the list"),
    "page_1": ("1", "tab(0)", "Overview: graphs"),
    "page_2": ("2", "tab(1)", "Logs"),
    "page_3": ("3", "tab(2)", "Processes"),
    "page_4": ("4", "tab(3)", "Isolation: namespaces, rights, limits"),
    "page_next": ("right,tab", "turn(1)", "The next page"),
    "page_before": ("left,shift+tab", "turn(-1)", "The page before"),
    "look_again": ("f5,ctrl+r", "look_again", "Look again"),
    "search": ("slash", "search", "Search the log"),
}
LOG: Final[Mapping[str, tuple[str, str, str]]] = {  # keys, call, title; of the logs page
    "follow": ("f", "follow", "Follow the end of the log"),
    "found_newer": ("n", "next(1)", "To the next match, downwards"),
    "found_older": ("N", "next(-1)", "To the match before, upwards"),
    "wrap": ("w", "wrap", "Wrap long lines"),
    "times": ("T", "stamps", "Show when a line came"),
    "copy_line": ("y", "copy_line", "Copy a line: that of the match, else the last one seen"),
}
IDS: Final = frozenset({*ACTIONS, *MOVES, *PAGES, *LOG})
"""Every id to which the user's keymap can give other keys."""
