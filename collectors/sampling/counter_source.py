"""The counter files of a cgroup: read through descriptors that stay open, or opened for each read.

This runs for every busy container in every sweep, so the loops are written out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import compress, count, repeat
from operator import ne
from typing import Any

from collectors.sampling.layout import ALL_PARTS, EMPTY_SLOTS, MEDIUM_BYTES, SMALL_BYTES, CounterFile
from collectors.sampling.parents import NO_FD, Parents

FLAGS = os.O_RDONLY | os.O_CLOEXEC


class CounterValues:
    """The parsed values of one cgroup's files.

    Attributes:
        slots: by the numbers in `collectors.sampling.layout`.
        dirty: the parts of the sample of which a value has changed.
    """

    __slots__ = ("dirty", "slots")

    def __init__(self) -> None:
        self.slots: list[Any] = list(EMPTY_SLOTS)
        self.dirty = ALL_PARTS


class CounterSource:
    """One file, and where its value goes.

    Attributes:
        file: its slot and parser.
        directory: the parent of its cgroup's directory, without a slash at the end; `name` is the path from there.
        parents: has the descriptor of `directory`, if there is one.
        fd: the descriptor that stays open, or `NO_FD`.
        size: bytes to ask for.
        last: what the last read gave; empty before the first.
    """

    __slots__ = ("directory", "fd", "file", "last", "name", "parents", "size", "values")

    def __init__(self, file: CounterFile, directory: str, parents: Parents, values: CounterValues) -> None:
        self.file = file
        self.directory, _, folder = directory.rpartition("/")
        self.name = f"{folder}/{file.name}"
        self.parents = parents
        self.values = values
        self.fd = NO_FD
        self.size = file.size
        self.last = b""

    def read(self) -> bool:
        """Read and parse it. Returns whether the value is another one.

        Raises `OSError`: ENODEV when the cgroup was removed, ENOENT when it was and the file is not kept open.
        """
        kept = self.fd
        fd = self._open() if kept < 0 else kept
        try:
            data = os.pread(fd, self.size, 0)
            if self.size > MEDIUM_BYTES or len(data) == self.size:
                data = self.whole(fd, data)
        finally:
            if kept < 0:
                os.close(fd)
        if data == self.last:
            return False
        self.last = data
        return self.parse(data)

    def parse(self, data: bytes) -> bool:
        """Parse its content. Returns whether the value is another one."""
        file, values = self.file, self.values
        value = file.parse(data)
        if value == values.slots[file.slot]:
            return False
        values.slots[file.slot] = value
        values.dirty |= file.part
        return True

    def open(self) -> None:
        """Keep the file open from now on."""
        self.fd = self._open()

    def _open(self) -> int:
        parent = self.parents.descriptor(self.directory)
        if parent == NO_FD:
            return os.open(f"{self.directory}/{self.name}", FLAGS)
        return os.open(self.name, FLAGS, dir_fd=parent)

    def whole(self, fd: int, data: bytes) -> bytes:
        """`data`, a read of `size` bytes, or all of the file where that was less.

        The next read asks for a quarter more than there is now: the buffer of a read has the size asked for.
        """
        size = self.size
        while len(data) == size:
            size *= 2
            data = os.pread(fd, size, 0)
        self.size = min(size, (len(data) * 5 // 4 // SMALL_BYTES + 1) * SMALL_BYTES)
        return data

    def close(self) -> None:
        fd, self.fd = self.fd, NO_FD
        if fd >= 0:
            os.close(fd)


class Batch:
    """Files that are all kept open, read by one call: one that did not change costs no more than its pread."""

    __slots__ = ("_fds", "_last", "_sizes", "sources")

    def __init__(self, sources: Sequence[CounterSource]) -> None:
        self.sources = sources
        self._fds = [source.fd for source in sources]
        self._sizes = [source.size for source in sources]
        self._last = [source.last for source in sources]

    def read(self) -> list[int]:
        """Read all. Returns which of the values are others. Raises `OSError` when a file cannot be read."""
        texts, last = list(map(os.pread, self._fds, self._sizes, repeat(0))), self._last
        if texts == last:
            return []
        changed = []
        for index in compress(count(), map(ne, texts, last)):
            source, data = self.sources[index], texts[index]
            if source.size > MEDIUM_BYTES or len(data) == source.size:
                texts[index] = data = source.whole(source.fd, data)
                self._sizes[index] = source.size
            source.last = data
            if source.parse(data):
                changed.append(index)
        self._last = texts
        return changed
