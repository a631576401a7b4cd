"""Docker's log stream: frames of {stream, 0, 0, 0, big-endian length} unless the container has a terminal."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Final

from runtime.docker.translate import time_ns
from runtime.model import LogLine

_STREAMS: Final = {0: "stdout", 1: "stdout", 2: "stderr"}
_HEADER: Final = 8


async def lines(chunks: AsyncIterator[bytes], *, tty: bool) -> AsyncIterator[LogLine]:
    """Lines with their timestamps taken off; whatever comes without a newline at the end is `partial`."""
    pending: dict[str, bytes] = {}
    async for stream, data in _frames(chunks, tty):
        text = pending.pop(stream, b"") + data
        *whole, rest = text.split(b"\n")
        for line in whole:
            yield _line(stream, line, partial=False)
        if rest:
            pending[stream] = rest
    for stream, rest in pending.items():
        yield _line(stream, rest, partial=True)


async def _frames(chunks: AsyncIterator[bytes], tty: bool) -> AsyncIterator[tuple[str, bytes]]:
    buffer = bytearray()
    async for chunk in chunks:
        if tty:
            yield "stdout", chunk
            continue
        buffer += chunk
        while len(buffer) >= _HEADER:
            kind, length = struct.unpack(">B3xI", buffer[:_HEADER])
            if len(buffer) < _HEADER + length:
                break
            yield _STREAMS.get(kind, "stdout"), bytes(buffer[_HEADER : _HEADER + length])
            del buffer[: _HEADER + length]


def _line(stream: str, line: bytes, *, partial: bool) -> LogLine:
    stamp, blank, rest = line.partition(b" ")
    moment = time_ns(stamp.decode("ascii", "replace")) if blank else None
    if moment is None:
        return LogLine(stream, 0, line.removesuffix(b"\r"), partial)
    return LogLine(stream, moment, rest.removesuffix(b"\r"), partial)
