"""What a terminal shows of a line in the end. The reference is `pyte`'s and xterm's behaviour, written out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.model import LogLine
from tui.present.log_buffer import MAX_LINE_BYTES, LogBuffer
from tui.present.terminal_line import MAX_COLUMNS, final_line


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("10%\r20%", "20%"),
        ("100 of 100\rdone", "doneof 100"),
        ("downloading\r\x1b[Kdone", "done"),
        ("downloading\x1b[2K\rdone", "done"),
        ("abcdef\x1b[3D\x1b[K", "abc"),
        ("abcdef\x1b[3D\x1b[J", "abc"),
        ("abcdef\x1b[1K\rX", "X"),
        ("abc\b\bX", "aXc"),
        ("a\x1b[4Cb", "a    b"),
        ("abcdef\x1b[2GX", "aXcdef"),
        ("abcdef\r\x1b[2P", "cdef"),
        ("abcdef\r\x1b[2X", "  cdef"),
        ("cd\r\x1b[2@ab", "abcd"),
        ("\x1b[?25l|\r/\r-\x1b[?25h", "-"),
        ("\x1b[1A\x1b[2Knext", "next"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;id=1;https://x/\x07text\x1b]8;;\x07", "text"),
        ("a\tb\rX", "X       b"),
        ("漢字\rX", "X 字"),
        ("漢字\r\x1b[1CX", " X字"),
        ("e\u0301\rX", "X"),
        ("👩\u200d💻 ok", "👩\u200d💻 ok"),
        ("\x1b[2J\x1b]0;title\x07", "\x1b[2J\x1b]0;title\x07"),
        ("plain", "plain"),
        ("\x1b\t\u0301", "\x1b       \u0301"),
        ("kept  ", "kept  "),
    ],
)
def test_what_is_seen_in_the_end(text: str, seen: str) -> None:
    """One function for the dashboard's log; `logs` writes bytes as they are, and the terminal itself does this. Looked
    for elsewhere: names and errors have one line each, `format.clean`, in which no control character means anything."""
    assert final_line(text) == seen


@given(st.text(alphabet=st.sampled_from("ab漢\u0301\u200d\r\b\t\x1b[]8;?0123456789ACDGKPXhlm@J\x07\\"), max_size=200))
def test_any_mixture_is_bounded(text: str) -> None:
    assert len(final_line(text)) <= MAX_COLUMNS * (1 + text.count("\x1b")) + 8 * len(text)


def test_a_line_that_overwrites_itself_for_hours_keeps_its_last_state() -> None:
    buffer = LogBuffer()
    for percent in range(5000):
        buffer.add(LogLine("stdout", 0, b"%d of 5000\r" % percent, True))
    buffer.add(LogLine("stdout", 0, b"5000 of 5000", False))
    assert [entry.text for entry in buffer.since(0)] == ["5000 of 5000"]
    assert buffer.size <= MAX_LINE_BYTES
