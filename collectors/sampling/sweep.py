"""One sweep: read every container and the host once, and make a `Frame` of it.

Blocking, for one thread at a time. Decides also which files stay open from one sweep to the next, and gives the reason
for each container that could not be read.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Sequence
from pathlib import Path

from collectors.sampling.cgroup_reader import CgroupGone
from collectors.sampling.frame import Frame
from collectors.sampling.host import HostReader
from collectors.sampling.inherited_limits import InheritedLimits
from collectors.sampling.network import NetworkReader
from collectors.sampling.sample import Sample
from collectors.sampling.target import Target
from collectors.sampling.tracked import Tracked, can_keep_open
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import Ref

__all__ = ["Sweeper", "Target"]

PROC = Path("/proc")
MOVE_CHECK_SWEEPS = 64  # every that many sweeps a container's cgroup is looked up again, a part of them in each sweep


class Sweeper:
    """Keeps the files of containers open and reads all of them in one call; `close` when done."""

    def __init__(self, hierarchies: Hierarchies | None = None, proc: Path = PROC) -> None:
        """`hierarchies` is detected when it is None; `proc` is another tree in tests."""
        self._hierarchies = cgroupfs.detect() if hierarchies is None else hierarchies
        self._proc = proc
        self._inherited = InheritedLimits(self._hierarchies)
        self._networks = NetworkReader(proc)
        self._host = HostReader(proc)
        self._tracked: dict[Ref, Tracked] = {}
        self._by_pidfd: dict[int, Ref] = {}
        self._ended: dict[Ref, Target] = {}  # their process has ended; kept until they are no targets any more
        self._ends = select.epoll()
        self._descriptors = 0
        self._wanted: tuple[Target, ...] = ()
        self._seq = 0
        self._last_ns: int | None = None

    def sweep(self, targets: Sequence[Target]) -> Frame:
        """Read every target once. One that cannot be read is in the frame's `problems`; the others are not affected."""
        started = time.monotonic_ns()
        fresh, problems = self._refresh_all(targets)
        samples = [tracked.sample() for tracked in fresh]
        ncpu = self._host.ncpu
        usages = {
            tracked.target.ref: tracked.usage(sample, ncpu) for tracked, sample in zip(fresh, samples, strict=True)
        }
        host = self._host.read(started)
        interval, self._last_ns = started - (self._last_ns or started), started
        self._seq += 1
        return Frame(
            seq=self._seq,
            at_ns=started,
            wall_ns=time.time_ns(),
            interval_ns=interval,
            cost_ns=time.monotonic_ns() - started,
            host=host,
            usages=usages,
            problems=problems,
        )

    def samples(self, targets: Sequence[Target]) -> dict[Ref, Sample]:
        """Every counter of every target that can be read, parsed; the first half of a sweep."""
        fresh, _ = self._refresh_all(targets)
        self._seq += 1
        return {tracked.target.ref: tracked.sample() for tracked in fresh}

    def close(self) -> None:
        """Close every descriptor; may be called twice."""
        for ref in list(self._tracked):
            self._drop(ref)
        self._inherited.close()
        self._ends.close()

    def _refresh_all(self, targets: Sequence[Target]) -> tuple[list[Tracked], dict[Ref, str]]:
        """Read the targets. Returns those that could be read, and the reasons for the others."""
        wanted = tuple(targets)
        if wanted != self._wanted:
            self._wanted = wanted
            self._forget({target.ref: target for target in wanted})
        for fd, _ in self._ends.poll(0) if self._by_pidfd else ():
            self._end(self._by_pidfd[fd])
        self._networks.begin()
        self._inherited.refresh()
        fresh: list[Tracked] = []
        problems: dict[Ref, str] = {}
        for index, target in enumerate(wanted):
            try:
                fresh.append(self._refresh(target, check=(index + self._seq) % MOVE_CHECK_SWEEPS == 0))
            except (NotFoundError, CgroupGone):
                self._end(target.ref, target)
                problems[target.ref] = f"gone: process {target.pid} has ended"
            except (PytopError, OSError) as error:
                self._drop(target.ref)
                problems[target.ref] = str(error)
        return fresh, problems

    def _refresh(self, target: Target, *, check: bool) -> Tracked:
        """Read one container; raises `NotFoundError` or `CgroupGone` when it has ended."""
        if self._ended and self._ended.get(target.ref) == target:
            raise NotFoundError(f"process {target.pid} has ended")
        tracked = self._tracked.get(target.ref)
        if tracked is not None and ((tracked.pidfd < 0 and tracked.seems_gone()) or (check and tracked.moved())):
            self._drop(target.ref)
            tracked = None
        if tracked is None:
            tracked = self._follow(target)
        try:
            tracked.refresh()
        except CgroupGone:  # the process may have entered another cgroup before this one was removed
            self._drop(target.ref)
            tracked = self._follow(target)
            tracked.refresh()
        return tracked

    def _follow(self, target: Target) -> Tracked:
        keep = can_keep_open(self._descriptors)
        try:
            tracked = Tracked(target, self._hierarchies, self._inherited, self._networks, self._proc, keep=keep)
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
            tracked = Tracked(target, self._hierarchies, self._inherited, self._networks, self._proc, keep=False)
        self._tracked[target.ref] = tracked
        self._descriptors += tracked.descriptors
        if tracked.pidfd >= 0:
            self._by_pidfd[tracked.pidfd] = target.ref
            self._ends.register(tracked.pidfd, select.EPOLLIN)
        return tracked

    def _drop(self, ref: Ref) -> None:
        """Close what is open for a container."""
        tracked = self._tracked.pop(ref, None)
        if tracked is None:
            return
        self._descriptors -= tracked.descriptors
        if tracked.pidfd >= 0:
            self._ends.unregister(tracked.pidfd)
            del self._by_pidfd[tracked.pidfd]
        tracked.close()

    def _end(self, ref: Ref, target: Target | None = None) -> None:
        tracked = self._tracked.get(ref)
        if target is None and tracked is not None:
            target = tracked.target
        if target is not None:
            self._ended[ref] = target
        self._drop(ref)

    def _forget(self, wanted: dict[Ref, Target]) -> None:
        """Close containers that are no targets any more or have another init process."""
        stale = [ref for ref, tracked in self._tracked.items() if wanted.get(ref) != tracked.target]
        for ref in stale:
            self._drop(ref)
        if stale:
            self._inherited.keep_only(limit for t in self._tracked.values() for limit in t.reader.above)
        if self._ended:
            self._ended = {ref: target for ref, target in self._ended.items() if wanted.get(ref) == target}
