"""The logs page: the container's output as it is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from runtime.errors import PytopError
from runtime.model import LogLine, Ref, Verb
from tui.app import keymap
from tui.app.screens.panes.pane import Pane
from tui.app.services import services
from tui.app.widgets.lines import Lines
from tui.app.widgets.logview import LogView
from tui.core.session import Session
from tui.present import format as fmt
from tui.present.glyphs import Glyphs
from tui.present.log_buffer import MAX_LINES, RUN, begins_a_run
from tui.present.messages import Message, say

READ_BURST_S, YIELD_S = 0.008, 0.016  # reading, and yielding to the event loop, while the log has more lines
DRAW_INTERVAL_S = 0.1
MAX_LAG_S = 5.0  # behind the present, above which the log is read anew from its end


class Logs(Pane):
    """Follows the log from when it is first shown until the screen closes."""

    KEYS: ClassVar[Mapping[str, str]] = {
        "follow": "follow",
        "search": "search",
        "found_newer": "next",
        "wrap": "wrap",
        "times": "times",
    }
    BINDINGS: ClassVar[list[BindingType]] = list(keymap.log_bindings())

    def __init__(self, session: Session, ref: Ref, glyphs: Glyphs, *, ascii_only: bool, id: str) -> None:
        super().__init__(session, ref, glyphs, ascii_only=ascii_only, id=id)
        self.view = LogView(id="log")
        self._status = Lines(id="log-status")
        self._input = Input(id="log-search", placeholder=say(Message.SEARCH_HINT), compact=True)
        self._state = ""
        self._started_ns: int | None = None
        self._open = False
        self._skipped = 0
        self._following = asyncio.Event()
        self._following.set()

    def compose(self) -> ComposeResult:
        """The log, the search field, the status line."""
        yield self.view
        yield self._input
        yield self._status

    def on_mount(self) -> None:
        self.set_interval(DRAW_INTERVAL_S, self._draw)

    def activate(self) -> None:
        """Start following, once."""
        (self._input if self._input.display else self.view).focus()
        if not self._open and not self._state:
            self._begin()
        self._draw()

    def follow(self, ref: Ref) -> None:
        """Follow the log of the one that was made anew, if a log was followed."""
        super().follow(ref)
        if self._open or self._state:
            self._begin()

    def inventory_changed(self) -> None:
        """Follow again when the container was started again after its log had ended."""
        container = self.container
        if container is None or self._open or not self._state:
            return
        if container.state.live and container.started_ns != self._started_ns:
            self._begin()

    def _begin(self) -> None:
        refusal = self.session.why_not(self.ref, Verb.LOGS)
        if refusal is not None:
            self._state = refusal.detail
            return
        container = self.container
        self._started_ns = container.started_ns if container is not None else None
        self._open, self._state = True, say(Message.LOG_FOLLOWING)
        self.view.restart()
        self._read()

    @work(group="log", exclusive=True)
    async def _read(self) -> None:
        """Read lines as they are written, yielding to the event loop regularly."""
        try:
            while await self._stream():
                self._skipped += 1
                self.view.restart()
            self._state = say(Message.LOG_ENDED)
        except PytopError as error:
            self._state = fmt.clean(str(error))
        finally:
            self._open = False

    async def _stream(self) -> bool:
        """Read the log to its end; True when reading lags so far behind that it must start again at the end."""
        stream = self.session.logs(self.ref, follow=True, tail=MAX_LINES)
        count, begun, before_ns = 0, time.monotonic(), 0
        try:
            async for line in stream:
                self._add_border(before_ns, line)
                self.view.add(line)
                before_ns = line.time_ns
                count += 1
                if count % 64 == 0 and time.monotonic() - begun > READ_BURST_S:
                    if count > 2 * MAX_LINES and time.time() - line.time_ns / 1e9 > MAX_LAG_S:
                        return True
                    await asyncio.sleep(YIELD_S)
                    begun = time.monotonic()
                if self.view.buffer.full:
                    await self._following.wait()  # keep the position; the rest stays in the engine's log
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        return False

    def _add_border(self, before_ns: int, line: LogLine) -> None:
        """Draw a line between the output of the last run and that of the one before, as far as the engine knows it."""
        container = self.container
        started_ns = container.started_ns if container is not None else None
        if started_ns is not None and begins_a_run(before_ns, started_ns, line):
            clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started_ns / 1e9))
            self.view.add(LogLine(RUN, started_ns, say(Message.LOG_RUN, time=clock).encode()))

    def _draw(self) -> None:
        if not self.display:
            return
        view = self.view
        view.catch_up()
        held = not view.following and self._state == say(Message.LOG_FOLLOWING)
        parts = [say(Message.LOG_HELD) if held else self._state]
        counted = Message.LOG_LINES_DROPPED if view.buffer.first else Message.LOG_LINES
        parts.append(say(counted, count=len(view.buffer), dropped=view.buffer.first))
        if self._skipped:
            parts.append(say(Message.LOG_SKIPPED))
        if view.query_text:
            parts.append(self._found())
        parts.append(say(Message.LOG_STDERR))
        self._status.show([fmt.fit(f" {self.glyphs.dot} ".join(parts), self.size.width - 2, more=self.glyphs.more)])

    def _found(self) -> str:
        here, text = self.view.here, self.view.query_text
        return say(Message.NOT_FOUND, text=text) if here is None else say(Message.FOUND_AT, text=text, line=here + 1)

    @on(LogView.StateChanged)
    def _moved(self, event: LogView.StateChanged) -> None:
        event.stop()
        (self._following.set if self.view.following else self._following.clear)()
        self._draw()

    def action_follow(self) -> None:
        """Scroll to the end and follow."""
        self.view.follow(True)

    def action_wrap(self) -> None:
        self.view.toggle_wrap()

    def action_stamps(self) -> None:
        self.view.toggle_stamps()

    def action_copy_line(self) -> None:
        """Copy the line of the match, or the last one that is seen."""
        line = self.view.line_to_copy()
        if line:
            services(self).copy(line)

    def search(self) -> None:
        """Open the search field."""
        self._input.display = True
        self._input.focus()

    def action_next(self, step: int) -> None:
        """Go to the next match below or above, as n and N do in less and vi."""
        self.view.next_found(step)

    @on(Input.Submitted, "#log-search")
    def _search(self, event: Input.Submitted) -> None:
        event.stop()
        self.view.search(event.value)
        self.leave_search()

    def leave_search(self) -> bool:
        """Close the search field; whether it was open."""
        was = bool(self._input.display)
        self._input.display = False
        if was:
            self.view.focus()
        return was
