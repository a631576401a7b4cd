"""One sweep: read what may have changed of every container, and the host, and make a `Frame` of it.

A container is looked at in every sweep, and read in full only when it has moved (`collectors.sampling.read_rules`) or
its turn has come; its limits when one was written. One that is at rest keeps its usage, the same object: its rates are
0, and `at_ns` says when its gauges were read.

Blocking, for one thread at a time. Decides also which files stay open from one sweep to the next, and gives the reason
for each container that could not be read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from collectors.sampling.frame import Frame, HostUsage, Usage
from collectors.sampling.host import HostReader
from collectors.sampling.host_programs import HostPrograms, unmeasured_cpu, unmeasured_io, waits
from collectors.sampling.limit_watch import LimitEvents
from collectors.sampling.sample import Sample
from collectors.sampling.target import Target
from collectors.sampling.tracked import Tracked
from collectors.sampling.tracking import PROC, Tracking
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import GroupRef, Ref

__all__ = ["Sweeper", "Target"]


class Sweeper:
    """Keeps the files of containers open and reads all of them in one call; `close` when done."""

    def __init__(
        self, hierarchies: Hierarchies | None = None, proc: Path = PROC, *, limit_events: LimitEvents | None = None
    ) -> None:
        """`hierarchies` is detected when it is None; `proc` is another tree in tests.

        `limit_events` tells which limits were written; without it the sweeper watches by itself.
        """
        found = cgroupfs.detect() if hierarchies is None else hierarchies
        self._tracking = Tracking(found, proc, limit_events)
        self._host = HostReader(proc)
        self._programs = HostPrograms(found, proc)
        self._seq = 0
        self._last_ns: int | None = None
        self._lively: set[Tracked] = set()  # their usage is of a sweep in which they were not at rest
        self._usages: dict[Ref, Usage] = {}

    def sweep(self, targets: Sequence[Target]) -> Frame:
        """Look at every target once. One that cannot be read is in the frame's `problems` and affects no other."""
        started = time.monotonic_ns()
        fresh, problems = self._tracking.read(targets, started)
        usages = self._update(fresh)
        host = self._with_programs(self._host.read(started), started)
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

    def _with_programs(self, host: HostUsage, now_ns: int) -> HostUsage:
        """The host's usage with its programs outside the containers, while one of these waits and they may be why."""
        refs = (tracked.target.ref for tracked in self._lively)  # a group's usage is that of its containers
        usages = [self._usages[ref] for ref in refs if not isinstance(ref, GroupRef)]
        cpu = waits(usages, "cpu") and unmeasured_cpu(host, usages)
        io = waits(usages, "io") and unmeasured_io(host, usages)
        if not cpu and not io:
            self._programs.stop()
        elif self._programs.is_due(now_ns):
            self._programs.scan(now_ns, self._tracking.places, io=io)
        return replace(host, programs=self._programs.found) if self._programs.found else host

    def _update(self, fresh: set[Tracked]) -> dict[Ref, Usage]:
        """The usages of all that can be read: new ones of the `fresh`, and of those that have just come to rest."""
        known, tracked, ncpu = self._usages, self._tracking.tracked, self._host.ncpu
        for each in self._lively - fresh:
            known[each.target.ref] = each.usage_at_rest(ncpu)
        for each in fresh:
            known[each.target.ref] = each.usage(ncpu)
        self._lively = fresh
        if known.keys() != tracked.keys():
            self._usages = {ref: known[ref] for ref in tracked}
        return dict(self._usages)

    def samples(self, targets: Sequence[Target]) -> dict[Ref, Sample]:
        """Every counter of every target that can be read, parsed; the first half of a sweep."""
        fresh, _ = self._tracking.read(targets, time.monotonic_ns())
        self._lively |= fresh
        return {ref: each.sample for ref, each in self._tracking.tracked.items() if each.sample is not None}

    def close(self) -> None:
        """Close every descriptor; may be called twice."""
        self._tracking.close()
