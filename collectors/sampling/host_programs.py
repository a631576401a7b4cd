"""The programs of the host outside all containers that are measured, while a container waits for what they may hold.

/proc is scanned only while a container waits for CPU or a block device and the host uses noticeably more of it
than the measured containers together; then at most once in `SCAN_INTERVAL_S`. Two scans make a rate, so the second one
follows in the next sweep. A process in a measured container is read once, one that stood still in every few scans.
Source: proc_pid_stat(5), proc_pid_io(5), proc_pid_cgroup(5), sched(7), include/linux/sched.h.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final

from collectors.sampling import parse, parse_sharing
from collectors.sampling.frame import HostProgram, HostUsage, IoRates, Usage
from runtime.kernel import cgroupfs, systemd
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import Missing

MIN_WAIT_SHARE: Final = 0.1  # of the interval, in which some task of a container waited
MIN_UNMEASURED_CORES: Final = 0.1
MIN_UNMEASURED_BYTES_PER_S: Final = 1 << 20
SCAN_INTERVAL_S: Final = 2.0
SECOND_SCAN_S: Final = 0.5  # after the first one, at the earliest
FORGET_S: Final = 10.0  # without a scan: what was seen before says nothing about now
MAX_PROGRAMS: Final = 10
MAX_BY_BYTES: Final = 5  # of these, while somebody waits for a block device
MAX_SCANS_APART: Final = 4  # a process that used no CPU is read in every so many scans
MAX_READS: Final = 1000  # of processes that used none, in one scan
READ_BYTES: Final = 4096
NS_PER_S: Final = 1_000_000_000

_PF_KTHREAD: Final = 0x00200000
_SCHED_IDLE: Final = 5
_STAT: Final = itemgetter(1, 6, 11, 12, 19, 38)  # from the state on: ppid, flags, utime, stime, starttime, policy


@dataclass(frozen=True, slots=True)
class Places:
    """Where the measured containers are: directories of their cgroups; of those without one, the first process."""

    directories: frozenset[str]
    pids: frozenset[int]


@dataclass(slots=True, kw_only=True)
class _Process:
    """One process outside, as of the last scan at it; rates are None before the second one."""

    name: str
    start_ticks: int
    ticks: int
    at_ns: int
    idle_class: bool
    cores: float | None = None
    bytes: tuple[int, int] | None = None  # read and written
    byte_rates: tuple[float, float] | None = None


class HostPrograms:
    """Finds them; for one thread at a time."""

    def __init__(self, hierarchies: Hierarchies, proc: Path = Path("/proc")) -> None:
        self._hierarchies = hierarchies
        self._proc = str(proc)
        self._places = Places(frozenset(), frozenset())
        self._inside: set[str] = set()  # pids in measured containers
        self._where: dict[bytes, tuple[bool, str]] = {}  # by /proc/PID/cgroup: in a container, and the unit
        self._seen: dict[str, _Process] = {}
        self._scans = 0
        self._last_ns = 0
        self._last_boot_ticks = 0
        self._found: tuple[HostProgram, ...] = ()

    def is_due(self, now_ns: int) -> bool:
        """Whether it is time for another scan."""
        interval = SECOND_SCAN_S if self._scans == 1 else SCAN_INTERVAL_S
        return not self._scans or now_ns - self._last_ns >= interval * NS_PER_S

    def stop(self) -> None:
        """Nobody waits: there is nothing to tell until somebody does again."""
        self._found = ()

    @property
    def found(self) -> tuple[HostProgram, ...]:
        """The largest users of CPU, the largest first, as of the last scan."""
        return self._found

    def scan(self, now_ns: int, places: Places, *, io: bool) -> None:
        """Look through /proc. `io`: bytes count too, as somebody waits for a block device."""
        if now_ns - self._last_ns > FORGET_S * NS_PER_S:
            self._scans, self._last_boot_ticks, self._seen, self._inside = 0, 0, {}, set()
        if places != self._places:
            self._places, self._inside, self._where = places, set(), {}
        self._scans += 1
        boot_ticks = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // parse.NS_PER_TICK
        seen: dict[str, _Process] = {}
        pids = [name for name in os.listdir(self._proc) if name.isdigit()]
        if places.pids:
            pids.sort(key=int)  # a parent is older: known before its children
        period = len(pids) // MAX_READS
        for pid in pids:
            if pid in self._inside:
                continue
            before = self._seen.get(pid)
            rounds = period if before is None else max(MAX_SCANS_APART, period) if before.cores == 0.0 else 0
            if rounds > 1 and (int(pid) + self._scans) % rounds:
                if before is not None:
                    seen[pid] = before
                continue
            now = self._read(pid, before, now_ns, io=io)
            if now is not None:
                seen[pid] = now
        self._inside.intersection_update(pids)
        self._seen, self._last_ns, self._last_boot_ticks = seen, now_ns, boot_ticks
        found = (self._program(pid, process) for pid, process in _largest(seen, io=io))
        self._found = tuple(program for program in found if program is not None)

    def _read(self, pid: str, before: _Process | None, now_ns: int, *, io: bool) -> _Process | None:
        """One process; None when it has ended, may not be read or belongs to a measured container."""
        if before is None and self._place(pid)[0]:
            return None
        try:
            text = _read(f"{self._proc}/{pid}/stat")
            end = text.rindex(b")")
            name, words = text[text.index(b"(") + 1 : end], text[end + 1 :].split()
            parent, *numbers = _STAT(words)
            flags, user, system, start, policy = map(int, numbers)
        except (OSError, ValueError, IndexError):
            return None
        ticks, idle_class = user + system, policy == _SCHED_IDLE
        shown = name.decode("utf-8", "backslashreplace")
        shown = f"[{shown}]" if flags & _PF_KTHREAD else shown
        if before is not None and before.start_ticks != start:  # another process with its pid
            before = None
            if self._place(pid)[0]:
                return None
        if before is None:
            if self._places.pids and parent.decode() in self._inside:
                self._inside.add(pid)
                return None
            now = _Process(
                name=shown,
                start_ticks=start,
                ticks=ticks,
                at_ns=now_ns,
                idle_class=idle_class,
            )
            if self._last_boot_ticks and start > self._last_boot_ticks:  # all that it used was since the last scan
                now.cores = ticks * parse.NS_PER_TICK / max(1, now_ns - self._last_ns)
            return now
        elapsed_ns = max(1, now_ns - before.at_ns)
        before.cores = max(0, ticks - before.ticks) * parse.NS_PER_TICK / elapsed_ns
        moved = _bytes(f"{self._proc}/{pid}/io") if io and before.cores else None
        before.byte_rates = None
        if moved is not None and before.bytes is not None:
            got, put = (max(0, new - old) * NS_PER_S / elapsed_ns for new, old in zip(moved, before.bytes, strict=True))
            before.byte_rates = got, put
        before.bytes, before.ticks, before.at_ns = moved, ticks, now_ns
        before.name, before.idle_class = shown, idle_class
        return before

    def _place(self, pid: str) -> tuple[bool, str]:
        """Whether a process is in a measured container by its cgroup, and its unit."""
        try:
            text = _read(f"{self._proc}/{pid}/cgroup")
        except OSError:
            return False, ""
        found = self._where.get(text)
        if found is None:
            found = self._where[text] = self._is_inside(text), unit_of(text)
        if found[0] or int(pid) in self._places.pids:
            self._inside.add(pid)
            return True, found[1]
        return found

    def _is_inside(self, text: bytes) -> bool:
        """Whether a cgroup, or one above it, is a measured container's in any hierarchy."""
        v1, unified = cgroupfs.parse_proc_cgroup(text.decode("utf-8", "surrogateescape"))
        places = [(self._hierarchies.v1.get(name), path) for name, path in v1.items()]
        places.append((self._hierarchies.unified, unified or "/"))
        directories = self._places.directories
        for mount, path in places:
            if mount is None or path == "/":
                continue
            directory = f"{mount.path}{path}" if mount.root == "/" else str(mount.of(path) or "")
            while directory:
                if directory in directories:
                    return True
                directory = directory.rpartition("/")[0]
        return False

    def _program(self, pid: str, process: _Process) -> HostProgram | None:
        """What is told of it; None when it has moved into a measured container since it was first seen."""
        inside, unit = self._place(pid)
        if inside:
            return None
        got, put = process.byte_rates or (Missing.NOT_SAMPLED, Missing.NOT_SAMPLED)
        return HostProgram(
            pid=int(pid),
            name=process.name,
            unit=unit,
            cpu=process.cores or 0.0,
            cpus=_allowed(f"{self._proc}/{pid}/status"),
            idle_class=process.idle_class,
            read_bytes=got,
            write_bytes=put,
        )


def waits(usages: Collection[Usage], resource: str) -> bool:
    """Whether some task of a container waited noticeably for a resource ("cpu", "io")."""
    for usage in usages:
        pressure = usage.pressure.get(resource)
        if pressure is not None and isinstance(pressure.some, float) and pressure.some > MIN_WAIT_SHARE:
            return True
    return False


def unmeasured_cpu(host: HostUsage, usages: Iterable[Usage]) -> bool:
    """Whether the host uses noticeably more CPU than these containers together."""
    if isinstance(host.cpu, Missing):
        return False
    return host.cpu - sum(usage.cpu for usage in usages if isinstance(usage.cpu, float)) > MIN_UNMEASURED_CORES


def unmeasured_io(host: HostUsage, usages: Iterable[Usage]) -> bool:
    """Whether noticeably more goes through the host's disks than what these containers read and write."""
    total = sum(each for each in (host.io_read, host.io_write) if isinstance(each, float))
    for usage in usages:
        if isinstance(usage.io, IoRates):
            written = usage.io.write_bytes
            total -= usage.io.read_bytes + (written if isinstance(written, float) else 0.0)
    return total > MIN_UNMEASURED_BYTES_PER_S


def unit_of(text: bytes) -> str:
    """The unit or login session of a process, by its /proc/PID/cgroup: the innermost one that is no slice; else ""."""
    unit = systemd.unit_of(unit_path(text))
    return "" if unit is None else unit.name


def unit_path(text: bytes) -> str:
    """The path of that unit's cgroup; "" where there is none."""
    path = ""
    for line in text.decode("utf-8", "backslashreplace").splitlines():
        number, _, rest = line.partition(":")
        names, _, where = rest.partition(":")
        if names == "name=systemd" or (number == "0" and not names and not path):
            path = where if where != "/" else path
    while path.strip("/"):
        unit = systemd.unit_of(path)
        if unit is not None and not unit.name.endswith(".slice"):
            return path
        path = path.rpartition("/")[0]
    return ""


def _largest(seen: dict[str, _Process], *, io: bool) -> list[tuple[str, _Process]]:
    """Those that used most CPU; with `io`, some that moved most bytes are among them."""
    busy = [(pid, process) for pid, process in seen.items() if process.cores]
    movers = [(pid, process) for pid, process in busy if process.byte_rates and sum(process.byte_rates)]
    chosen = dict(heapq.nlargest(MAX_BY_BYTES, movers, key=lambda each: sum(each[1].byte_rates or ())) if io else ())
    by_cpu = heapq.nlargest(MAX_PROGRAMS, busy, key=lambda each: each[1].cores or 0.0)
    for pid, process in by_cpu:
        if len(chosen) < MAX_PROGRAMS:
            chosen[pid] = process
    return sorted(chosen.items(), key=lambda each: -(each[1].cores or 0.0))


def _allowed(path: str) -> frozenset[int]:
    """Where a process may run; empty when it has ended."""
    try:
        text = _read(path)
    except OSError:
        return frozenset()
    at = text.find(b"\nCpus_allowed_list:")
    found = parse_sharing.cpu_list(text[at:].split(b"\n", 2)[1].partition(b":")[2].strip()) if at >= 0 else frozenset()
    return frozenset() if isinstance(found, Missing) else found


def _bytes(path: str) -> tuple[int, int] | None:
    """Bytes read from and written to block devices; None when they may not be read."""
    try:
        words = _read(path).split()
        pairs = dict(zip(words[::2], words[1::2], strict=True))
        return int(pairs[b"read_bytes:"]), int(pairs[b"write_bytes:"])
    except (OSError, ValueError, KeyError):
        return None


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, READ_BYTES)
    finally:
        os.close(fd)
