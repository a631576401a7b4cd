"""The host's block devices: /proc/diskstats, of which only a line that has changed is parsed.

Source: Documentation/admin-guide/iostats.rst, Documentation/ABI/testing/procfs-diskstats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from collectors.sampling.frame import DiskLatency
from collectors.sampling.rates import rate
from runtime.model import Missing

SECTOR_BYTES: Final = 512  # of these counters, whatever the device's own sectors are
MS_PER_S: Final = 1000
MIN_WORDS: Final = 14  # of a line; newer kernels add discards and flushes
NO_REQUESTS: Final = DiskLatency(queue=0.0, busy=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskCounters:
    """Counters of one device. `queue_ms`: time of all requests together; `busy_ms`: time with any under way."""

    name: str
    reads: int
    read_bytes: int
    read_ms: int
    writes: int
    write_bytes: int
    write_ms: int
    busy_ms: int
    queue_ms: int


Disks = Mapping[str, DiskCounters]
NO_DISKS: Final[Disks] = MappingProxyType({})


class DiskstatsParser:
    """Parses one text after the other; a device whose line is the same has the same counters, the same object."""

    def __init__(self) -> None:
        self._text = b""
        self._lines: dict[bytes, tuple[str, DiskCounters]] = {}
        self._disks: Disks = NO_DISKS

    def parse(self, text: bytes) -> Disks:
        """By "major:minor", the devices that ever had a request. Raises `ValueError` for a line that is none."""
        if text != self._text:
            known = self._lines
            self._lines = {line: known.get(line) or _parse(line) for line in text.split(b"\n") if line.strip()}
            self._disks = {number: disk for number, disk in self._lines.values() if disk.reads or disk.writes}
            self._text = text
        return self._disks


def _parse(line: bytes) -> tuple[str, DiskCounters]:
    words = line.split()
    if len(words) < MIN_WORDS:
        raise ValueError(f"not a line of diskstats: {line.decode(errors='backslashreplace')!r}")
    major, minor, name = (word.decode(errors="backslashreplace") for word in words[:3])
    reads, _, got, read_ms, writes, _, put, write_ms, _, busy_ms, queue_ms = map(int, words[3:MIN_WORDS])
    counters = DiskCounters(
        name=name,
        reads=reads,
        read_bytes=got * SECTOR_BYTES,
        read_ms=read_ms,
        writes=writes,
        write_bytes=put * SECTOR_BYTES,
        write_ms=write_ms,
        busy_ms=busy_ms,
        queue_ms=queue_ms,
    )
    return f"{major}:{minor}", counters


def latencies(before: Disks, after: Disks, seconds: float) -> dict[str, DiskLatency]:
    """What each device did in between; one that has appeared is known from the next sample on."""
    return {number: _latency(before.get(number), now, seconds * MS_PER_S) for number, now in after.items()}


def _latency(before: DiskCounters | None, after: DiskCounters, elapsed_ms: float) -> DiskLatency:
    if before is after:
        return NO_REQUESTS
    if before is None or before.name != after.name:
        return DiskLatency()
    busy = rate(before.busy_ms, after.busy_ms, elapsed_ms)
    return DiskLatency(
        _mean(before.reads, after.reads, before.read_ms, after.read_ms),
        _mean(before.writes, after.writes, before.write_ms, after.write_ms),
        rate(before.queue_ms, after.queue_ms, elapsed_ms),
        busy if isinstance(busy, Missing) else min(1.0, busy),
    )


def _mean(requests_before: int, requests: int, ms_before: int, ms: int) -> float | Missing:
    """Mean time in ms of a finished request; without any there is none."""
    count = requests - requests_before
    return Missing.NOT_SAMPLED if count <= 0 or ms < ms_before else (ms - ms_before) / count
