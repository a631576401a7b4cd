"""The help screen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from runtime.model import Ref
from tui.app.keymap import format_keys
from tui.core.session import Session
from tui.present import help_text
from tui.present.glyphs import Glyphs
from tui.present.messages import Message, say

MAX_PAGE_CELLS = 96  # the widest frame
FRAME_CELLS = 6  # border, padding and scrollbar


class HelpScreen(ModalScreen[None]):
    """One scrolling page of text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "Close", show=False),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
    ]

    def __init__(self, session: Session, ref: Ref | None, keymap: Mapping[str, str], glyphs: Glyphs) -> None:
        super().__init__(id="help")
        self._lines = tuple(help_text.page(session, ref, partial(format_keys, keymap=keymap), glyphs))

    def compose(self) -> ComposeResult:
        """The text in a frame."""
        with VerticalScroll(id="help-page") as frame:
            frame.border_title = say(Message.HELP)
            frame.border_subtitle = say(Message.ESC_CLOSES)
            yield Static("", id="help-text", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the text to the new width."""
        width = min(event.size.width, MAX_PAGE_CELLS) - FRAME_CELLS
        self.query_one("#help-text", Static).update("\n".join(help_text.wrapped(self._lines, width)))

    def action_scroll(self, where: str) -> None:
        """One line up or down."""
        page = self.query_one(VerticalScroll)
        (page.scroll_down if where == "down" else page.scroll_up)(animate=False)
