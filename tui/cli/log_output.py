"""Lines of a container's output on the standard streams."""

from __future__ import annotations

import os
import select
from collections.abc import AsyncGenerator, AsyncIterator

from runtime.kernel import threads
from runtime.model import LogLine
from tui.cli import output

_PIPE_BUF_BYTES = 4096  # a writable pipe takes this many without blocking


async def copy(lines: AsyncIterator[LogLine], *, timestamps: bool = False) -> None:
    """Write every line to the stream that it came from, byte for byte.

    A slow reader does not block the event loop. Raises `OSError` when the reader has gone.
    """
    begun = {"stdout": False, "stderr": False}
    try:
        async for line in lines:
            data = line.data if line.partial else line.data + b"\n"
            if timestamps and not begun[line.stream]:
                data = (output.when(line.time_ns) or "-").encode() + b" " + data
            begun[line.stream] = line.partial
            await _write(2 if line.stream == "stderr" else 1, data)
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


async def _write(fd: int, data: bytes) -> None:
    if len(data) <= _PIPE_BUF_BYTES and select.select([], [fd], [], 0)[1]:
        _write_all(fd, data)
    else:
        await threads.waiting(_write_all, fd, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
