"""The counters of one cgroup: which of its files are read in which sweep, and the sample that they make.

Which file holds which counter is in `collectors.sampling.layout`, when it is read in `collectors.sampling.read_rules`.
A file whose bytes did not change is not parsed again. Absent (ENOENT) and denied (EACCES) files give `Missing` with
that reason; a cgroup that was removed (ENODEV) raises `CgroupGone`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from collectors.sampling import block_layers, parse, sample_parts
from collectors.sampling.counter_source import Batch, CounterSource, CounterValues
from collectors.sampling.inherited_limits import InheritedLimits, tightest
from collectors.sampling.layout import (
    CPU_PART,
    IO_BYTES,
    IO_PART,
    MEMORY_PART,
    OOM,
    PEAK,
    PERIOD,
    PIDS,
    PIDS_MAX,
    PSI_PART,
    QUOTA,
    QUOTA_PART,
    SHARING_PART,
    STAT,
    SWAP,
    V1_STAT_SLOTS,
    CounterFile,
    files_to_open,
)
from collectors.sampling.memory_events import MemoryEvents
from collectors.sampling.parents import Parents
from collectors.sampling.process_writes import ProcessWrites
from collectors.sampling.read_rules import (
    LIMIT_SLOTS,
    SOMETIMES_SLOTS,
    STALL_SLOTS,
    WEIGHT_SLOTS,
    is_movement,
    kept_open,
    sometimes_to_read,
)
from collectors.sampling.sample import (
    CpuCounters,
    IoCounters,
    MemoryGauges,
    NetCounters,
    PressureTotals,
    Sample,
    Sharing,
)
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import UNLIMITED, Missing, Unlimited

NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


class CgroupGone(Exception):  # noqa: N818  (not an error: containers end)
    """The cgroup was removed."""


def _reason(error: OSError) -> Missing:
    return Missing.DENIED if error.errno in {errno.EACCES, errno.EPERM} else Missing.UNSUPPORTED


class CgroupReader:
    """Reads one cgroup; for one thread at a time.

    In each sweep its movement files are read first, by `read_movement` or elsewhere; then, as needed, `read_moved`,
    `read_limits` or `read_at_rest`; then `sample`. `read_all` is for the first time.

    Attributes:
        generation: inode of the cgroup's directory; another one means a new cgroup.
        above: the inherited limits that hold for it.
        movement: the files that tell whether it is at rest.
    """

    def __init__(self, cgroup: Cgroup, inherited: InheritedLimits, parents: Parents, *, keep: bool = True) -> None:
        """Open the files that stay open. `keep=False` opens each for every read, for when descriptors are scarce.

        Raises `CgroupGone` when there were directories and none of them exists, `OSError` when descriptors ran out.
        """
        self.generation = 0
        self._directory = ""
        self.movement: list[CounterSource] = []
        self._others: list[CounterSource] = []  # read when it has moved
        self._sometimes: dict[int, CounterSource] = {}  # by slot
        self._stalls: dict[int, CounterSource] = {}  # by slot: totals of memory and io pressure
        self._limits: list[CounterSource] = []
        self._batch: Batch | None = None  # of `_others`; made anew when one of these was opened or closed
        self._opened_each_time: tuple[CounterSource, ...] = ()
        self._values = CounterValues()
        self._parents = parents
        self._cpu = CpuCounters()
        self._cpu_limit: float | Unlimited | Missing = Missing.UNSUPPORTED
        self._memory = MemoryGauges()
        self._io: Mapping[str, IoCounters] | Missing = Missing.UNSUPPORTED
        self._pressure: Mapping[str, PressureTotals] = {}
        self._sharing = Sharing()
        self._inherited = inherited
        self._inherited_version = -1
        directories = files_to_open(cgroup)
        self._kept = kept_open([file for _, files in directories for file in files])
        try:
            for directory, files in directories:
                self._open(directory, files, self._kept if keep else frozenset())
        except OSError:
            self.close()
            raise
        if directories and not self.generation:
            raise CgroupGone(str(directories[0][0]))
        self._above_cpu = inherited.above_cpu(cgroup)
        self._above_memory = inherited.above_memory(cgroup)
        self._above_cpus = inherited.above_cpus(cgroup)
        self.above = self._above_cpu + self._above_memory + self._above_cpus

    def _open(self, directory: Path, files: tuple[CounterFile, ...], kept: frozenset[int]) -> None:
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
            name = str(directory)
            for file in files:
                source = CounterSource(file, name, self._parents, self._values)
                if file.slot in kept:
                    try:
                        source.fd = os.open(file.name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
                    except OSError as error:
                        self._note_unreadable(error, (file,))
                        continue
                if file.slot in SOMETIMES_SLOTS:
                    self._sometimes[file.slot] = source
                elif file.slot in STALL_SLOTS:
                    self._stalls[file.slot] = source
                else:
                    self._group(file).append(source)
        finally:
            os.close(folder)

    def _group(self, file: CounterFile) -> list[CounterSource]:
        if is_movement(file):
            return self.movement
        return self._limits if file.slot in LIMIT_SLOTS else self._others

    def _note_unreadable(self, error: OSError, files: tuple[CounterFile, ...]) -> None:
        """Store why files cannot be read. Raises when descriptors ran out."""
        if error.errno in NO_DESCRIPTORS:
            raise error
        for file in files:
            self._values.slots[file.slot] = file.missing_value(_reason(error))
            self._values.dirty |= file.part

    def _sources(self) -> Iterable[CounterSource]:
        return (*self.movement, *self._others, *self._stalls.values(), *self._sometimes.values(), *self._limits)

    @property
    def descriptors(self) -> int:
        """How many descriptors are open."""
        return sum(1 for source in self._sources() if source.fd >= 0)

    @property
    def parents(self) -> set[str]:
        """The directories above its own."""
        return {source.directory for source in self._sources()}

    @property
    def keeps(self) -> bool:
        """Whether all movement files are open."""
        return all(source.fd >= 0 for source in self.movement)

    @property
    def changed(self) -> bool:
        """Whether something that was read since the last `sample` differs from what was read before."""
        return self._values.dirty != 0

    def close(self) -> None:
        """Close every descriptor; from now on each file is opened for every read. May be called twice."""
        self._batch = None
        for source in self._sources():
            source.close()

    def keep_open(self) -> None:
        """Open again what `close` closed; nothing stays open when descriptors ran out. Raises `CgroupGone`."""
        self._batch = None
        try:
            for source in self._sources():
                if source.file.slot in self._kept and source.fd < 0:
                    source.open()
        except OSError:
            self.close()
        self._check_generation()

    def read_movement(self) -> bool:
        """Read the movement files. Returns whether any of them moved. Raises `CgroupGone`: the cgroup was removed."""
        if not self.keeps:
            self._check_generation()
        moved = False
        for source in tuple(self.movement):
            moved |= self._read(source)
        return moved

    def read_stalls(self, slots: Collection[int]) -> bool:
        """Read those totals of memory and io pressure. Returns whether any of them moved."""
        moved = [self._read(self._stalls[slot]) for slot in slots if slot in self._stalls]
        return any(moved)

    def read_moved(self, stalls: Collection[int] = STALL_SLOTS) -> None:
        """Read what can have changed in a container that has moved; its movement files were read before.

        `stalls`: the slots of `STALL_SLOTS` of which the host's total has moved.
        """
        slots = self._values.slots
        counted = slots[IO_BYTES]
        self._read_others()
        if stalls:
            self.read_stalls(stalls)
        for slot in sometimes_to_read(slots, io_moved=slots[IO_BYTES] is not counted):
            if slot in self._sometimes:
                self._read(self._sometimes[slot])

    def _read_others(self) -> None:
        """Read the files that are read whenever it has moved, at once those that are open."""
        batch = self._batch
        if batch is None:
            batch = self._batch = Batch([source for source in self._others if source.fd >= 0])
            self._opened_each_time = tuple(source for source in self._others if source.fd < 0)
        try:
            batch.read()
        except OSError:
            self._batch = None
            self._read_all_of(batch.sources)
        for source in self._opened_each_time:
            self._read(source)

    def read_limits(self, *, moved: bool, written: bool = True) -> None:
        """Read the limits that are set for this cgroup itself; `moved`: `read_moved` was done before.

        `written` is false when nobody has written any.
        """
        if not moved and len(self._values.slots[STAT]) == V1_STAT_SLOTS:
            self._read_all_of([source for source in self._others if source.file.slot == STAT])
        for source in tuple(self._limits):
            slot = source.file.slot
            if not written and slot in WEIGHT_SLOTS:
                continue
            if slot != PERIOD or self._values.slots[QUOTA] is not UNLIMITED or not source.last:
                self._read(source)

    def read_at_rest(self) -> None:
        """Read what may have changed also while it did not move, and the peak, which may have come and gone."""
        self.read_moved()
        self.read_limits(moved=True, written=False)
        self._read_all_of([source for slot, source in self._sometimes.items() if slot == PEAK])

    def read_events(self, events: MemoryEvents) -> None:
        """Read what changes only by such events of the whole host."""
        self._read_all_of(
            source
            for slot, source in self._sometimes.items()
            if (slot == OOM and events.killed) or (slot == SWAP and events.swapped)
        )

    def read_all(self) -> None:
        """Read every file that is no movement file."""
        self._read_others()
        self.read_stalls(STALL_SLOTS)
        self._read_all_of(self._sometimes.values())
        self._read_all_of(self._limits)

    def _read_all_of(self, sources: Iterable[CounterSource]) -> None:
        for source in tuple(sources):
            self._read(source)

    def _read(self, source: CounterSource) -> bool:
        """Read one file. Returns whether its value changed."""
        try:
            changed = source.read()
        except OSError as error:
            self._drop(source, error)
            return True
        if changed and source.fd >= 0:
            self._batch = None  # it compares with what it has read itself
        return changed

    def _check_generation(self) -> None:
        """Raise `CgroupGone` when the cgroup was removed, also if there is another one of the same name."""
        if not self._directory:
            return
        try:
            inode = os.stat(self._directory).st_ino
        except OSError as error:
            raise CgroupGone(self._directory) from error
        if inode != self.generation:
            raise CgroupGone(self._directory)

    def _drop(self, source: CounterSource, error: OSError) -> None:
        """Stop reading a file that failed: its cgroup was removed (ENODEV), or PSI was switched off for it."""
        if error.errno == errno.ENODEV:
            raise CgroupGone(self._directory) from error
        if error.errno in NO_DESCRIPTORS:
            raise error
        self._check_generation()
        self._batch = None
        slot = source.file.slot
        if self._sometimes.pop(slot, None) is None and self._stalls.pop(slot, None) is None:
            self._group(source.file).remove(source)
        source.close()
        self._note_unreadable(error, (source.file,))

    def sample(
        self,
        at_ns: int,
        net: Mapping[str, NetCounters] | Missing = Missing.UNSUPPORTED,
        net_shared: bool = False,
        writes: ProcessWrites | None = None,
    ) -> Sample:
        """What was read last, with the given network counters; unchanged parts are the same objects.

        `writes` reads the processes of a container on v1 that has used CPU time since.
        """
        values = self._values.slots
        dirty, self._values.dirty = self._values.dirty, 0
        if dirty & CPU_PART:
            self._cpu = sample_parts.cpu(values)
        if dirty & PSI_PART:
            self._pressure = sample_parts.pressure(values)
        if dirty & IO_PART:
            self._io = block_layers.LAYERS.mark(sample_parts.io(values))
        if self._inherited_version != self._inherited.version:
            dirty |= QUOTA_PART | MEMORY_PART | SHARING_PART
            self._inherited_version = self._inherited.version
        if dirty & QUOTA_PART:
            quota = values[QUOTA]
            own = quota if isinstance(quota, float) else parse.cores(quota, values[PERIOD])
            self._cpu_limit = tightest(own, self._above_cpu)
        if dirty & MEMORY_PART:
            self._memory = sample_parts.memory(values, self._above_memory)
        if dirty & SHARING_PART:
            self._sharing = sample_parts.sharing(values, self._above_cpus)
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
            self._sharing,
        )
