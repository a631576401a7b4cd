"""The containers that are followed from one sweep to the next, and what is read of which of them in a sweep.

A container that is new is read in full. Its end is told by its pidfd; that it has moved to another cgroup is looked up
now and then. Whatever fails costs only the container that it is about.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from collectors.sampling.cgroup_reader import NO_DESCRIPTORS, CgroupGone
from collectors.sampling.congestion import CongestionReader
from collectors.sampling.host_programs import Places
from collectors.sampling.host_stalls import HostStallsReader
from collectors.sampling.inherited_limits import InheritedLimits
from collectors.sampling.limit_watch import LimitEvents, LimitWatch
from collectors.sampling.memory_events import MemoryEventsReader
from collectors.sampling.movement import MovementPart, parts
from collectors.sampling.network import NetworkReader
from collectors.sampling.parents import Parents
from collectors.sampling.read_rules import FULL_READ_INTERVAL_S
from collectors.sampling.rotation import Rotation
from collectors.sampling.target import Target
from collectors.sampling.tracked import Shared, Tracked, can_keep_open
from runtime.errors import NotFoundError, PytopError
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import Ref

PROC: Final = Path("/proc")
SHARED_FDS: Final = 2  # kept for all together: the epoll of their processes' ends, and the watch of limits
MAX_RELEASED: Final = 16  # containers whose files are closed when descriptors ran out: up to 112
MOVE_CHECK_SWEEPS = 64  # every that many sweeps a container's cgroup is looked up again, a part of them in each sweep
NS_PER_S: Final = 1_000_000_000


class Tracking:
    """Owns every descriptor of every container; for one thread at a time.

    Attributes:
        tracked: those that can be read, as of the last `read`.
    """

    def __init__(self, hierarchies: Hierarchies, proc: Path, limit_events: LimitEvents | None) -> None:
        """`limit_events` is None for a watch of its own."""
        self.tracked: dict[Ref, Tracked] = {}
        self._shared = Shared(
            hierarchies, proc, InheritedLimits(hierarchies), NetworkReader(proc), CongestionReader(proc), Parents()
        )
        self._memory_events, self._host_stalls = MemoryEventsReader(proc), HostStallsReader(proc)
        self._limit_events = LimitWatch() if limit_events is None else limit_events
        self._by_pidfd: dict[int, Ref] = {}
        self._ended: dict[Ref, Target] = {}  # their process has ended; kept until they are no targets any more
        self._ends = select.epoll()
        self._descriptors = SHARED_FDS
        self._wanted: tuple[Target, ...] = ()
        self._targets: dict[Ref, Target] = {}
        self._sweeps = 0
        self._last_ns = 0
        self._rotation, self._inherited_rotation = Rotation(FULL_READ_INTERVAL_S), Rotation(FULL_READ_INTERVAL_S)
        # Made of `tracked` when it has changed:
        self._changed = True
        self._places: Places | None = None
        self._order: tuple[Tracked, ...] = ()
        self._parts: list[MovementPart] = []
        self._apart: list[Tracked] = []  # those whose files are not kept open
        self._without_pidfd: list[Tracked] = []
        self._with_network: list[Tracked] = []  # those with a network namespace of their own
        self._without_cgroup: list[Tracked] = []
        self._by_limit_directory: dict[str, set[Tracked]] = {}
        self._moved_before: set[Tracked] = set()  # in the last sweep, or were read for another reason
        self._new: set[Tracked] = set()  # their limits were read before they were watched

    def read(self, targets: Sequence[Target], now_ns: int) -> tuple[set[Tracked], dict[Ref, str]]:
        """Look at every target and read what may have changed. `now_ns` is CLOCK_MONOTONIC.

        Returns those that have a new sample, and the reasons for those that cannot be read.
        """
        elapsed_s = (now_ns - (self._last_ns or now_ns)) / NS_PER_S
        self._last_ns = now_ns
        self._sweeps += 1
        self._set_targets(tuple(targets))
        for fd, _ in self._ends.poll(0) if self._by_pidfd else ():
            self._end(self.tracked[self._by_pidfd[fd]].target)
        self._check_places()
        self._arrange()
        self._shared.networks.begin()
        self._shared.congestion.begin(now_ns)
        failed: dict[Tracked, Exception] = {}
        try:
            fresh = self._read_followed(elapsed_s, failed)
            problems = self._follow_missing(failed, fresh)
        finally:
            self._shared.parents.close_all()
        return fresh, problems

    def _read_followed(self, elapsed_s: float, failed: dict[Tracked, Exception]) -> set[Tracked]:
        """Read the containers that are followed already. Returns those that have a new sample."""
        version = self._shared.inherited.version
        events = self._memory_events.read()
        limits = self._limits_to_read(elapsed_s)
        moved = self._read_moved(failed)
        for tracked in limits:
            self._attempt(tracked, partial(tracked.reader.read_limits, moved=tracked in moved), failed)
        full = self._rotation.take(self._order, elapsed_s)
        for tracked in full:
            self._attempt(tracked, partial(self._read_in_full, tracked), failed)
        suspects = (moved | self._moved_before) if any(events) else ()
        for tracked in suspects:
            self._attempt(tracked, partial(tracked.reader.read_events, events), failed)
        self._moved_before = moved.union(full, limits)
        fresh = {tracked for tracked in (*limits, *suspects) if tracked.reader.changed}.union(moved, full)
        if self._shared.inherited.version != version:
            fresh.update(self._order)
        fresh -= failed.keys()
        for tracked in fresh:
            tracked.take_sample()
        return fresh

    @property
    def places(self) -> Places:
        """Where the containers are, as of the last `read`; those that use the whole host's cgroup are left out."""
        if self._places is None or self._changed:
            every = self.tracked.values()
            self._places = Places(
                frozenset(str(directory) for each in every for directory in each.own_directories),
                frozenset(each.target.pid for each in every if each.is_without_cgroup),
            )
        return self._places

    def close(self) -> None:
        """May be called twice."""
        for ref in list(self.tracked):
            self._drop(ref)
        self._limit_events.close()
        self._ends.close()

    def _set_targets(self, wanted: tuple[Target, ...]) -> None:
        """Close containers that are no targets any more or have another init process."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._targets = targets = {target.ref: target for target in wanted}
        for ref in [ref for ref, tracked in self.tracked.items() if targets.get(ref) != tracked.target]:
            self._drop(ref)
        self._ended = {ref: target for ref, target in self._ended.items() if targets.get(ref) == target}

    def _check_places(self) -> None:
        """Let go of containers that are elsewhere by now; they are found again in the same sweep."""
        self._arrange()
        for tracked in [tracked for tracked in self._without_pidfd if tracked.seems_gone()]:
            self._end(tracked.target)
        order = tuple(self.tracked.values()) if self._changed else self._order
        for tracked in order[-self._sweeps % MOVE_CHECK_SWEEPS :: MOVE_CHECK_SWEEPS]:
            try:
                here = not tracked.moved()
            except PytopError:
                here = False
            if not here:
                self._drop(tracked.target.ref)

    def _arrange(self) -> None:
        """Sort what is followed by what a sweep does with it, when it is not the same as before."""
        if not self._changed:
            return
        self._changed = False
        self._places = None
        self._order = order = tuple(self.tracked.values())
        self._parts = parts([tracked for tracked in order if tracked.reader.keeps])
        self._apart = [tracked for tracked in order if not tracked.reader.keeps]
        self._without_pidfd = [tracked for tracked in order if tracked.pidfd < 0]
        self._with_network = [tracked for tracked in order if tracked.own_netns]
        self._shared.congestion.keep_only(frozenset(tracked.own_netns for tracked in self._with_network))
        self._without_cgroup = [tracked for tracked in order if tracked.is_without_cgroup]
        self._by_limit_directory = {}
        for tracked in order:
            for directory in tracked.limit_directories:
                self._by_limit_directory.setdefault(directory, set()).add(tracked)
        self._moved_before = self._moved_before.intersection(order)
        self._shared.parents.arrange(path for tracked in order for path in tracked.reader.parents)
        self._shared.inherited.keep_only(limit for tracked in order for limit in tracked.reader.above)
        self._limit_events.follow(self._by_limit_directory)

    def _limits_to_read(self, elapsed_s: float) -> set[Tracked]:
        """Whose limits may have been written; those that they inherit are read at once."""
        written = self._limit_events.changed()
        new, self._new = self._new & set(self._order), set()
        inherited = self._shared.inherited
        turn = self._inherited_rotation.take(inherited.all_directories, elapsed_s)
        if written is None or new:
            inherited.refresh()
        elif written or turn:
            inherited.refresh({*written, *turn})
        if written is None:
            return set(self._order)
        return new.union(*(self._by_limit_directory.get(directory, ()) for directory in written))

    def _read_moved(self, failed: dict[Tracked, Exception]) -> set[Tracked]:
        """Look at all, and read what may have changed in those that moved, which are returned."""
        stalls = self._host_stalls.read()
        moved: set[Tracked] = set()
        for part in self._parts:
            try:
                found = part.read()
            except OSError:  # of one of them: each by itself, then
                self._changed = True
                found = {each for each in part.containers if self._attempt(each, each.reader.read_movement, failed)}
            for tracked in found:
                try:
                    tracked.reader.read_moved(stalls)
                except (OSError, CgroupGone):
                    self._attempt(tracked, partial(tracked.reader.read_moved, stalls), failed)
            moved |= found
        apart = [tracked for tracked in self._apart if self._attempt(tracked, tracked.read_movement, failed)]
        stalled = [
            tracked
            for tracked in (self._moved_before - moved if stalls else ())
            if self._attempt(tracked, partial(tracked.reader.read_stalls, stalls), failed)
        ]
        by_traffic = [tracked for tracked in self._with_network if tracked.traffic_moved()]
        by_processes = [
            tracked for tracked in self._without_cgroup if self._attempt(tracked, tracked.processes_moved, failed)
        ]
        for tracked in {*apart, *stalled, *by_traffic} - moved:
            self._attempt(tracked, partial(tracked.reader.read_moved, stalls), failed)
        return moved.union(apart, stalled, by_traffic, by_processes)

    def _read_in_full(self, tracked: Tracked) -> None:
        """Read all that may have changed at rest, and keep open again what was closed for lack of descriptors."""
        if not tracked.reader.keeps and can_keep_open(self._descriptors):
            self._descriptors += tracked.keep_open()
            self._changed = True
        tracked.reader.read_at_rest()

    def _attempt(self, tracked: Tracked, read: Callable[[], object], failed: dict[Tracked, Exception]) -> bool:
        """Do some reading for one container; without descriptors once more, after giving some back."""
        try:
            try:
                return tracked not in failed and bool(read())
            except OSError as error:
                if error.errno not in NO_DESCRIPTORS or not self._release():
                    raise
                return bool(read())
        except (OSError, CgroupGone) as error:
            failed[tracked] = error
            return False

    def _release(self) -> bool:
        """Close the files of some containers, which are opened for each read from now on. Returns whether any were."""
        open_now = [tracked for tracked in self.tracked.values() if tracked.reader.descriptors]
        for tracked in open_now[:MAX_RELEASED]:
            self._descriptors -= tracked.release()
        self._changed = True
        return bool(open_now)

    def _follow_missing(self, failed: Mapping[Tracked, Exception], fresh: set[Tracked]) -> dict[Ref, str]:
        """Follow the targets that are not, and anew those whose cgroup is gone. Returns why some cannot be read."""
        problems: dict[Ref, str] = {}
        for tracked, error in failed.items():
            self._drop(tracked.target.ref)
            if not isinstance(error, CgroupGone):  # a process may enter another cgroup before its own is removed
                problems[tracked.target.ref] = str(error)
        if len(self.tracked) == len(self._targets):
            return problems
        for ref, target in self._targets.items():
            if ref in self.tracked or ref in problems:
                continue
            try:
                fresh.add(self._follow(target))
            except (NotFoundError, CgroupGone):
                self._end(target)
                problems[ref] = f"gone: process {target.pid} has ended"
            except (PytopError, OSError) as error:
                problems[ref] = str(error)
        return problems

    def _follow(self, target: Target) -> Tracked:
        """Start to follow a container; read it in full. Raises `NotFoundError` or `CgroupGone` when it has ended."""
        if target.ref in self._ended:
            raise NotFoundError(f"process {target.pid} has ended")
        try:
            tracked = self._open(target, keep=can_keep_open(self._descriptors))
        except OSError as error:
            if error.errno not in NO_DESCRIPTORS:
                raise
            self._release()
            tracked = self._open(target, keep=False)
        self.tracked[target.ref] = tracked
        self._descriptors += tracked.descriptors
        if tracked.pidfd >= 0:
            self._by_pidfd[tracked.pidfd] = target.ref
            self._ends.register(tracked.pidfd, select.EPOLLIN)
        self._changed = True
        self._new.add(tracked)
        self._moved_before.add(tracked)
        return tracked

    def _open(self, target: Target, *, keep: bool) -> Tracked:
        tracked = Tracked(target, self._shared, keep=keep)
        try:
            tracked.read_movement()
            tracked.reader.read_all()
            tracked.traffic_moved()
            tracked.processes_moved()
            tracked.take_sample()
        except BaseException:
            tracked.close()
            raise
        return tracked

    def _drop(self, ref: Ref) -> None:
        """Close what is open for a container."""
        tracked = self.tracked.pop(ref, None)
        if tracked is None:
            return
        self._changed = True
        self._descriptors -= tracked.descriptors
        if tracked.pidfd >= 0:
            self._ends.unregister(tracked.pidfd)
            del self._by_pidfd[tracked.pidfd]
        tracked.close()

    def _end(self, target: Target) -> None:
        """Note that a container's process has ended."""
        self._ended[target.ref] = target
        self._drop(target.ref)
