"""A log viewer: follows, scrolls, wraps and searches, with bounded work per draw."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from runtime.model import LogLine
from tui.app import keymap
from tui.present.cells import cell_len
from tui.present.log_buffer import RUN, LogBuffer, LogEntry, pieces, readable

STDERR_SIGN = "!"
CLOCK_CELLS = 13  # of a time stamp
MIN_TEXT_CELLS = 8  # least width of a row's text


class LogView(ScrollView, can_focus=True):
    """Shows a `LogBuffer`. `add` is cheap; `catch_up` lays out the lines added since, a few times a second."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.scroll_bindings())
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--stdout", "log--stderr", "log--time", "log--found", "log--here"}

    class StateChanged(Message):
        """Following has begun or ended, or a match was found."""

    def __init__(self, *, id: str, lines: LogBuffer | None = None) -> None:
        super().__init__(id=id)
        self.buffer = lines or LogBuffer()
        self.following = True
        self.wrap = True
        self.stamps = False
        self.query_text = ""
        self.here: int | None = None  # the entry of the current match
        self._rows: list[tuple[int, int]] = []  # entry and part of it, by row
        self._laid = 0  # entries before this one are laid out
        self._widest = 0

    # input

    def add(self, line: LogLine) -> None:
        """Add a line; it is drawn at the next `catch_up`."""
        self._laid = min(self._laid, self.buffer.add(line))

    def restart(self) -> None:
        """Clear the view, for a log that starts again."""
        self.buffer.clear()
        self.here = None
        self._lay_out_all()

    def catch_up(self) -> None:
        """Lay out the added lines, and scroll to the end if following."""
        buffer = self.buffer
        if self._laid == buffer.end and (not self._rows or self._rows[0][0] >= buffer.first):
            return
        gone = 0
        while gone < len(self._rows) and self._rows[gone][0] < buffer.first:
            gone += 1
        del self._rows[:gone]
        while self._rows and self._rows[-1][0] >= self._laid:
            self._rows.pop()
        start = max(self._laid, buffer.first)
        for number, entry in enumerate(buffer.since(start), start):
            self._lay(number, entry)
        self._laid = buffer.end
        self._sized()
        if self.following:
            self._to(len(self._rows))
        elif gone:
            self._to(self.scroll_offset.y - gone)
        self.refresh()

    # layout

    @property
    def _text_cells(self) -> int:
        return max(MIN_TEXT_CELLS, self.scrollable_content_region.width - self._prefix)

    @property
    def _prefix(self) -> int:
        return 2 + (CLOCK_CELLS if self.stamps else 0)

    def _lay(self, number: int, entry: LogEntry) -> None:
        if self.wrap:
            count = len(_pieces(entry.data, entry.cut, self._text_cells))
        else:
            count = 1
            self._widest = max(self._widest, min(len(entry.data) * 4, cell_len(entry.text)))
        self._rows.extend((number, part) for part in range(count))

    def _sized(self) -> None:
        width = self.scrollable_content_region.width
        self.virtual_size = Size(width if self.wrap else max(width, self._widest + self._prefix), len(self._rows))

    def _lay_out_all(self) -> None:
        """Lay everything out again, with the same entry at the top."""
        top = self._rows[self.scroll_offset.y][0] if self.scroll_offset.y < len(self._rows) else None
        self._rows.clear()
        self._laid = self.buffer.first
        self._widest = 0
        for number, entry in enumerate(self.buffer.since(self.buffer.first), self.buffer.first):
            self._lay(number, entry)
        self._laid = self.buffer.end
        self._sized()
        if self.following:
            self._to(len(self._rows))
        elif top is not None:
            self._to(self._row(top))
        self.refresh()

    def _row(self, number: int) -> int:
        """The first row of an entry."""
        low, high = 0, len(self._rows)
        while low < high:
            middle = (low + high) // 2
            if self._rows[middle][0] < number:
                low = middle + 1
            else:
                high = middle
        return low

    def _to(self, y: int) -> None:
        self.scroll_to(y=y, animate=False, immediate=True, force=True)  # the scrollbar may not be mounted yet

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self._lay_out_all()

    # scrolling

    def follow(self, on: bool) -> None:
        """Follow the end, or stop following."""
        self.following = on
        if on:
            self._to(len(self._rows))
        self.post_message(self.StateChanged())

    def toggle_wrap(self) -> None:
        """Toggle wrapping of long lines."""
        self.wrap = not self.wrap
        self.styles.overflow_x = "hidden" if self.wrap else "auto"
        self.scroll_to(x=0, animate=False, immediate=True)
        self._lay_out_all()

    def toggle_stamps(self) -> None:
        """Toggle time stamps."""
        self.stamps = not self.stamps
        self._lay_out_all()

    def action_scroll_up(self) -> None:
        """One row up; this ends following."""
        self._by(-1)

    def action_scroll_down(self) -> None:
        """One row down; at the end following begins again."""
        self._by(1)

    def action_page_up(self) -> None:
        self._by(-max(1, self.size.height - 1))

    def action_page_down(self) -> None:
        self._by(max(1, self.size.height - 1))

    def action_scroll_home(self) -> None:
        self._by(-len(self._rows))

    def action_scroll_end(self) -> None:
        self.follow(True)

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._by(-3)

    def _on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._by(3)

    def _by(self, rows: int) -> None:
        end = max(0, len(self._rows) - self.scrollable_content_region.height)
        y = min(max(0, self.scroll_offset.y + rows), end)
        if end:
            self.following = y >= end
        self._to(y)
        self.post_message(self.StateChanged())

    # search

    def search(self, text: str) -> None:
        """Highlight every match, ignoring case, and go to the first in or below what is seen, else the last above."""
        self.query_text = text.casefold()
        top = self._rows[self.scroll_offset.y][0] if self.scroll_offset.y < len(self._rows) else self.buffer.end
        self.here = None
        self.refresh()
        if self.query_text:
            below = any(number >= top for number in self.found())
            self.here = top - 1 if below else top
            if not self.next_found(1 if below else -1):
                self.here = None
        self.post_message(self.StateChanged())

    def line_to_copy(self) -> str:
        """The line of the current match, else the last one that is seen; empty without any."""
        last = min(len(self._rows), self.scroll_offset.y + self.scrollable_content_region.height) - 1
        number = self.here if self.here is not None else self._rows[last][0] if last >= 0 else -1
        return self.buffer[number].text if self.buffer.first <= number < self.buffer.end else ""

    def next_found(self, step: int) -> bool:
        """Go to the next or previous match, wrapping around; whether there is one."""
        found = self.found()
        if not found:
            return False
        at = self.here if self.here is not None else self.buffer.end
        later = [number for number in found if number > at]
        earlier = [number for number in found if number < at]
        self.here = (later[0] if later else found[0]) if step > 0 else (earlier[-1] if earlier else found[-1])
        self.following = False
        self._to(max(0, self._row(self.here) - self.size.height // 3))
        self.refresh()
        self.post_message(self.StateChanged())
        return True

    def found(self) -> list[int]:
        """The numbers of the entries that contain the text."""
        if not self.query_text:
            return []
        buffer, text = self.buffer, self.query_text
        return [
            number
            for number, entry in enumerate(buffer.since(buffer.first), buffer.first)
            if text in readable(entry.data).casefold()
        ]

    # drawing

    def render_line(self, y: int) -> Strip:
        """One row of what is scrolled to."""
        width = self.scrollable_content_region.width
        row = y + self.scroll_offset.y
        if row >= len(self._rows) or self._rows[row][0] < self.buffer.first:
            return Strip.blank(width, self.rich_style)
        number, part = self._rows[row]
        strip = Strip(list(self._segments(number, self.buffer[number], part)))
        x = self.scroll_offset.x
        return strip.crop_extend(x, x + width, self.rich_style)

    def _segments(self, number: int, entry: LogEntry, part: int) -> Iterator[Segment]:
        err = entry.stream == "stderr"
        kind = "time" if entry.stream == RUN else "stderr" if err else "stdout"
        style = self.get_component_rich_style(f"log--{kind}")
        if part:
            yield Segment(" " * self._prefix)
        else:
            if self.stamps:
                yield Segment(_clock(entry.time_ns) + " ", self.get_component_rich_style("log--time"))
            yield Segment(f"{STDERR_SIGN} " if err else "  ", style)
        rows = _pieces(entry.data, entry.cut, self._text_cells) if self.wrap else [entry.text]
        text = rows[part] if part < len(rows) else ""
        if not self.query_text:
            yield Segment(text, style)
            return
        mark = self.get_component_rich_style("log--here" if number == self.here else "log--found")
        low, at = text.casefold(), 0
        if len(low) != len(text):  # case folding can change the length; then offsets would not match
            low = text.lower() if len(text.lower()) == len(text) else text
        while (next_at := low.find(self.query_text, at)) >= 0:
            yield Segment(text[at:next_at], style)
            at = next_at + len(self.query_text)
            yield Segment(text[next_at:at], mark)
        yield Segment(text[at:], style)


@lru_cache(1024)
def _pieces(data: bytes, cut: int, width: int) -> list[str]:
    return pieces(LogEntry("", 0, data, cut=cut).text, width)


def _clock(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest // 10**6:03d}"
