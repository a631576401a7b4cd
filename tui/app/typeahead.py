"""Typeahead: keys that were typed for another screen than the one that would get them are dropped.

The time of a key is that at which it was read from the terminal (`Message.time`, monotonic clock), not that at which it
is handled.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

from textual import events
from textual.app import App
from textual.screen import ModalScreen
from textual.widgets import Input

DIALOG_GRACE_S: Final = 0.3  # after a dialog was first drawn; keys typed before that were meant for the screen below
DEAD_KEY_QUIET_S: Final = 0.15  # most time between two keys of a typed word

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """A confirmation of a harmful action. It ignores keys that were typed before the user could read it."""

    listens_from_s: float = math.inf  # on the monotonic clock; keys from before are ignored

    def on_mount(self) -> None:
        """Wait for the first drawing."""
        self.call_after_refresh(self._drawn)

    def _drawn(self) -> None:
        self.listens_from_s = events.Event().time + DIALOG_GRACE_S


class Typeahead:
    """Checks each key before it is handled.

    A dead key has no binding on the screen where it is typed. A user who types `/nginx` where `/` is dead expects a
    filter field: printable keys and Enter that follow, each within DEAD_KEY_QUIET_S of the one before, are dropped.
    """

    def __init__(self) -> None:
        self._quiet_until_s = -math.inf

    def is_stray(self, key: events.Key, app: App[Any]) -> bool:
        """It was typed for another screen, and is to be dropped."""
        screen = app.screen
        if isinstance(screen, Dialog) and key.time < screen.listens_from_s:
            return True
        if isinstance(app.focused, Input) or key.time > self._quiet_until_s:
            return False
        stray = key.is_printable or key.key == "enter"
        if stray:
            self._quiet_until_s = key.time + DEAD_KEY_QUIET_S
        return stray

    def is_dead(self, key: events.Key, app: App[Any]) -> bool:
        """It has no binding here and no field has the focus; keys that follow at once are then dropped."""
        if isinstance(app.focused, Input) or key.key in app.screen.active_bindings:
            return False
        self._quiet_until_s = key.time + DEAD_KEY_QUIET_S
        return True
