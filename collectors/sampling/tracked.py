"""One container that is measured: its init process, its cgroup's reader, its network namespace, its last sample."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from collectors.sampling import network, process_writes
from collectors.sampling.cgroup_reader import CgroupReader
from collectors.sampling.congestion import NOT_BUSY, CongestionReader
from collectors.sampling.frame import Usage
from collectors.sampling.inherited_limits import InheritedLimits
from collectors.sampling.network import InterfaceCounters, NetworkReader
from collectors.sampling.parents import Parents
from collectors.sampling.process_tree import cpu_and_threads
from collectors.sampling.rates import derive
from collectors.sampling.read_rules import KEPT_FILES
from collectors.sampling.sample import CpuCounters, Sample
from collectors.sampling.target import Target
from runtime.kernel import own_cgroup
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.model import Missing

RESERVED_FDS = 128  # left for everything else in this process
MAX_FDS_PER_CONTAINER = KEPT_FILES + 1  # its files, and a pidfd
PROC_CGROUP_BYTES = 16384  # of /proc/<pid>/cgroup, which has a line per hierarchy
MAX_FDS = 16_000  # kept for all containers


def can_keep_open(used: int) -> bool:
    """Whether another container's files may stay open; raises the soft limit of descriptors where needed.

    It is raised no further than needed: children inherit it, and some old programs close every possible descriptor.
    """
    if used + MAX_FDS_PER_CONTAINER > MAX_FDS:
        return False
    need = used + MAX_FDS_PER_CONTAINER + RESERVED_FDS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if need <= soft:
        return True
    wanted = min(hard, max(2 * soft, need), MAX_FDS + RESERVED_FDS)
    if wanted <= soft:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return False
    return need <= wanted


def _is_below(inner: Cgroup, outer: Cgroup) -> bool:
    """Whether `inner` is the same cgroup or a descendant, into which an init such as systemd moves itself."""
    if inner.v1.keys() != outer.v1.keys() or (inner.unified is None) != (outer.unified is None):
        return False
    pairs = [(path, outer.v1[name]) for name, path in inner.v1.items()]
    if inner.unified is not None and outer.unified is not None:
        pairs.append((inner.unified, outer.unified))
    return all(path == above or above in path.parents for path, above in pairs)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all containers of a sweep have in common."""

    hierarchies: Hierarchies
    proc: Path
    inherited: InheritedLimits
    networks: NetworkReader
    congestion: CongestionReader
    parents: Parents


class Tracked:
    """Owns the descriptors of one container; `close` closes all of them.

    Attributes:
        target: which container, and by which process.
        pidfd: becomes readable when the process ends, also if its pid is used again; -1 without pidfds.
        reader: of its cgroup.
        own_directories: those of its own cgroup.
        limit_directories: those whose limits hold for it.
        descriptors: how many were opened to stay open.
        own_netns: inode of a network namespace that is not the host's, else 0.
        at_ns, before_ns: CLOCK_MONOTONIC of the last look at its movement files, and of the one before.
        sample: what was last read; None before the first read.
    """

    def __init__(self, target: Target, shared: Shared, *, keep: bool) -> None:
        """Find and open everything.

        Raises `NotFoundError` when the process is gone, `CgroupGone` when its cgroup is, `PytopError` when it may not
        be read, `OSError` when descriptors ran out.
        """
        self.target = target
        self.at_ns = self.before_ns = 0
        self.sample: Sample | None = None
        self._previous: Sample | None = None
        self._shared = shared
        self._congestion = NOT_BUSY
        self._of_processes: tuple[CpuCounters, int | Missing] | None = None
        self.pidfd = -1
        proc, hierarchies = shared.proc, shared.hierarchies
        if keep and proc == Path("/proc"):
            self.pidfd = _pidfd(target.pid)
        try:
            self._proc_cgroup = self._read_proc_cgroup()
            self._cgroup = own_cgroup.cgroup_of_process(hierarchies, target.pid, within=target.cgroup, proc=proc)
            self._netns = network.network_namespace(target.pid, proc)
            self._net: InterfaceCounters = self._netns if isinstance(self._netns, Missing) else Missing.UNSUPPORTED
            self._net_shared = self._netns == shared.networks.host
            self.own_netns = self._netns if isinstance(self._netns, int) and not self._net_shared else 0
            own = own_cgroup.own_part(self._cgroup, hierarchies)
            self.reader = CgroupReader(own, shared.inherited, shared.parents, keep=keep)
            self.descriptors = self.reader.descriptors + (self.pidfd >= 0)
            self.own_directories = () if self.is_without_cgroup else own.directories
            self.limit_directories = shared.inherited.directories(own)
            self._writes = process_writes.of_cgroup(own, proc)
        except BaseException:
            self._close_pidfd()
            raise

    def release(self) -> int:
        """Close the files; they are opened for each read from now on. Returns how many were open."""
        closed = self.reader.descriptors
        self.reader.close()
        self.descriptors -= closed
        return closed

    def keep_open(self) -> int:
        """Open the files that `release` closed, where there are descriptors. Returns how many were opened."""
        self.reader.keep_open()
        opened = self.reader.descriptors
        self.descriptors += opened
        return opened

    def seems_gone(self) -> bool:
        """For hosts without pidfds: whether the process has no entry in /proc."""
        return self.pidfd < 0 and not os.path.exists(f"{self._shared.proc}/{self.target.pid}")  # noqa: PTH110  (speed)

    def moved(self) -> bool:
        """Whether the process has moved to another cgroup (not a descendant) or network namespace since the start."""
        if network.network_namespace(self.target.pid, self._shared.proc) != self._netns:
            return True
        text = self._read_proc_cgroup()
        if text and text == self._proc_cgroup:
            return False
        target = self.target
        now = own_cgroup.cgroup_of_process(
            self._shared.hierarchies, target.pid, within=target.cgroup, proc=self._shared.proc
        )
        if now != self._cgroup and not _is_below(now, self._cgroup):
            return True
        self._proc_cgroup = text
        return False

    def _read_proc_cgroup(self) -> bytes:
        """/proc/<pid>/cgroup; empty when it cannot be read."""
        try:
            fd = os.open(f"{self._shared.proc}/{self.target.pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(fd, PROC_CGROUP_BYTES)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def read_movement(self) -> bool:
        """Read the movement files. Returns whether the container moved. Raises `CgroupGone`."""
        self.before_ns, self.at_ns = self.at_ns, time.monotonic_ns()
        return self.reader.read_movement()

    def traffic_moved(self) -> bool:
        """Read the network counters, of which only a namespace of its own has any. Returns whether they changed."""
        if not self.own_netns:
            return False
        last, self._net = self._net, self._shared.networks.counters(self.target.pid, self.own_netns)
        moved = self._net is not last and self._net != last
        shared, pid = self._shared, self.target.pid
        self._congestion = shared.congestion.read(pid, self.own_netns, self._net) if moved else NOT_BUSY
        return moved

    @property
    def is_without_cgroup(self) -> bool:
        """It has no cgroup of its own here: its CPU time and tasks are those of its processes."""
        return self.target.cgroup == own_cgroup.NO_OWN

    def processes_moved(self) -> bool:
        """Read the processes of one without a cgroup of its own. Returns whether they used CPU time, came or went."""
        if not self.is_without_cgroup:
            return False
        last, self._of_processes = self._of_processes, cpu_and_threads(self.target.pid, self._shared.proc)
        return self._of_processes != last

    def take_sample(self) -> None:
        """Make a sample of what the reader read; the one before becomes the start of the interval.

        While the container was at rest its counters stood still, so the interval starts at the last look.
        """
        last = self.sample
        if last is not None and last.at_ns != self.before_ns:
            last = last._replace(at_ns=self.before_ns)
        self._previous = last
        sample = self.reader.sample(self.at_ns, self._net, self._net_shared, self._writes)
        if self._congestion is not NOT_BUSY:
            sample = sample._replace(**self._congestion._asdict())
        if self._of_processes is not None:
            cpu, pids = self._of_processes
            sample = sample._replace(cpu=cpu, pids=pids)
        self.sample = sample

    def usage(self, ncpu: int) -> Usage:
        """The usage in the interval that the last sample ended."""
        assert self.sample is not None
        return derive(self._previous, self.sample, ncpu)

    def usage_at_rest(self, ncpu: int) -> Usage:
        """The usage from when it came to rest on: every rate is 0; `at_ns` is still that of the sample."""
        sample = self.sample
        assert sample is not None
        later = sample._replace(at_ns=self.at_ns, **NOT_BUSY._asdict())
        return derive(sample, later, ncpu)._replace(at_ns=sample.at_ns)

    def close(self) -> None:
        self.reader.close()
        self._close_pidfd()

    def _close_pidfd(self) -> None:
        fd, self.pidfd = self.pidfd, -1
        if fd >= 0:
            os.close(fd)


def _pidfd(pid: int) -> int:
    """A pidfd; -1 where the kernel or a sandbox refuses it."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1
