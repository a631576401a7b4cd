"""What screens and the palette use of the app, apart from its class: the app imports them, not they it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from textual.app import App
from textual.message_pump import MessagePump

from tui.core.session import Session
from tui.present.glyphs import Glyphs


class AppServices(Protocol):
    """The part of the app that is there for its screens."""

    session: Session
    glyphs: Glyphs
    ascii_only: bool

    @property
    def keymap(self) -> Mapping[str, str]:
        """The user's keys by action."""
        ...

    @property
    def behind(self) -> bool:
        """The terminal has not yet taken what was sent before."""
        ...

    def action_refresh(self) -> object:
        """Ask every engine for everything now."""
        ...


def services(node: MessagePump | App[object]) -> AppServices:
    """The services of the app in which a screen, a widget or a provider lives."""
    return cast("AppServices", node.app)
