"""A ring buffer of log lines, bounded in lines and bytes, and escaping of log output for the terminal."""

from __future__ import annotations

import unicodedata
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final

from runtime.model import LogLine
from tui.present.cells import cell_len, chop_cells
from tui.present.terminal_line import final_line

MAX_LINES: Final = 10_000
MAX_BYTES: Final = 8 << 20
RUN: Final = "run"  # the stream of a line that says when a run of the program began
MAX_LINE_BYTES: Final = 16 << 10  # kept of one line
_NAMED = {"\r": "\\r", "\x1b": "\\e"}
_JOINERS = frozenset("\u200c\u200d")  # they shape words and emoji, and hide nothing
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(slots=True)
class LogEntry:
    """One line. `open` until its newline was read; `cut` counts bytes beyond `MAX_LINE_BYTES`, which are dropped."""

    stream: str
    time_ns: int
    data: bytes
    open: bool = False
    cut: int = 0

    @property
    def text(self) -> str:
        """The line, safe to draw."""
        return readable(self.data) + (f" ... ({self.cut} bytes more)" if self.cut else "")


class LogBuffer:
    """Numbered entries; the oldest are dropped when there are too many lines or bytes.

    Attributes:
        first: the number of the oldest entry, which is also the count of dropped ones.
        size: bytes held.
    """

    def __init__(self, lines: int = MAX_LINES, size: int = MAX_BYTES) -> None:
        self._lines, self._bytes = lines, size
        self._entries: deque[LogEntry] = deque()
        self._open: dict[str, tuple[int, LogEntry]] = {}
        self.first = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The number that the next entry will have."""
        return self.first + len(self._entries)

    @property
    def full(self) -> bool:
        """Further lines drop old ones, or will soon."""
        return len(self._entries) >= self._lines or self.size >= self._bytes * 0.9

    def __getitem__(self, number: int) -> LogEntry:
        return self._entries[number - self.first]

    def since(self, number: int) -> list[LogEntry]:
        """The entries from this number on that were not dropped."""
        back = min(self.end - number, len(self._entries))
        newest = list(islice(reversed(self._entries), back))
        newest.reverse()
        return newest

    def add(self, line: LogLine) -> int:
        """Add a line, or the rest of one; the number of its entry."""
        number, entry = self._open.pop(line.stream, (-1, None))
        if entry is None or number < self.first:
            number, entry = self.end, LogEntry(line.stream, line.time_ns, b"")
            self._entries.append(entry)
        before = len(entry.data)
        data = _newest_states(entry.data + line.data)
        entry.data, entry.cut = data[:MAX_LINE_BYTES], entry.cut + max(0, len(data) - MAX_LINE_BYTES)
        entry.open = line.partial
        self.size += len(entry.data) - before
        if line.partial:
            self._open[line.stream] = (number, entry)
        while len(self._entries) > self._lines or (self.size > self._bytes and len(self._entries) > 1):
            self.size -= len(self._entries.popleft().data)
            self.first += 1
        return number

    def clear(self) -> None:
        """Drop everything."""
        self.first = self.end
        self._entries.clear()
        self._open.clear()
        self.size = 0


def begins_a_run(before_ns: int, started_ns: int | None, line: LogLine) -> bool:
    """Whether the program was started between the line before, whose time is `before_ns` (0 for none), and this one."""
    return bool(started_ns and before_ns) and before_ns < (started_ns or 0) <= line.time_ns


def _newest_states(data: bytes) -> bytes:
    """Of a line that is too long because it overwrites itself again and again, what was written last."""
    if len(data) <= MAX_LINE_BYTES or b"\r" not in data[-MAX_LINE_BYTES:].rstrip(b"\r\n"):
        return data
    tail = data[-MAX_LINE_BYTES:]
    return tail[tail.index(b"\r") + 1 :]


def readable(data: bytes) -> str:
    r"""Bytes from a program as one line that cannot do anything to a terminal.

    Carriage returns, sequences that move the cursor within the line or erase, colours and links do what they do in a
    terminal. Every other control character, also those of Unicode that hide text or change its direction, is shown as
    an escape such as `\\e` or `\\x07`, and so is a byte that is not UTF-8.
    """
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    text = final_line(text.rstrip("\r\n"))
    return text if text.isprintable() else "".join(_escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    named = _NAMED.get(character)
    if named is not None:
        return named
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def pieces(text: str, width: int) -> list[str]:
    """The text in rows of at most so many cells; one empty row for an empty text."""
    if text.isascii():
        return [text[at : at + width] for at in range(0, len(text), width)] or [""]
    return chop_cells(text, width) if cell_len(text) > width else [text]
