"""The second page of a group: its containers, and what each of them uses now."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult

from runtime.model import Container
from tui.app.screens.panes.pane import Pane
from tui.app.widgets.page import Page, Paragraph
from tui.present import format as fmt
from tui.present.cells import cell_len
from tui.present.fields import FIELDS, arrange
from tui.present.table import DRIFTED

COLUMNS = ("state", "cpu", "cpu_limit", "memory", "memory_limit", "pids", "net_rx", "net_tx")
LEAST, MOST = 12, 60  # cells of the names


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
        self._page.show(list(self._lines(self._page.scrollable_content_region.width)))

    def _lines(self, width: int) -> Iterator[Paragraph]:
        group = self.session.group_of(self.ref)
        if group is None:
            yield "warn", "The group is gone."
            return
        chosen = [FIELDS[id] for id in COLUMNS]
        widths = [max(field.width + 1, len(field.title) + 1) for field in chosen]
        heads = "".join(f"{field.title:>{width}}" for field, width in zip(chosen[1:], widths[1:], strict=True))
        usages = self.session.frame.usages if self.session.frame is not None else {}
        members = [c for ref in group.members if (c := self.session.containers.get(ref)) is not None]
        names = {c.ref: self._called(c) for c in members}
        least = max(LEAST, *map(cell_len, names.values())) if names else LEAST
        room = max(LEAST, min(least, MOST, width - 1 - sum(widths)))
        yield "head", f"{'name':<{room}} {'state':<{widths[0]}}{heads}"
        for member in arrange(members, usages, FIELDS["cpu"], falling=True):
            values = [field.format(field.extract(member, usages.get(member.ref))) for field in chosen]
            cells = "".join(f"{value:>{width}}" for value, width in zip(values[1:], widths[1:], strict=True))
            name = fmt.fit(names[member.ref], room, more=self.glyphs.more)
            yield ("text" if member.state.live else "weak"), f"{name} {values[0]:<{widths[0]}}{cells}"

    def _called(self, member: Container) -> str:
        """As in the list, with the sign of a limit that somebody else has changed."""
        sign = DRIFTED if member.ref in self.session.drift else ""
        return sign + fmt.clean(member.name or member.ref.short)
