"""The log stream in every cut that a network can make of it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.daemon import streams
from runtime.errors import EngineError
from runtime.model import LogLine

STAMP = b"2026-11-21T03:14:07.123456789Z"
NS = 1795230847123456789


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">B3xI", kind, len(data)) + data


async def lines(data: bytes, *, tty: bool = False, size: int = 7) -> list[LogLine]:
    return [line async for line in streams.lines(cut(data, size), tty=tty)]


@pytest.mark.parametrize("size", [1, 3, 8, 4096])
async def test_both_streams(size: int) -> None:
    data = frame(1, STAMP + b" out\n") + frame(2, STAMP + b" err\n") + frame(1, STAMP + b" \n")
    assert await lines(data, size=size) == [
        LogLine("stdout", NS, b"out"),
        LogLine("stderr", NS, b"err"),
        LogLine("stdout", NS, b""),
    ]


async def test_bytes_stay_as_they_are() -> None:
    odd = b"\xff\x00\x1b[31m \r mid\r"
    assert await lines(frame(1, STAMP + b" " + odd + b"\n")) == [LogLine("stdout", NS, odd)]


async def test_a_line_without_its_end_is_partial() -> None:
    data = frame(1, STAMP + b" prompt> ") + frame(1, STAMP + b" next\n")
    assert await lines(data) == [LogLine("stdout", NS, b"prompt> ", True), LogLine("stdout", NS, b"next")]


@pytest.mark.parametrize("tty", [False, True])
async def test_a_long_line_comes_in_pieces_without_stamps_inside(tty: bool) -> None:
    text = bytes(range(33, 127)) * 430  # 40,420 bytes
    messages = [
        STAMP
        + b" "
        + text[start : start + streams.MAX_PIECE_BYTES]
        + (b"\n" if start + streams.MAX_PIECE_BYTES >= len(text) else b"")
        for start in range(0, len(text), streams.MAX_PIECE_BYTES)
    ]
    data = b"".join(message if tty else frame(1, message) for message in messages)
    found = await lines(data, tty=tty, size=1000)
    assert b"".join(line.data for line in found) == text
    assert [line.partial for line in found] == [True, True, False]
    assert {line.time_ns for line in found} == {NS}


async def test_a_terminal_ends_lines_with_a_carriage_return_too() -> None:
    data = STAMP + b" one\r\n" + STAMP + b" two\r\n" + STAMP + b" $ "
    assert await lines(data, tty=True) == [
        LogLine("stdout", NS, b"one"),
        LogLine("stdout", NS, b"two"),
        LogLine("stdout", NS, b"$ ", True),
    ]


async def test_a_line_without_a_stamp_is_kept_whole() -> None:
    assert await lines(frame(1, b"not a time at all\n")) == [LogLine("stdout", 0, b"not a time at all")]


async def test_a_frame_that_was_cut_off_is_dropped() -> None:
    assert await lines(frame(1, STAMP + b" one\n") + frame(1, STAMP + b" two\n")[:-3]) == [
        LogLine("stdout", NS, b"one")
    ]


@given(st.binary(max_size=200), st.integers(1, 50), st.booleans())
async def test_no_bytes_break_it(data: bytes, size: int, tty: bool) -> None:
    """Of frames only one that claims to be above the bound may raise, and that one must."""
    oversized = not tty and has_oversized_frame(data)
    with pytest.raises(EngineError, match="longer than 1 MiB") if oversized else contextlib.nullcontext():
        await lines(data, tty=tty, size=size)


def has_oversized_frame(data: bytes) -> bool:
    while len(data) >= 8:
        length = int.from_bytes(data[4:8], "big")
        if length > streams.MAX_MESSAGE_BYTES:
            return True
        data = data[8 + length :]
    return False


@pytest.mark.parametrize(("excess", "refused"), [(0, False), (1, True)])
async def test_a_frame_has_a_bound(excess: int, refused: bool) -> None:
    text = b"x" * (streams.MAX_MESSAGE_BYTES - len(STAMP) - 2 + excess)
    data = frame(1, STAMP + b" " + text + b"\n")
    with pytest.raises(EngineError) if refused else contextlib.nullcontext():
        assert len((await lines(data, size=1 << 16))[0].data) == len(text)


async def test_what_a_terminal_sends_without_a_blank_and_a_newline_has_a_bound() -> None:
    with pytest.raises(EngineError, match="longer than 1 MiB"):
        await lines(b"x" * (3 << 20), tty=True, size=1 << 16)


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_a_line_of_json_has_a_bound_with_its_newline_too(end: bytes) -> None:
    data = b"x" * (streams.MAX_MESSAGE_BYTES + 1) + end
    with pytest.raises(EngineError, match="longer than 1 MiB"):
        async for _ in streams.split(cut(data, len(data))):
            pass


@given(
    st.lists(st.binary(min_size=1, max_size=40).filter(lambda text: b"\n" not in text and text.strip())),
    st.integers(1, 50),
)
async def test_lines_of_any_length_are_put_together(texts: list[bytes], size: int) -> None:
    data = b"".join(text + b"\n" for text in texts) + b"cut o"
    assert [line async for line in streams.split(cut(data, size))] == texts
