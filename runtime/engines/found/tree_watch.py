"""Events after which a new scan may find something else: cgroups made, removed, frozen, entered; processes that ended.

A process that enters a new cgroup comes after the event that tells of the cgroup, and its program after that, so one
event is followed by a few scans. What has no event (a PID namespace without a cgroup of its own) is found by the next
scan in time.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from runtime.kernel import inotify
from runtime.kernel.inotify import Change, Watch

SLOW_SCAN_S: Final = 10.0  # between two scans without an event
FOLLOW_UP_S: Final = (0.15, 1.0, 1.0, 2.0)
"""Pauses before the scans that follow an event. An event during them begins with the second again."""
POLL_S: Final = 1.0  # between two scans where nothing can be watched
MAX_EVENTS_PER_S: Final = 200  # of one directory
MAX_PIDFDS: Final = 64
_ENTERED: Final = frozenset({"cgroup.procs", "tasks", "freezer.state", "cgroup.freeze", "cgroup.events"})
"""Files of a container's cgroup; those that the kernel itself writes (cgroup.events) give events too."""


class CgroupTreeWatch:
    """Watches the directories of a scan. Made and used on the event loop; `close` when done.

    Attributes:
        why_polled: why not everything is watched, so that scans follow each other every `POLL_S`; "" otherwise.
    """

    def __init__(self) -> None:
        self.why_polled = ""
        self._watches: dict[str, Watch] = {}
        self._own: Mapping[str, str] = {}
        self._followed: object = None
        self._touched: set[str] = set()
        self._all = False  # events were lost, so any of them may have changed
        self._pidfds: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._step = len(FOLLOW_UP_S)  # of the follow-up; its length when there is none
        self._due = math.inf  # the loop's time of the next scan of the follow-up

    async def wait(self, *, young: bool) -> Collection[str] | None:
        """Wait until the next scan is due. `young`: a program may be executed yet.

        Returns the cgroups of containers in which something may have happened; None: in any.
        """
        loop = asyncio.get_running_loop()
        while True:
            following = self._step < len(FOLLOW_UP_S)
            pause = POLL_S if self.why_polled or young else SLOW_SCAN_S
            if following:
                pause = max(0.0, self._due - loop.time())
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                if following:
                    self._step += 1
                    self._due = loop.time() + FOLLOW_UP_S[self._step] if self._step < len(FOLLOW_UP_S) else math.inf
                return self._take(following=following)
            self._changed.clear()
            self._step = min(self._step, 1) if following else 0
            self._due = min(self._due if following else math.inf, loop.time() + FOLLOW_UP_S[self._step])

    def _take(self, *, following: bool) -> Collection[str] | None:
        touched = None if self._all or self.why_polled or not following else frozenset(self._touched)
        if touched is None or self._step >= len(FOLLOW_UP_S):
            self._touched.clear()
        self._all = False
        return touched

    def follow(self, parents: frozenset[str], own: Mapping[str, str], pids: frozenset[int]) -> bool:
        """Watch directories above containers, the containers' own with the paths of their cgroups, and processes.

        Returns whether one of `parents` is new, in which more cgroups may have been made before it was watched.
        """
        if not self.why_polled and (parents, own, pids) == self._followed:
            return False
        self._followed = (parents, own, pids)
        masks = dict.fromkeys(parents, inotify.ENTRIES) | dict.fromkeys(own, inotify.WRITES)
        for directory in self._watches.keys() - masks.keys():
            self._watches.pop(directory).close()
        self.why_polled, self._own = "", own
        before = self._watches.keys() & masks.keys()
        for directory in masks.keys() - before:
            self._add(directory, masks[directory])
        self._follow_ends(pids)
        return any(masks[directory] == inotify.ENTRIES for directory in self._watches.keys() - before)

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
        self._follow_ends(frozenset())

    # internals

    def _add(self, directory: str, mask: int) -> None:
        if self.why_polled:
            return
        notify = partial(self._entered if mask == inotify.WRITES else self._tree_changed, directory)
        try:
            watch = inotify.watch_directory(Path(directory), mask, notify, max_per_s=MAX_EVENTS_PER_S)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.why_polled = f"inotify: {os.strerror(error.errno or 0)}"
            return
        self._watches[directory] = watch

    def _tree_changed(self, directory: str, change: Change) -> None:
        self._all |= change.lost and not self._is_over(directory)
        self._changed.set()

    def _entered(self, directory: str, change: Change) -> None:
        if self._is_over(directory):
            return  # the directory above tells that it was removed
        if change.lost or not _ENTERED.isdisjoint(change.names):
            self._touched.add(self._own.get(directory, ""))
            self._changed.set()

    def _is_over(self, directory: str) -> bool:
        """Whether the directory is gone; one that is made with its name is watched anew."""
        watch = self._watches.get(directory)
        if watch is not None and not watch.gone:
            return False
        self._watches.pop(directory, None)
        self._followed = None
        return True

    def _follow_ends(self, pids: frozenset[int]) -> None:
        loop = asyncio.get_running_loop()
        for pid in self._pidfds.keys() - pids:
            self._close_pidfd(pid)
        for pid in sorted(pids - self._pidfds.keys())[: MAX_PIDFDS - len(self._pidfds)]:
            with suppress(OSError):  # it has ended, or a sandbox allows no pidfds
                self._pidfds[pid] = os.pidfd_open(pid)
                loop.add_reader(self._pidfds[pid], partial(self._ended, pid))

    def _ended(self, pid: int) -> None:
        self._close_pidfd(pid)
        self._all = True
        self._changed.set()

    def _close_pidfd(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


def why_unwatchable(directory: Path) -> str:
    """Why this directory cannot be watched now; "" when it can."""
    try:
        inotify.watch_directory(directory, inotify.ENTRIES, lambda _: None).close()
    except OSError as error:
        return f"inotify: {os.strerror(error.errno or 0)}"
    return ""


def describe_polling(why: str) -> Mapping[str, str]:
    """The note about it in an engine's description; nothing when it is not polled."""
    hint = "fs.inotify.max_user_instances and max_user_watches are the limits"
    return {"polled": f"every {POLL_S:.0f} s, since not everything can be watched ({why}; {hint})"} if why else {}
