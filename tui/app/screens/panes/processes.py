"""The processes page, sorted by CPU usage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.timer import Timer

from runtime.errors import PytopError
from runtime.model import Ref
from tui.app.screens.panes.pane import Pane
from tui.app.widgets.lines import Lines
from tui.app.widgets.page import Page
from tui.present import format as fmt
from tui.present import process_text
from tui.present.messages import Message, say

INTERVAL_S = 2.0


class Processes(Pane):
    """Reads every two seconds while it is shown."""

    KEYS: ClassVar[Mapping[str, str]] = {"look_again": "look again"}
    _timer: Timer | None = None
    _page: Page
    _status: Lines

    def compose(self) -> ComposeResult:
        """Headings, rows, and their count."""
        self._page, self._status = Page(wrap=False, id="processes-page"), Lines(id="processes-status")
        yield Lines([process_text.HEADS], id="processes-heads")
        yield self._page
        yield self._status

    def activate(self) -> None:
        """Start reading."""
        self._before: Mapping[int, float] = {}
        self._at = 0.0
        self._page.focus()
        self._timer = self.set_interval(INTERVAL_S, self.reload)
        self.reload()

    def deactivate(self) -> None:
        """Stop reading."""
        if self._timer is not None:
            self._timer.stop()

    def follow(self, ref: Ref) -> None:
        """Read the one that was made anew."""
        super().follow(ref)
        if self.display:
            self.reload()

    def reload(self) -> None:
        """Read again; a read under way is cancelled."""
        self._load()

    @work(group="processes", exclusive=True)
    async def _load(self) -> None:
        """Read all processes in a thread."""
        try:
            found = await self.session.processes(self.ref)
        except PytopError as error:
            self._page.show([])
            self._status.show([fmt.clean(str(error))])
            return
        now = time.monotonic()
        cores = process_text.rates(self._before, found, now - self._at if self._at else 0.0)
        self._before, self._at = {process.pid: process.cpu_time_s for process in found}, now
        self._page.show(process_text.rows(found, cores))
        threads = sum(process.threads for process in found)
        self._status.show([say(Message.PROCESS_COUNT, count=len(found), threads=threads, seconds=INTERVAL_S)])
