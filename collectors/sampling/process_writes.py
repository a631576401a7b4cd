"""Bytes that the processes of a container have written to files on disks, from /proc/<pid>/io.

For cgroup v1: there a page that is written back later is charged to the root cgroup, so buffered writes are missing in
blkio. /proc/<pid>/io counts a page when it is dirtied, with the threads and the waited-for children of the process; so
the sum over the living processes keeps what those wrote that have ended, as long as their parents wait for them. What
else ends (a process that came from outside, a child of which nobody wants to know) stays in the sum with what it had at
the last look. Bytes of files that were removed before they got to the disk are included.

What the cgroup was charged for is added only as far as the processes have not written it before: fsync charges it for
pages that were counted when they were dirtied.

Source: proc_pid_io(5), Documentation/admin-guide/cgroup-v1/blkio-controller.rst, kernel/exit.c (wait_task_zombie).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from collectors.sampling.layout import is_root
from collectors.sampling.sample import IoCounters
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Missing

MAX_PROCESSES: Final = 256  # of a container; about 10 us each
MAX_CGROUPS: Final = 64  # of a container, those inside its own
MIN_CPU_NS: Final = 1_000_000  # used since the last look, for another one; writing 1 MiB takes about that
READ_BYTES: Final = 4096
_PROCS: Final = "cgroup.procs"
_KEY: Final = b"\nwrite_bytes: "


class ProcessWrites:
    """The sum for one container; for one thread at a time. It never falls."""

    def __init__(self, directory: Path, proc: Path = Path("/proc")) -> None:
        """`directory` is the container's in the hierarchy of blkio."""
        self._directory = str(directory)
        self._proc = str(proc)
        self._cpu_ns: int | Missing = Missing.NOT_SAMPLED
        self._written: dict[str, int] = {}  # by pid, at the last look
        self._ended = 0  # of processes that ended and that nobody waited for
        self._total: int | Missing = Missing.NOT_SAMPLED
        self._charged: int | Missing = Missing.NOT_SAMPLED
        self._ahead = 0  # bytes that were written and may be charged later
        self._counted = 0

    def read(self, cpu_ns: int | Missing, io: Mapping[str, IoCounters] | Missing) -> int | Missing:
        """Bytes since the first call. `io` is what the cgroup was charged for so far.

        `cpu_ns` is the container's CPU time: while it has used next to none, nothing is read. `Missing.DENIED` when a
        process may not be looked at, `UNSUPPORTED` when there are too many or none is visible.
        """
        before = self._cpu_ns
        if isinstance(before, int) and isinstance(cpu_ns, int) and 0 <= cpu_ns - before < MIN_CPU_NS:
            return self._total if isinstance(self._total, Missing) else self._counted
        self._cpu_ns = cpu_ns
        charged = charged_writes(io)
        total = self._sum()
        if _growth(self._total, total) < 0:
            # A child may have moved into its parent's figure between the reads of the two.
            total = self._sum()
            lost = max(0, -_growth(self._total, total))
            self._ended += lost
            total = total + lost if isinstance(total, int) else total
        written, billed = _growth(self._total, total), max(0, _growth(self._charged, charged))
        self._total, self._charged = total, charged
        self._counted += written + max(0, billed - written - self._ahead)
        self._ahead = max(0, self._ahead + written - billed)
        return total if isinstance(total, Missing) else self._counted

    def _sum(self) -> int | Missing:
        pids = _pids(self._directory)
        if isinstance(pids, Missing):
            return pids
        written: dict[str, int] = {}
        for pid in pids | {pid for pid in self._written.keys() - pids if self._is_zombie(pid)}:
            value = _write_bytes(f"{self._proc}/{pid}/io")
            if value is Missing.GONE:
                continue
            if isinstance(value, Missing):
                return value
            written[pid] = value
        self._written = written
        return self._ended + sum(written.values())

    def _is_zombie(self, pid: str) -> bool:
        """Whether a process that has left its cgroup has ended and is not waited for yet."""
        try:
            text = _read(f"{self._proc}/{pid}/stat")
        except OSError:
            return False
        return text.rpartition(b")")[2].split()[:1] == [b"Z"]


def of_cgroup(cgroup: Cgroup, proc: Path = Path("/proc")) -> ProcessWrites | None:
    """The reader for a container on cgroup v1; None on v2, where the cgroup is charged itself."""
    directory = cgroup.v1.get("blkio")
    return None if directory is None or is_root(directory) else ProcessWrites(directory, proc)


def charged_writes(io: Mapping[str, IoCounters] | Missing) -> int | Missing:
    """The bytes of writes in the counters of a cgroup, each counted once; see `rates`."""
    if isinstance(io, Missing):
        return io
    lowest = sum(each.write_bytes for each in io.values() if not each.stacked)
    return max((lowest, *(each.write_bytes for each in io.values() if each.stacked)))


def _growth(before: int | Missing, after: int | Missing) -> int:
    return after - before if isinstance(before, int) and isinstance(after, int) else 0


def _pids(directory: str) -> set[str] | Missing:
    """The processes of a cgroup and of those inside it."""
    found: set[str] = set()
    waiting = [directory]
    looked = 0
    while waiting:
        current = waiting.pop()
        looked += 1
        try:
            text = _read(f"{current}/{_PROCS}")
            inner = _children(current)
        except PermissionError:
            return Missing.DENIED
        except OSError:
            if current == directory:
                return Missing.GONE
            continue  # removed since it was listed
        found.update(text.decode("ascii", "replace").split())
        waiting += inner
        if len(found) > MAX_PROCESSES or looked + len(waiting) > MAX_CGROUPS or "0" in found:
            return Missing.UNSUPPORTED
    return found


def _children(directory: str) -> Iterable[str]:
    """The directories in a directory; it has two links and one more for each."""
    if os.stat(directory).st_nlink == 2:
        return ()
    with os.scandir(directory) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _write_bytes(path: str) -> int | Missing:
    try:
        data = _read(path)
    except PermissionError:
        return Missing.DENIED
    except FileNotFoundError:  # a kernel without CONFIG_TASK_IO_ACCOUNTING, if the process is there
        return Missing.UNSUPPORTED if Path(path).parent.exists() else Missing.GONE
    except OSError:  # ESRCH
        return Missing.GONE
    at = data.find(_KEY)
    try:
        return int(data[at + len(_KEY) :].split(b"\n", 1)[0]) if at >= 0 else Missing.UNSUPPORTED
    except ValueError:
        return Missing.UNSUPPORTED


def _read(path: str) -> bytes:
    """The beginning of a file, of cgroup.procs more than `MAX_PROCESSES`. A pipe in its place is not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(fd, READ_BYTES)
    finally:
        os.close(fd)
