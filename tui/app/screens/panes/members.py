"""The members page of a group: its containers and their current usage."""

from __future__ import annotations

from textual.app import ComposeResult

from tui.app.screens.panes.pane import Pane
from tui.app.widgets.page import Page
from tui.present import member_text


class Members(Pane):
    """A read-only table that is updated with each frame."""

    _page: Page

    def compose(self) -> ComposeResult:
        """One page of text."""
        self._page = Page(wrap=False, id="members-page")
        yield self._page

    def activate(self) -> None:
        """Draw the current state."""
        self._page.focus()
        self.draw()

    def frame_changed(self) -> None:
        """Draw the new rates."""
        self.draw()

    def inventory_changed(self) -> None:
        """Draw the new members."""
        self.draw()

    def on_resize(self) -> None:
        """Draw for the new width."""
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Every member on one line."""
        width = self._page.scrollable_content_region.width
        self._page.show(list(member_text.lines(self.session, self.ref, width, self.glyphs)))
