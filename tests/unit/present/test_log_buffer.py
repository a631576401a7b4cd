"""The bounded log: nothing in it can reach the terminal, and nothing makes it grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from runtime.model import LogLine
from tui.present.log_buffer import MAX_LINE_BYTES, LogBuffer, pieces, readable


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b[2J\x1b]0;title\x07", "\\e[2J\\e]0;title\\x07"),
        (b"\xff\xfe\x00", "\\xff\\xfe\\x00"),
        (b"10%\r20%\r\n", "20%"),
        (b"\x1b]8;;http://x/\x1b\\link\x1b]8;;\x07 after", "link after"),
        ("می\u200cخواهم 👩\u200d💻".encode(), "می\u200cخواهم 👩\u200d💻"),
        (b"a\tb", "a       b"),
        ("Grüße 漢字".encode(), "Grüße 漢字"),
        ("abc\u202edef\u200b".encode(), "abc\\u202edef\\u200b"),
        ("\u009b31m".encode(), "\\x9b31m"),
        (b"[bold]markup[/]", "[bold]markup[/]"),
    ],
)
def test_readable(data: bytes, text: str) -> None:
    assert readable(data) == text


@given(st.binary(max_size=200))
def test_no_bytes_whatever_give_a_control_character(data: bytes) -> None:
    assert readable(data).replace("\u200c", "").replace("\u200d", "").isprintable()


@given(st.text(max_size=100), st.integers(2, 40))
def test_pieces_lose_nothing_and_fit(text: str, width: int) -> None:
    clean = readable(text.encode("utf-8", "replace"))
    rows = pieces(clean, width)
    assert "".join(rows) == clean
    assert all(cell_len(row) <= width for row in rows)


def line(data: bytes, stream: str = "stdout", *, partial: bool = False) -> LogLine:
    return LogLine(stream, 1, data, partial)


def test_the_oldest_go_first_and_keep_their_numbers() -> None:
    buffer = LogBuffer(lines=3, size=1000)
    numbers = [buffer.add(line(b"%d" % n)) for n in range(5)]
    assert numbers == [0, 1, 2, 3, 4]
    assert (buffer.first, buffer.end, len(buffer)) == (2, 5, 3)
    assert [entry.text for entry in buffer.since(3)] == ["3", "4"]
    assert buffer[2].text == "2"


def test_bytes_are_bounded_too() -> None:
    buffer = LogBuffer(lines=1000, size=100)
    for _ in range(50):
        buffer.add(line(b"x" * 30))
    assert buffer.size <= 100
    assert len(buffer) == 3
    assert buffer.full


def test_a_line_of_any_length_is_kept_short() -> None:
    buffer = LogBuffer()
    for _ in range(100):
        buffer.add(line(b"y" * 1000, partial=True))
    assert len(buffer) == 1
    assert len(buffer[0].data) == MAX_LINE_BYTES
    assert buffer[0].text.endswith(f"({100_000 - MAX_LINE_BYTES} bytes more)")
    assert buffer.size == MAX_LINE_BYTES


def test_parts_of_a_line_come_together_by_stream() -> None:
    buffer = LogBuffer()
    assert buffer.add(line(b"one ", partial=True)) == 0
    assert buffer.add(line(b"warning", "stderr")) == 1
    assert buffer.add(line(b"two")) == 0
    assert buffer.add(line(b"three")) == 2
    assert [(entry.stream, entry.text) for entry in buffer.since(0)] == [
        ("stdout", "one two"),
        ("stderr", "warning"),
        ("stdout", "three"),
    ]


def test_the_rest_of_a_line_that_was_dropped_is_a_line_of_its_own() -> None:
    buffer = LogBuffer(lines=2)
    buffer.add(line(b"begin ", partial=True))
    for _ in range(3):
        buffer.add(line(b"x", "stderr"))
    number = buffer.add(line(b"end"))
    assert buffer[number].text == "end"


def test_clear_goes_on_counting() -> None:
    buffer = LogBuffer()
    buffer.add(line(b"a"))
    buffer.clear()
    assert (len(buffer), buffer.size, buffer.end) == (0, 0, 1)
    assert buffer.add(line(b"b")) == 1
