"""One container that is measured: its init process, its cgroup's reader, its network namespace, its last sample."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from collectors.sampling import network, process_writes
from collectors.sampling.cgroup_reader import CgroupReader
from collectors.sampling.frame import Usage
from collectors.sampling.inherited_limits import InheritedLimits
from collectors.sampling.network import InterfaceCounters, NetworkReader
from collectors.sampling.process_tree import cpu_and_threads
from collectors.sampling.rates import derive
from collectors.sampling.sample import CpuCounters, Sample
from collectors.sampling.target import Target
from runtime.kernel import own_cgroup
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.model import Missing

RESERVED_FDS = 128  # left for everything else in this process
MAX_FDS_PER_CONTAINER = 32  # more than one reader ever opens
PROC_CGROUP_BYTES = 16384  # of /proc/<pid>/cgroup, which has a line per hierarchy
MAX_FDS = 1 << 16  # the soft limit is never raised above this


def can_keep_open(used: int) -> bool:
    """Whether another container's files may stay open; raises the soft limit of descriptors where needed.

    It is raised no further than needed: children inherit it, and some old programs close every possible descriptor.
    """
    need = used + MAX_FDS_PER_CONTAINER + RESERVED_FDS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if need <= soft:
        return True
    wanted = min(hard, max(2 * soft, need), MAX_FDS)
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


class Tracked:
    """Owns the descriptors of one container; `close` closes all of them.

    Attributes:
        target: which container, and by which process.
        pidfd: becomes readable when the process ends, also if its pid is used again; -1 without pidfds.
    """

    def __init__(
        self,
        target: Target,
        hierarchies: Hierarchies,
        inherited: InheritedLimits,
        networks: NetworkReader,
        proc: Path,
        *,
        keep: bool,
    ) -> None:
        """Find and open everything.

        Raises `NotFoundError` when the process is gone, `CgroupGone` when its cgroup is, `PytopError` when it may not
        be read, `OSError` when descriptors ran out.
        """
        self.target = target
        self._previous: Sample | None = None
        self._hierarchies = hierarchies
        self._networks = networks
        self._read_ns = 0
        self._of_processes: tuple[CpuCounters, int | Missing] | None = None
        self._proc = proc
        self.pidfd = -1
        if proc == Path("/proc"):
            self.pidfd = _pidfd(target.pid)
        self._proc_cgroup = b""
        try:
            self._cgroup = own_cgroup.cgroup_of_process(hierarchies, target.pid, within=target.cgroup, proc=proc)
            self._netns = network.network_namespace(target.pid, proc)
            self._net: InterfaceCounters = self._netns if isinstance(self._netns, Missing) else Missing.UNSUPPORTED
            self._net_shared = self._netns == networks.host
            self._own_netns = self._netns if isinstance(self._netns, int) and not self._net_shared else 0
            own = own_cgroup.own_part(self._cgroup, hierarchies)
            self.reader = CgroupReader(own, inherited, keep=keep)
            self._writes = process_writes.of_cgroup(own, proc)
        except BaseException:
            self._close_pidfd()
            raise

    @property
    def descriptors(self) -> int:
        return self.reader.descriptors + (self.pidfd >= 0)

    def seems_gone(self) -> bool:
        """For hosts without pidfds: whether the process has no entry in /proc."""
        return self.pidfd < 0 and not os.path.exists(f"{self._proc}/{self.target.pid}")  # noqa: PTH110  (speed)

    def moved(self) -> bool:
        """Whether the process has moved to another cgroup (not a descendant) or network namespace since the start."""
        if network.network_namespace(self.target.pid, self._proc) != self._netns:
            return True
        text = self._read_proc_cgroup()
        if text and text == self._proc_cgroup:
            return False
        target = self.target
        now = own_cgroup.cgroup_of_process(self._hierarchies, target.pid, within=target.cgroup, proc=self._proc)
        if now != self._cgroup and not _is_below(now, self._cgroup):
            return True
        self._proc_cgroup = text
        return False

    def _read_proc_cgroup(self) -> bytes:
        """/proc/<pid>/cgroup; empty when it cannot be read."""
        try:
            fd = os.open(f"{self._proc}/{self.target.pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(fd, PROC_CGROUP_BYTES)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def refresh(self) -> None:
        """Read everything once. Raises `CgroupGone` when the cgroup was removed."""
        self._read_ns = time.monotonic_ns()
        self.reader.refresh()
        if self._own_netns:
            self._net = self._networks.counters(self.target.pid, self._own_netns)
        if self.target.cgroup == own_cgroup.NO_OWN:
            self._of_processes = cpu_and_threads(self.target.pid, self._proc)

    def sample(self) -> Sample:
        """What the last `refresh` found."""
        sample = self.reader.sample(self._read_ns, self._net, self._net_shared, self._writes)
        if self._of_processes is None:
            return sample
        cpu, pids = self._of_processes
        return sample._replace(cpu=cpu, pids=pids)

    def usage(self, sample: Sample, ncpu: int) -> Usage:
        """The usage since the sample of the previous call."""
        previous, self._previous = self._previous, sample
        return derive(previous, sample, ncpu)

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
