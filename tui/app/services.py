"""The interface of the app that screens, panes and the palette use, so that they need not import the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from textual.app import App
from textual.message_pump import MessagePump

from tui.core.session import Session
from tui.present.glyphs import Glyphs


class AppServices(Protocol):
    """What the app offers to its screens."""

    session: Session
    glyphs: Glyphs
    ascii_only: bool
    last_input_s: float  # on the monotonic clock: the last key or click; -inf before the first

    @property
    def keymap(self) -> Mapping[str, str]:
        """The user's keys by action."""
        ...

    @property
    def guard_head(self) -> Sequence[str]:
        """What the head says about the guard; nothing while it is off."""
        ...

    @property
    def behind(self) -> bool:
        """The terminal has not read the last writes yet."""
        ...

    def copy(self, text: str) -> None:
        """Put text into the clipboard of the user's terminal, and say what."""
        ...

    def action_refresh(self) -> object:
        """List every engine's containers again now."""
        ...


def services(node: MessagePump | App[object]) -> AppServices:
    """The services of the app that a screen or a widget belongs to."""
    return cast("AppServices", node.app)
