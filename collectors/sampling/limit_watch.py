"""Which cgroup directories had a limit written, by anybody, since the last sweep: inotify(7) on the directories.

A write to a file of a cgroup gives IN_MODIFY, through whichever mount; counters that the kernel changes give none. The
queue is read when a sweep asks, so a limit that was written before a sweep is read in it. A directory that cannot be
watched, or whose files are written without end, counts as changed in every sweep.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Protocol

from runtime.kernel import inotify, syscalls

LIMIT_FILES: Final = frozenset(
    {
        *(b"cpu.max", b"memory.max", b"pids.max"),
        *(b"cpu.cfs_quota_us", b"cpu.cfs_period_us", b"memory.limit_in_bytes"),
        *(b"cpu.weight", b"cpu.weight.nice", b"cpu.shares", b"cpu.idle"),
        *(b"cpuset.cpus", b"cpuset.cpus.exclusive", b"cpuset.cpus.partition"),
        *(b"io.weight", b"io.bfq.weight", b"blkio.weight", b"blkio.bfq.weight"),
    }
)
MAX_EVENTS: Final = 256  # of one directory between two sweeps; one with more is no longer watched


class LimitEvents(Protocol):
    """What a sweep asks about limits that others write; all directories are as text, without a slash at the end."""

    def follow(self, directories: Collection[str]) -> None:
        """Tell of these directories from now on, and of no others."""

    def changed(self) -> Collection[str] | None:
        """Those in which a limit may have been written since the last call; None: in any of them."""

    def close(self) -> None: ...


class LimitWatch:
    """`LimitEvents` by one inotify instance; for one thread at a time."""

    def __init__(self) -> None:
        """Without an inotify instance (they are few) every directory counts as changed at each call."""
        self._watches: dict[str, int] = {}
        self._directories: dict[int, str] = {}
        self._unwatched: set[str] = set()  # there is no watch for it; tried again when what is followed changes
        self._restless: set[str] = set()  # its files are written without end
        try:
            self._fd = syscalls.inotify_init()
        except OSError:
            self._fd = -1

    def follow(self, directories: Collection[str]) -> None:
        wanted = set(directories)
        for directory in self._watches.keys() - wanted:
            self._end(directory)
        self._unwatched.clear()
        self._restless &= wanted
        for directory in wanted - self._watches.keys() - self._restless:
            try:
                watch = syscalls.inotify_add_watch(self._fd, os.fsencode(directory), inotify.WRITES)
            except OSError:  # no watches left (ENOSPC), or the directory is gone
                self._unwatched.add(directory)
            else:
                self._watches[directory] = watch
                self._directories[watch] = directory

    def changed(self) -> Collection[str] | None:
        counts: Counter[int] = Counter()
        overflow = False
        for watch, mask, name in inotify.queued_events(self._fd):
            overflow |= bool(mask & inotify.Q_OVERFLOW)
            directory = self._directories.get(watch)
            if directory is None:
                continue
            if mask & inotify.IGNORED:  # the directory was removed
                self._forget(directory)
                self._unwatched.add(directory)
            elif name in LIMIT_FILES:
                counts[watch] += 1
        written = {self._directories[watch] for watch in counts if watch in self._directories}
        for watch, count in counts.items():
            if count > MAX_EVENTS and watch in self._directories:
                self._restless.add(self._directories[watch])
                self._end(self._directories[watch])
        return None if overflow else written | self._unwatched | self._restless

    def close(self) -> None:
        """May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _end(self, directory: str) -> None:
        watch = self._watches[directory]
        self._forget(directory)
        with suppress(OSError):  # the directory was removed, and the watch with it
            syscalls.inotify_rm_watch(self._fd, watch)

    def _forget(self, directory: str) -> None:
        del self._directories[self._watches.pop(directory)]
