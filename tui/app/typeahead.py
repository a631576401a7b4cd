"""Typeahead: keys that were typed for something else than what would get them, and so do nothing.

A key counts as typed when it was read from the terminal (`Message.time`, of the monotonic clock), not when its turn
comes.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

from textual import events
from textual.app import App
from textual.screen import ModalScreen
from textual.widgets import Input

DIALOG_GRACE_S: Final = 0.3  # from the first drawing of a dialog; what is typed sooner was meant for the screen below
DEAD_KEY_QUIET_S: Final = 0.15  # between the keys of somebody who types a word

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """A question about something that does harm. It takes no key that was typed before it could be read."""

    listens_from_s: float = math.inf  # on the monotonic clock; until then it takes no key

    def on_mount(self) -> None:
        """Wait until it is drawn."""
        self.call_after_refresh(self._drawn)

    def _drawn(self) -> None:
        self.listens_from_s = events.Event().time + DIALOG_GRACE_S


class Typeahead:
    """Looks at each key when its turn comes.

    A dead key has no binding on the screen where it is typed. Whoever types `/nginx` where `/` is dead believes that he
    types into a filter: letters, digits, signs and Enter that follow, each within DEAD_KEY_QUIET_S of the one before,
    are no commands.
    """

    def __init__(self) -> None:
        self._quiet_until_s = -math.inf

    def is_stray(self, key: events.Key, app: App[Any]) -> bool:
        """It was typed for something else: nobody gets it."""
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
        """It has no binding here, and is not typed into a field; what follows it at once is no command."""
        if isinstance(app.focused, Input) or key.key in app.screen.active_bindings:
            return False
        self._quiet_until_s = key.time + DEAD_KEY_QUIET_S
        return True
