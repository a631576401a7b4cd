"""Changes of directories by inotify(7), without polling."""

from __future__ import annotations

import asyncio
import os
import struct
from contextlib import suppress
from pathlib import Path

from runtime.kernel import syscalls

_IN_MODIFY, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
RECORDS = _IN_MOVED_TO | _IN_MOVED_FROM | _IN_DELETE
LOGS = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO | _IN_MOVED_FROM | _IN_DELETE
_EVENT = struct.Struct("=iIII")
_BUFFER_BYTES = 65536


class DirectoryWatch:
    """Yields the names of changed entries of directories to one reader. Create and use it on the event loop."""

    def __init__(self, directory: Path, mask: int, *more: tuple[Path, int]) -> None:
        """`more` are further directories, with the events of each.

        Raises `OSError` when one does not exist or the user has no inotify instance left.
        """
        self._fd = syscalls.inotify_init()
        try:
            for path, events in ((directory, mask), *more):
                syscalls.inotify_add_watch(self._fd, os.fsencode(path), events)
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
