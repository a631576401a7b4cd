"""The second page of a group: its containers, and what each of them uses now."""

from __future__ import annotations

from textual.app import ComposeResult

from tui.app.screens.panes.pane import Pane
from tui.app.widgets.page import Page
from tui.present import member_text


class Members(Pane):
    """A table that follows the sweeps; the list is where something is done to one of them."""

    _page: Page

    def compose(self) -> ComposeResult:
        """One page of text."""
        self._page = Page(wrap=False, id="members-page")
        yield self._page

    def awake(self) -> None:
        """Catch up."""
        self._page.focus()
        self.draw()

    def frame_changed(self) -> None:
        """New figures."""
        self.draw()

    def inventory_changed(self) -> None:
        """Somebody came or went."""
        self.draw()

    def on_resize(self) -> None:
        """More or less room for the names."""
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Every member on one line."""
        width = self._page.scrollable_content_region.width
        self._page.show(list(member_text.lines(self.session, self.ref, width, self.glyphs)))
