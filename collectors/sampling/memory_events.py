"""Whether the kernel has killed for lack of memory, or swapped out, anywhere on the host: /proc/vmstat.

One read for all containers: while neither has happened, no container's count of kills and no unused swap has changed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

READ_BYTES = 16384  # the file has some 4,000

_KILLS, _SWAPPED_OUT = b"\noom_kill ", b"\npswpout "


class MemoryEvents(NamedTuple):
    """What has happened since the last look; true also where the kernel does not tell."""

    killed: bool
    swapped: bool


class MemoryEventsReader:
    """Reads the two counters, and keeps them."""

    def __init__(self, proc: Path) -> None:
        self._path = f"{proc}/vmstat"
        self._last: tuple[bytes, bytes] = (b"", b"")

    def read(self) -> MemoryEvents:
        """Look before the containers are read: what happens after that is found by the next look."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return MemoryEvents(killed=True, swapped=True)
        try:
            data = os.read(fd, READ_BYTES)
        finally:
            os.close(fd)
        now = _line(data, _KILLS), _line(data, _SWAPPED_OUT)
        last, self._last = self._last, now
        return MemoryEvents(*(not new or new != old for new, old in zip(now, last, strict=True)))


def _line(data: bytes, key: bytes) -> bytes:
    """A line from its key on; empty when there is none."""
    at = data.find(key)
    return data[at : data.find(b"\n", at + 1)] if at >= 0 else b""
