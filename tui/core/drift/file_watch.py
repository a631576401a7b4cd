"""Watches the limit files of every container and group of this machine, so that they are read after they were written.

inotify on a cgroup's directory tells of each write to one of its files, by whomever and through whichever mount.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from runtime.errors import PytopError
from runtime.kernel import inotify, threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.inotify import Change, Watch
from runtime.model import Ref
from tui.core.hosts.frames import LOCAL
from tui.core.subject import Subject, incarnation

log = logging.getLogger(__name__)

MAX_EVENTS_PER_S: Final = 40  # of one directory, of which at most 50 a second are seen when one file alone is written
SETTLE_S: Final = 0.1  # between a change of the inventory and the look for directories
RETRY_S: Final = 10.0  # between two looks for what could not be watched
_CONTROLLERS: Final = ("cpu", "cpuset", "memory", "io", "pids")
_NO_LIMITS: Final = frozenset({"tasks", "notify_on_release", "freezer.state", "memory.force_empty", "memory.reclaim"})
_NO_LIMIT_SUFFIXES: Final = (".events", ".events.local", ".pressure", ".stat")


def is_limit_file(name: str) -> bool:
    """Whether a write to this file of a cgroup may have changed a limit."""
    return name not in _NO_LIMITS and not name.startswith("cgroup.") and not name.endswith(_NO_LIMIT_SUFFIXES)


class LimitFileWatch:
    """Keeps a watch of each directory that holds limits; made and used on the event loop.

    Attributes:
        watched: those all of whose directories are watched now; the others have to be read from time to time.
    """

    name = "limit files"

    def __init__(
        self,
        cgroup: Callable[[Subject], Cgroup | None],
        changed: Callable[[Collection[Ref], Collection[Ref]], None],
    ) -> None:
        """Collaborators.

        `cgroup` finds a subject's cgroup and blocks. `changed` is called on the loop after limits were written, or
        others can be watched: with those whose files were written, and those that are watched from now on.
        """
        self._cgroup = cgroup
        self._changed = changed
        self._subjects: Mapping[Ref, Subject] = {}
        self._known: dict[Ref, object] = {}  # the incarnation whose directories are watched
        self._watches: dict[Ref, tuple[Watch, ...]] = {}
        self._wanted = asyncio.Event()
        self._why_not = ""
        self.watched: frozenset[Ref] = frozenset()

    def inventory(self, subjects: Iterable[Subject]) -> None:
        """Take a changed inventory."""
        self._subjects = {each.ref: each for each in subjects if each.pid is not None and each.ref.host == LOCAL}
        self._wanted.set()

    async def follow(self) -> None:
        """Keep the watches up to date until cancelled; then all are closed."""
        try:
            while True:
                try:
                    async with asyncio.timeout(RETRY_S if self._why_not else None):
                        await self._wanted.wait()
                except TimeoutError:
                    pass
                else:
                    await asyncio.sleep(SETTLE_S)
                self._wanted.clear()
                await self._update()
                self._find_watched()
                self._changed((), self.watched)
        finally:
            for ref in list(self._watches):
                self._drop(ref)
            self._find_watched()
            self._changed((), self.watched)

    async def _update(self) -> None:
        subjects = self._subjects
        for ref in [ref for ref, known in self._known.items() if not _is_same(subjects.get(ref), known)]:
            self._drop(ref)
        new = [subject for ref, subject in subjects.items() if ref not in self._known]
        if not new:
            return
        found = await threads.measuring(self._directories, new)
        why = ""
        for subject in new:
            if subject.ref in found and not why:
                why = self._watch(subject, found[subject.ref])
        if why != self._why_not:
            self._why_not = why
            if why:
                log.warning("limits that others change are looked for in turn, since not all can be watched: %s", why)

    def _directories(self, subjects: Iterable[Subject]) -> Mapping[Ref, tuple[Path, ...]]:
        found: dict[Ref, tuple[Path, ...]] = {}
        for subject in subjects:
            try:
                cgroup = self._cgroup(subject)
            except PytopError:  # its process has ended
                continue
            if cgroup is not None:
                places = (cgroup.where(controller) for controller in _CONTROLLERS)
                found[subject.ref] = tuple(dict.fromkeys(place[0] for place in places if place is not None))
        return found

    def _watch(self, subject: Subject, directories: Iterable[Path]) -> str:
        """Watch all of them or none; the reason where there is no watch left."""
        notify, watches = partial(self._written, subject.ref), []
        try:
            for directory in directories:
                watches.append(inotify.watch_directory(directory, inotify.WRITES, notify, max_per_s=MAX_EVENTS_PER_S))
        except OSError as error:
            for watch in watches:
                watch.close()
            return "" if isinstance(error, FileNotFoundError) else os.strerror(error.errno or 0)
        self._watches[subject.ref], self._known[subject.ref] = tuple(watches), incarnation(subject)
        return ""

    def _written(self, ref: Ref, change: Change) -> None:
        if change.lost:  # events were lost, or the watch has paused or begun again
            self._find_watched()
        if change.lost or any(map(is_limit_file, change.names)):
            self._changed((ref,), self.watched)

    def _find_watched(self) -> None:
        self.watched = frozenset(ref for ref, watches in self._watches.items() if all(watch.live for watch in watches))

    def _drop(self, ref: Ref) -> None:
        self._known.pop(ref, None)
        for watch in self._watches.pop(ref, ()):
            watch.close()


def _is_same(subject: Subject | None, known: object) -> bool:
    return subject is not None and incarnation(subject) == known
