"""Parent directories of many cgroups, open for the time of one sweep: a file below is found with half of the path.

To open a file of a cgroup by its whole path costs as much as three reads, of which the path is a third.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Final

MIN_CHILDREN: Final = 16  # cgroups in use below a directory for which it is opened
NO_FD: Final = -1


class Parents:
    """The descriptors; `close_all` at the end of a sweep."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._worth: frozenset[str] = frozenset()

    def arrange(self, parents: Iterable[str]) -> None:
        """Say which parents there are, each once for every cgroup below it."""
        self._worth = frozenset(path for path, number in Counter(parents).items() if number >= MIN_CHILDREN)

    def descriptor(self, path: str) -> int:
        """Of a parent directory, or `NO_FD`: the whole path is to be used."""
        fd = self._open.get(path)
        if fd is not None:
            return fd
        fd = NO_FD
        if path in self._worth:
            try:
                fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                self._worth -= {path}
        self._open[path] = fd
        return fd

    def close_all(self) -> None:
        fds, self._open = self._open, {}
        for fd in fds.values():
            if fd >= 0:
                os.close(fd)
