"""The counters of one cgroup, read in every sweep through descriptors that stay open.

Which file holds which counter is in `collectors.sampling.layout`; `CgroupReader` opens them once and reads them with
`pread`. A file whose bytes did not change is not parsed again. Absent (ENOENT) and denied (EACCES) files give `Missing`
with that reason; a cgroup that was removed (ENODEV) raises `CgroupGone`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from itertools import compress, count, repeat
from operator import ne
from pathlib import Path
from typing import Any

from collectors.sampling import block_layers, parse
from collectors.sampling.inherited_limits import InheritedLimit, InheritedLimits, tightest
from collectors.sampling.layout import (
    ALL_PARTS,
    CPU_PART,
    CURRENT,
    EMPTY_SLOTS,
    IO_BYTES,
    IO_OPS,
    IO_PART,
    MAX,
    MEDIUM_BYTES,
    MEMORY_PART,
    OOM,
    PEAK,
    PERIOD,
    PERIODS,
    PIDS,
    PIDS_MAX,
    PSI_PART,
    QUOTA,
    QUOTA_PART,
    RESOURCES,
    SMALL_BYTES,
    SPLIT,
    STAT,
    SWAP,
    USAGE,
    CounterFile,
    files_to_open,
)
from collectors.sampling.process_writes import ProcessWrites
from collectors.sampling.sample import CpuCounters, IoCounters, MemoryGauges, NetCounters, PressureTotals, Sample
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Missing, Unlimited


class CgroupGone(Exception):  # noqa: N818  (not an error: containers end)
    """The cgroup was removed."""


def _reason(error: OSError) -> Missing:
    return Missing.DENIED if error.errno in {errno.EACCES, errno.EPERM} else Missing.UNSUPPORTED


class CgroupReader:
    """Reads one cgroup; for one thread at a time.

    Attributes:
        generation: inode of the cgroup's directory; another one means a new cgroup.
        above: the inherited limits that hold for it.
    """

    def __init__(self, cgroup: Cgroup, inherited: InheritedLimits, *, keep: bool = True) -> None:
        """Open the files. `keep=False` opens and closes each at every read, for when descriptors are scarce.

        Raises `CgroupGone` when there were directories and none of them exists, `OSError` when descriptors ran out.
        """
        self.generation = 0
        self._directory = ""
        self._files: list[CounterFile] = []
        self._fds: list[int] = []  # -1 where the file is not kept open
        self._sizes: list[int] = []  # bytes to ask for
        self._paths: list[str] = []
        self._last: list[bytes] = []
        self._values: list[Any] = list(EMPTY_SLOTS)
        self._keep_open = keep
        self._cpu = CpuCounters()
        self._cpu_limit: float | Unlimited | Missing = Missing.UNSUPPORTED
        self._memory = MemoryGauges()
        self._io: Mapping[str, IoCounters] | Missing = Missing.UNSUPPORTED
        self._pressure: Mapping[str, PressureTotals] = {}
        self._dirty = ALL_PARTS
        self._inherited = inherited
        self._inherited_version = -1
        directories = files_to_open(cgroup)
        try:
            for directory, files in directories:
                self._open(directory, files, keep=keep)
        except OSError:
            self.close()
            raise
        if directories and not self.generation:
            raise CgroupGone(str(directories[0][0]))
        self._above_cpu = inherited.above_cpu(cgroup)
        self._above_memory = inherited.above_memory(cgroup)
        self.above = self._above_cpu + self._above_memory

    def _open(self, directory: Path, files: tuple[CounterFile, ...], *, keep: bool) -> None:
        """Open files relative to their directory, which is closed again."""
        try:
            folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._note_unreadable(error, files)
            return
        try:
            if not self.generation:
                self.generation = os.fstat(folder).st_ino
                self._directory = str(directory)
            for file in files:
                try:
                    fd = os.open(file.name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
                except OSError as error:
                    self._note_unreadable(error, (file,))
                    continue
                if not keep:
                    os.close(fd)
                self._files.append(file)
                self._paths.append(f"{directory}/{file.name}")
                self._fds.append(fd if keep else -1)
                self._sizes.append(file.size)
                self._last.append(b"")
        finally:
            os.close(folder)

    def _note_unreadable(self, error: OSError, files: tuple[CounterFile, ...]) -> None:
        """Store why files cannot be read. Raises when descriptors ran out."""
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise error
        for file in files:
            self._values[file.slot] = file.missing_value(_reason(error))

    @property
    def descriptors(self) -> int:
        """How many descriptors are open."""
        return sum(1 for fd in self._fds if fd >= 0)

    def close(self) -> None:
        """Close every descriptor; may be called twice."""
        fds, self._fds = self._fds, []
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def refresh(self) -> None:
        """Read every file once and parse those that changed. Raises `CgroupGone` when the cgroup was removed."""
        if not self._keep_open:
            self._refresh_by_opening()
            return
        try:
            texts = list(map(os.pread, self._fds, self._sizes, repeat(0)))
        except OSError:
            self._drop_unreadable()
            self.refresh()
            return
        for index in compress(count(), map(ne, texts, self._last)):
            data = texts[index]
            if len(data) < self._sizes[index] <= MEDIUM_BYTES:
                self._last[index] = data
                file = self._files[index]
                self._values[file.slot] = file.parse(data)
                self._dirty |= file.part
            else:
                self._parse_changed(index, self._fds[index], data)

    def _drop_unreadable(self) -> None:
        """Drop the files that cannot be read any more."""
        for index in reversed(range(len(self._fds))):  # from the end: a file that fails leaves the list
            try:
                os.pread(self._fds[index], self._sizes[index], 0)
            except OSError as error:
                self._drop(index, error)

    def _refresh_by_opening(self) -> None:
        try:
            inode = os.stat(self._directory).st_ino if self._directory else 0
        except OSError as error:
            raise CgroupGone(self._directory) from error
        if inode != self.generation:
            raise CgroupGone(self._directory)
        for index in reversed(range(len(self._paths))):  # from the end: a file that fails leaves the list
            try:
                fd = os.open(self._paths[index], os.O_RDONLY | os.O_CLOEXEC)
                try:
                    data = os.pread(fd, self._sizes[index], 0)
                    if data != self._last[index]:
                        self._parse_changed(index, fd, data)
                finally:
                    os.close(fd)
            except OSError as error:
                self._drop(index, error)

    def _parse_changed(self, index: int, fd: int, data: bytes) -> None:
        """Parse new content of one file, after reading more where it is longer than expected.

        The next read asks for a quarter more than there is now: the buffer of a read has the size asked for.
        """
        size = self._sizes[index]
        if len(data) == size or size > MEDIUM_BYTES:
            while len(data) == size:
                size *= 2
                data = os.pread(fd, size, 0)
            self._sizes[index] = min(size, (len(data) * 5 // 4 // SMALL_BYTES + 1) * SMALL_BYTES)
        self._last[index] = data
        file = self._files[index]
        self._values[file.slot] = file.parse(data)
        self._dirty |= file.part

    def _drop(self, index: int, error: OSError) -> None:
        """Stop reading a file that failed: its cgroup was removed (ENODEV), or PSI was switched off for it."""
        if error.errno == errno.ENODEV:
            raise CgroupGone(self._directory) from error
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise error
        file = self._files.pop(index)
        fd = self._fds.pop(index)
        del self._sizes[index], self._paths[index], self._last[index]
        if fd >= 0:
            os.close(fd)
        self._values[file.slot] = file.missing_value(_reason(error))
        self._dirty |= file.part

    def sample(
        self,
        at_ns: int,
        net: Mapping[str, NetCounters] | Missing = Missing.UNSUPPORTED,
        net_shared: bool = False,
        writes: ProcessWrites | None = None,
    ) -> Sample:
        """What the last `refresh` read, with the given network counters; unchanged parts are the same objects.

        `writes` reads the processes of a container on v1 that has used CPU time since.
        """
        dirty, self._dirty = self._dirty, 0
        values = self._values
        if dirty & CPU_PART:
            self._cpu = _cpu(values)
        if dirty & PSI_PART:
            self._pressure = _pressure(values)
        if dirty & IO_PART:
            self._io = block_layers.LAYERS.mark(_io(values))
        if self._inherited_version != self._inherited.version:
            dirty |= QUOTA_PART | MEMORY_PART
            self._inherited_version = self._inherited.version
        if dirty & QUOTA_PART:
            quota = values[QUOTA]
            own = quota if isinstance(quota, float) else parse.cores(quota, values[PERIOD])
            self._cpu_limit = tightest(own, self._above_cpu)
        if dirty & MEMORY_PART:
            self._memory = _memory(values, self._above_memory)
        return Sample(
            at_ns,
            self.generation,
            self._cpu,
            self._cpu_limit,
            self._memory,
            values[PIDS],
            values[PIDS_MAX],
            self._io,
            net,
            net_shared,
            self._pressure,
            None if writes is None else writes.read(self._cpu.usage_ns, self._io),
        )


def _cpu(values: list[Any]) -> CpuCounters:
    usage = values[USAGE]
    if not isinstance(usage, tuple):  # v1: cpuacct
        return CpuCounters(usage, *values[SPLIT], *values[PERIODS])
    return CpuCounters(*usage) if len(usage) == 6 else CpuCounters(*usage, *values[PERIODS])


def _memory(values: list[Any], above: Sequence[InheritedLimit]) -> MemoryGauges:
    current, stat = values[CURRENT], values[STAT]
    if len(stat) == 6:  # v1 has swap and limit in memory.stat
        anon, file, shared, inactive_file, swap, limit = stat
    else:
        anon, file, shared, inactive_file = stat
        swap, limit = values[SWAP], values[MAX]
    working_set = inactive_file
    if not isinstance(current, int):
        working_set = current
    elif isinstance(inactive_file, int):
        working_set = current - inactive_file if current > inactive_file else 0
    return MemoryGauges(  # the first by position: twice as fast, and this is done for every container in every sweep
        current,
        working_set,
        anon,
        file,
        shared,
        swap,
        peak=values[PEAK],
        limit=tightest(limit, above),
        oom_kills=values[OOM],
    )


def _pressure(values: list[Any]) -> Mapping[str, PressureTotals]:
    """By resource; one that this kernel does not have is left out, one that may not be read is DENIED."""
    found: dict[str, PressureTotals] = {}
    for slot, name in RESOURCES:
        value = values[slot]
        if value is not Missing.UNSUPPORTED:
            found[name] = PressureTotals(value, value) if isinstance(value, Missing) else value
    return found


def _io(values: list[Any]) -> Mapping[str, IoCounters] | Missing:
    sizes: Mapping[str, Any] | Missing = values[IO_BYTES]
    counts: Mapping[str, Any] | Missing = values[IO_OPS]
    if isinstance(sizes, Missing):
        return sizes
    if isinstance(counts, Missing):  # v2 has all in one file; on v1 both files are needed
        return counts if any(isinstance(pair, tuple) for pair in sizes.values()) else sizes
    return parse.merge_io_v1(sizes, counts)
