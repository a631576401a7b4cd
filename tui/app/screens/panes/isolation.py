"""The isolation page: namespaces, rights, and every limit as the kernel holds it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from textual import work
from textual.app import ComposeResult

from runtime.errors import PytopError
from runtime.model import Ref
from tui.app.screens.panes.pane import Pane
from tui.app.widgets.page import Page
from tui.present import format as fmt
from tui.present import isolation_text
from tui.present.limit_form import why_not_held


class IsolationPane(Pane):
    """Reads when it is shown, and on request."""

    KEYS: ClassVar[Mapping[str, str]] = {"look_again": "look again"}
    _page: Page

    def compose(self) -> ComposeResult:
        """One page of text."""
        self._page = Page(wrap=True, id="isolation-page")
        yield self._page

    def activate(self) -> None:
        """Read once."""
        self._page.focus()
        self.reload()

    def follow(self, ref: Ref) -> None:
        """Read the one that was made anew."""
        super().follow(ref)
        if self.display:
            self.reload()

    def reload(self) -> None:
        """Read again; a read under way is cancelled."""
        self._load()

    @work(group="isolation", exclusive=True)
    async def _load(self) -> None:
        """Read everything, in threads."""
        try:
            found = await self.session.isolation(self.ref)
            limits = await self.session.limits(self.ref)
            recorded = await self.session.recorded(self.ref)
            raw = await self.session.raw_limits(self.ref)
        except PytopError as error:
            self._page.show([("warn", fmt.clean(str(error)))])
        else:
            engine = self.session.capabilities.get(self.ref.engine)
            why_not = partial(why_not_held, limits=limits, subject=self.subject, engine=engine)
            self._page.show(list(isolation_text.describe(found, limits, raw, recorded, why_not)))
