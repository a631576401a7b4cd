"""Whether any task of the host has waited for memory or a block device: the totals of /proc/pressure.

The host's total grows whenever that of a cgroup does, so while it stands still, no container's has to be read. (It is a
mean over processors: a stall of some microseconds may show only with the next one, and is counted then.)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from collectors.sampling import parse
from collectors.sampling.layout import PSI_IO, PSI_MEMORY
from runtime.model import Missing

READ_BYTES = 512
_FILES: Final = ((PSI_MEMORY, "memory"), (PSI_IO, "io"))


class HostStallsReader:
    """Reads the two totals, and keeps them."""

    def __init__(self, proc: Path) -> None:
        self._paths = [(slot, f"{proc}/pressure/{name}") for slot, name in _FILES]
        self._last: dict[int, int] = {}

    def read(self) -> frozenset[int]:
        """The slots (`PSI_MEMORY`, `PSI_IO`) of which a total may have moved since the last call.

        Read it before the containers: what happens after that is found by the next call.
        """
        moved = set()
        for slot, path in self._paths:
            now = _total(path)
            if now is None or self._last.get(slot) != now:
                moved.add(slot)
            if now is not None:
                self._last[slot] = now
        return frozenset(moved)


def _total(path: str) -> int | None:
    """In ns; None where the kernel does not tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        some = parse.pressure(os.read(fd, READ_BYTES)).some_ns
    except OSError:
        return None
    finally:
        os.close(fd)
    return None if isinstance(some, Missing) else some
