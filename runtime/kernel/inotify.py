"""Changes of directories by inotify(7), without polling.

A user's instances are few (fs.inotify.max_user_instances, often 128), so everything that one event loop watches shares
one. A directory in which too much happens is left alone for a while: its watch is dropped, its watcher is told to look
by itself, and the watch is set up again later.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.kernel import syscalls

log = logging.getLogger(__name__)

_IN_MODIFY, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_IN_MASK_ADD, _IN_ONLYDIR = 0x20000000, 0x1000000
Q_OVERFLOW: Final = 0x4000  # events were lost
IGNORED: Final = 0x8000  # a watch has ended
RECORDS: Final = _IN_MOVED_TO | _IN_MOVED_FROM | _IN_DELETE
LOGS: Final = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO | _IN_MOVED_FROM | _IN_DELETE
WRITES: Final = _IN_MODIFY | _IN_ONLYDIR  # to the files of a directory, and of nothing else
ENTRIES: Final = _IN_CREATE | _IN_DELETE | _IN_MOVED_TO | _IN_MOVED_FROM
READ_PAUSE_S: Final = 0.02  # after each read while there are many, so that many events are one call
MAX_READS: Final = 20  # within `READS_WINDOW_S` without such pauses: what is told at once is not merged
READS_WINDOW_S: Final = 0.2
STORM_WINDOW_S: Final = 1.0  # in which a watch's events are counted
STORM_PAUSE_S: Final = 30.0  # for which a watch with too many events is dropped
_EVENT: Final = struct.Struct("=iIII")
_BUFFER_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Change:
    """What happened in a directory since the last call.

    Attributes:
        names: of the entries that changed.
        lost: events were lost, so anything may have changed.
    """

    names: frozenset[str]
    lost: bool = False


class Watch:
    """One watcher of one directory.

    Attributes:
        live: the directory is watched; otherwise it is gone, or has too many events for now.
        gone: the directory was removed.
    """

    __slots__ = ("_inotify", "descriptor", "directory", "gone", "live", "mask", "max_per_s", "notify")

    def __init__(
        self, inotify: Inotify, directory: Path, mask: int, notify: Callable[[Change], None], max_per_s: int | None
    ) -> None:
        self._inotify = inotify
        self.directory = directory
        self.mask = mask
        self.notify = notify
        self.max_per_s = max_per_s
        self.descriptor = -1
        self.live = True
        self.gone = False

    def close(self) -> None:
        """May be called twice."""
        self._inotify.forget(self)


@dataclass(slots=True)
class _Watched:
    """The watchers of one directory; `count` is of its events since `since`, in the loop's time."""

    watches: list[Watch] = field(default_factory=list)
    since: float = 0.0
    count: int = 0


class Inotify:
    """One instance, for watches on one event loop. It is opened with the first watch and closed with the last one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fd = -1
        self._window_s = 0.0  # when the present one began, in the loop's time
        self._reads = 0  # in it
        self._watched: dict[int, _Watched] = {}
        self._paused: dict[Watch, asyncio.TimerHandle] = {}

    @property
    def in_use(self) -> bool:
        """It has a watch."""
        return self._fd >= 0

    def watch(
        self, directory: Path, mask: int, notify: Callable[[Change], None], *, max_per_s: int | None = None
    ) -> Watch:
        """Call `notify` on the loop after changes; with more than `max_per_s` events a second the watch pauses.

        Raises `OSError` when there is no such directory, or no instance or watch is left for this user.
        """
        watch = Watch(self, directory, mask, notify, max_per_s)
        if not self.in_use:
            self._fd = syscalls.inotify_init()
            self._loop.add_reader(self._fd, self._read)
        try:
            self._add(watch)
        except OSError:
            self._close_if_unused()
            raise
        return watch

    def forget(self, watch: Watch) -> None:
        """End a watch; one that was ended before is no error."""
        watch.live = False
        timer = self._paused.pop(watch, None)
        if timer is not None:
            timer.cancel()
        watched = self._watched.get(watch.descriptor)
        if watched is not None and watch in watched.watches:
            watched.watches.remove(watch)
            if not watched.watches:
                self._drop(watch.descriptor)
        self._close_if_unused()

    def _add(self, watch: Watch) -> None:
        path = os.fsencode(watch.directory)
        watch.descriptor = syscalls.inotify_add_watch(self._fd, path, watch.mask | _IN_MASK_ADD)
        self._watched.setdefault(watch.descriptor, _Watched()).watches.append(watch)
        watch.live = True

    def _drop(self, descriptor: int) -> None:
        del self._watched[descriptor]
        with suppress(OSError):  # the directory was removed, and its watch with it
            syscalls.inotify_rm_watch(self._fd, descriptor)

    def _close_if_unused(self) -> None:
        if self._fd >= 0 and not self._watched and not self._paused:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            _instances.pop(self._loop, None)

    # events

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError as error:  # what has changed cannot be told: everybody looks for himself
            log.warning("inotify: %s", error)
            self._pause_reads()
            self._tell({}, {}, lost=True)
            return
        self._pause_reads()
        changed: dict[int, dict[str, int]] = {}
        counts: dict[int, int] = {}
        offset, lost = 0, False
        while offset < len(data):
            descriptor, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            if mask & Q_OVERFLOW:
                lost = True
            elif mask & IGNORED:
                self._gone(descriptor)
            else:
                names = changed.setdefault(descriptor, {})
                names[name] = names.get(name, 0) | mask
                counts[descriptor] = counts.get(descriptor, 0) + 1
        self._tell(changed, counts, lost=lost)

    def _pause_reads(self) -> None:
        now = self._loop.time()
        if now - self._window_s > READS_WINDOW_S:
            self._window_s, self._reads = now, 0
        self._reads += 1
        if self._reads > MAX_READS:
            self._loop.remove_reader(self._fd)
            self._loop.call_later(READ_PAUSE_S, self._resume, self._fd)

    def _resume(self, fd: int) -> None:
        if fd == self._fd:
            self._loop.add_reader(fd, self._read)

    def _gone(self, descriptor: int) -> None:
        """The kernel has removed a watch: its directory is gone."""
        watched = self._watched.pop(descriptor, None)
        for watch in watched.watches if watched is not None else ():
            watch.live, watch.gone = False, True
            self._loop.call_soon(watch.notify, Change(frozenset(), lost=True))

    def _tell(self, changed: dict[int, dict[str, int]], counts: dict[int, int], *, lost: bool) -> None:
        calls: list[tuple[Watch, Change]] = []
        for descriptor, watched in list(self._watched.items()) if lost else ():
            calls += [(watch, Change(frozenset(changed.get(descriptor, ())), lost=True)) for watch in watched.watches]
        for descriptor, names in changed.items():
            known = self._watched.get(descriptor)
            if known is None:
                continue
            if self._is_storm(known, counts[descriptor]):
                self._pause(descriptor, known)
            for watch in () if lost else known.watches:
                own = frozenset(name for name, mask in names.items() if mask & watch.mask)
                if own:
                    calls.append((watch, Change(own, lost=not watch.live)))
        for watch, change in calls:
            watch.notify(change)

    # too many events

    def _is_storm(self, watched: _Watched, count: int) -> bool:
        now = self._loop.time()
        if now - watched.since > STORM_WINDOW_S:
            watched.since, watched.count = now, 0
        watched.count += count
        bounds = [watch.max_per_s for watch in watched.watches]
        return all(bound is not None and watched.count > bound for bound in bounds)

    def _pause(self, descriptor: int, watched: _Watched) -> None:
        self._drop(descriptor)
        for watch in watched.watches:
            watch.live = False
            self._paused[watch] = self._loop.call_later(STORM_PAUSE_S, self._watch_again, watch)

    def _watch_again(self, watch: Watch) -> None:
        del self._paused[watch]
        try:
            self._add(watch)
        except OSError:  # the directory is gone, or there are no watches left
            watch.gone = True
            self._close_if_unused()
        watch.notify(Change(frozenset(), lost=True))


_instances: dict[asyncio.AbstractEventLoop, Inotify] = {}  # those that are open


def watch_directory(
    directory: Path, mask: int, notify: Callable[[Change], None], *, max_per_s: int | None = None
) -> Watch:
    """As `Inotify.watch`, with the instance of the running event loop."""
    loop = asyncio.get_running_loop()
    inotify = _instances.setdefault(loop, Inotify(loop))
    try:
        return inotify.watch(directory, mask, notify, max_per_s=max_per_s)
    except OSError:
        if not inotify.in_use:
            _instances.pop(loop, None)
        raise


class DirectoryWatch:
    """Yields the names of changed entries of directories to one reader. Create and use it on the event loop."""

    def __init__(self, directory: Path, mask: int, *more: tuple[Path, int]) -> None:
        """`more` are further directories, with the events of each.

        Raises `OSError` when one does not exist or the user has no inotify instance left.
        """
        self._names: set[str] = set()
        self._changed = asyncio.Event()
        self._watches: list[Watch] = []
        try:
            for path, events in ((directory, mask), *more):
                self._watches.append(watch_directory(path, events, self._take))
        except OSError:
            self.close()
            raise

    async def changed(self, timeout: float | None = None) -> set[str]:
        """The names that changed since the last call; waits for the first one, at most `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        self._changed.clear()
        names, self._names = self._names, set()
        return names

    def close(self) -> None:
        for watch in self._watches:
            watch.close()

    def _take(self, change: Change) -> None:
        self._names |= change.names
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
