"""Changes of directories by inotify(7), without polling."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runtime.kernel import syscalls

_IN_MODIFY, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
RECORDS = _IN_MOVED_TO | _IN_MOVED_FROM | _IN_DELETE
LOGS = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO | _IN_MOVED_FROM | _IN_DELETE
WRITES = _IN_MODIFY | 0x0100_0000  # to the files of a directory, and of nothing else (IN_ONLYDIR)
Q_OVERFLOW, IGNORED = 0x4000, 0x8000  # events were lost; a watch has ended
_EVENT = struct.Struct("=iIII")
_BUFFER_BYTES = 65536


class DirectoryWatch:
    """Yields the names of changed entries of one directory to one reader. Create and use it on the event loop."""

    def __init__(self, directory: Path, mask: int) -> None:
        """Raises `OSError` when the directory does not exist or the user has no inotify instance left."""
        self._fd = syscalls.inotify_init()
        try:
            syscalls.inotify_add_watch(self._fd, os.fsencode(directory), mask)
        except OSError:
            os.close(self._fd)
            raise
        self._names: set[str] = set()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    async def changed(self, timeout: float | None = None) -> set[str]:
        """The names that changed since the last call; waits for the first one, at most `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        self._changed.clear()
        names, self._names = self._names, set()
        return names

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._fd, _BUFFER_BYTES)
            offset = 0
            while offset < len(data):
                _, _, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                self._names.add(os.fsdecode(data[offset : offset + length].rstrip(b"\0")))
                offset += length
            self._changed.set()


def queued_events(fd: int) -> Iterator[tuple[int, int, bytes]]:
    """Watch, mask and name of every event that waits at an inotify instance; -1 is an instance without any."""
    while fd >= 0:
        try:
            data = os.read(fd, _BUFFER_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            yield watch, mask, data[offset : offset + length].rstrip(b"\0")
            offset += length
        if len(data) < _BUFFER_BYTES // 2:  # that was all: an event has 300 bytes at most
            return
