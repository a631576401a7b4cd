"""Parsers of streams: log frames, a terminal's raw log, and JSON lines.

Without a terminal every frame {stream, 0, 0, 0, big-endian length} is one message of the log: a line with its newline,
or a piece of a longer line, which Docker cuts after 16 KiB; each begins with a timestamp of its own. With a terminal
the same messages come without frames. Source: Docker Engine API, "Attach to a container", "Stream format".
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Final

from runtime.errors import EngineError
from runtime.model import LogLine
from runtime.oci.timestamps import parse_time_ns

MAX_PIECE_BYTES: Final = 16 * 1024  # moby daemon/logger/copier.go, defaultBufSize
_STREAMS: Final = {0: "stdout", 1: "stdout", 2: "stderr"}
_HEADER_BYTES: Final = 8
MAX_MESSAGE_BYTES: Final = 1 << 20  # bytes of one event or one message of a log


async def lines(chunks: AsyncIterator[bytes], *, tty: bool) -> AsyncIterator[LogLine]:
    """Log lines without timestamp and newline; a piece whose newline did not come (yet) is `partial`.

    Raises `EngineError` for one of more than `MAX_MESSAGE_BYTES` bytes.
    """
    messages = _raw(chunks) if tty else _frames(chunks)
    async for stream, message in messages:
        yield _line(stream, message, tty=tty)


async def split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines without their newlines; empty ones and one that was cut off by the end are dropped.

    Raises `EngineError` for one of more than `MAX_MESSAGE_BYTES` bytes.
    """
    buffer = bytearray()
    async for chunk in chunks:
        searched = len(buffer)
        buffer += chunk
        if buffer.find(b"\n", searched) < 0:
            _check_size(len(buffer))
            continue
        *whole, rest = bytes(buffer).split(b"\n")
        for line in whole:
            _check_size(len(line))
            if line.strip():
                yield line
        buffer = bytearray(rest)


def _check_size(size: int) -> None:
    """Raise `EngineError` for a message of so many bytes, which nobody sends who means well."""
    if size > MAX_MESSAGE_BYTES:
        detail = f"one line of its answer is longer than {MAX_MESSAGE_BYTES >> 20} MiB"
        raise EngineError("read what an engine sends", detail=detail)


async def _frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        start = 0
        while len(buffer) - start >= _HEADER_BYTES:
            kind, length = struct.unpack_from(">B3xI", buffer, start)
            _check_size(length)
            end = start + _HEADER_BYTES + length
            if len(buffer) < end:
                break
            yield _STREAMS.get(kind, "stdout"), bytes(buffer[start + _HEADER_BYTES : end])
            start = end
        del buffer[:start]


async def _raw(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while (length := _message_length(buffer)) is not None:
            yield "stdout", bytes(buffer[:length])
            del buffer[:length]
        _check_size(len(buffer))
    if buffer:
        yield "stdout", bytes(buffer)


def _message_length(buffer: bytearray) -> int | None:
    """Length in bytes of the first message of a terminal's log; None while it is incomplete."""
    text = buffer.find(b" ") + 1
    newline = buffer.find(b"\n", 0, text + MAX_PIECE_BYTES)
    if newline >= 0:
        return newline + 1
    return text + MAX_PIECE_BYTES if text and len(buffer) >= text + MAX_PIECE_BYTES else None


def _line(stream: str, message: bytes, *, tty: bool) -> LogLine:
    text = message.removesuffix(b"\n")
    partial = len(text) == len(message)
    if tty:
        text = text.removesuffix(b"\r")  # the terminal's own: it ends lines with both
    stamp, blank, rest = text.partition(b" ")
    moment = parse_time_ns(stamp.decode("ascii", "replace")) if blank else None
    return LogLine(stream, 0, text, partial) if moment is None else LogLine(stream, moment, rest, partial)
