"""Usage of the host: CPU, memory, load, tasks, disks and PSI from /proc, network by psutil.

Each file is read once, and each source by itself: one that raises costs its own figures only.
psutil is imported where it is used: a command that only lists does without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from collectors.sampling import parse
from collectors.sampling.frame import HostUsage, Pressure
from collectors.sampling.host_disks import NO_DISKS, Disks, DiskstatsParser, latencies
from collectors.sampling.network import external_by_name
from collectors.sampling.rates import NS_PER_S, rate, share
from collectors.sampling.sample import PressureTotals
from runtime.model import Missing

log = logging.getLogger(__name__)

_REPORTED: set[str] = set()  # sources whose failure is in the log already

RESOURCES = ("cpu", "memory", "io")


SHORT_BYTES: Final = 2048  # a shorter one is all: the kernel fills a page before it returns
READ_BYTES: Final = 65_536  # at once; /proc/stat and diskstats have a line or more per CPU, interrupt and disk
SYSCTL_INTERVAL_S: Final = 60.0  # how often the limits of tasks are read again


class _Counters(NamedTuple):
    """What was read at one moment."""

    at_ns: int
    single: Mapping[str, int | Missing]
    stalls: Mapping[str, PressureTotals]
    disks: Disks


def processor_times(data: bytes) -> dict[str, int]:
    """/proc/stat: CPU time in use and stolen, over all processors, in ns, and processes and threads made, since boot.

    Neither iowait nor steal is in use; guest time is in user and nice. Raises `ValueError` without these figures.
    """
    words = data.partition(b"\n")[0].split()
    if len(words) < 9 or words[0] != b"cpu":
        raise ValueError(f"not the first line of /proc/stat: {data[:80]!r}")
    user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
    at = data.find(b"\nprocesses ")
    if at < 0:
        raise ValueError("/proc/stat does not tell how many processes were made")
    return {
        "cpu": (user + nice + system + irq + softirq) * parse.NS_PER_TICK,
        "steal": steal * parse.NS_PER_TICK,
        "forks": int(data[at:].split(None, 2)[1]),
    }


class HostReader:
    """Reads the host's counters and gauges; keeps the previous counters for the rates."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self.ncpu = os.cpu_count() or 1
        self._proc = proc
        self._sys = sys
        self._physical: dict[str, bool] = {}
        self._previous: _Counters | None = None
        self._diskstats = DiskstatsParser()
        self._disks = NO_DISKS
        self._tasks_limit: tuple[int, int | Missing] | None = None

    def read(self, at_ns: int) -> HostUsage:
        """The usage since the previous call; rates are `NOT_SAMPLED` in the first one. `at_ns` is CLOCK_MONOTONIC."""
        problems: dict[str, str] = {}
        counters = {
            **_counters(("cpu", "steal", "forks"), lambda: processor_times(_read(f"{self._proc}/stat")), problems),
            **_counters(("rx", "tx"), self._traffic, problems),
            **_counters(("read", "write"), self._disk_bytes, problems),
        }
        disks = self._disks
        totals = {name: self._stalls(name) for name in RESOURCES}
        rates: dict[str, float | Missing] = {name: _not_yet(now) for name, now in counters.items()}
        pressure = {name: Pressure(_not_yet(now.some_ns), _not_yet(now.full_ns)) for name, now in totals.items()}
        latency = latencies(NO_DISKS, disks, 1.0)
        before = self._previous
        if before is not None and at_ns > before.at_ns:
            elapsed = float(at_ns - before.at_ns)
            rates = {
                name: rate(before.single.get(name, Missing.NOT_SAMPLED), now, elapsed / NS_PER_S)
                for name, now in counters.items()
            }
            pressure = {name: share(before.stalls[name], now, elapsed) for name, now in totals.items()}
            latency = latencies(before.disks, disks, elapsed / NS_PER_S)
        self._previous = _Counters(at_ns, counters, totals, disks)
        load1, tasks = self._load()
        memory_total, memory_free, swap_total, swap_free = self._memory()
        cpu, steal = rates["cpu"], rates["steal"]
        return HostUsage(
            ncpu=self.ncpu,
            cpu=min(float(self.ncpu), cpu / NS_PER_S) if isinstance(cpu, float) else cpu,
            memory_total=memory_total,
            memory_used=max(0, memory_total - memory_free),
            swap_total=swap_total,
            swap_used=max(0, swap_total - swap_free),
            load1=load1,
            net_rx=rates["rx"],
            net_tx=rates["tx"],
            io_read=rates["read"],
            io_write=rates["write"],
            pressure=pressure,
            problems=problems,
            steal=steal / NS_PER_S if isinstance(steal, float) else steal,
            disks=latency,
            tasks=tasks,
            tasks_limit=self._most_tasks(at_ns),
            forks=rates["forks"],
        )

    def _traffic(self) -> dict[str, int]:
        """Bytes through network cards. Bridges, tunnels and veths are left out: they would count it again."""
        import psutil

        cards = psutil.net_io_counters(pernic=True, nowrap=False)
        real = [name for name in cards if self._has_device("class/net", name)]
        chosen = real or external_by_name(name for name in cards if name != "lo")
        return {"rx": sum(cards[n].bytes_recv for n in chosen), "tx": sum(cards[n].bytes_sent for n in chosen)}

    def _disk_bytes(self) -> dict[str, int]:
        """Bytes through whole disks. Partitions, device-mapper and loop devices would count them again."""
        self._disks = NO_DISKS
        self._disks = self._diskstats.parse(_read(f"{self._proc}/diskstats"))
        chosen = [disk for disk in self._disks.values() if self._has_device("block", disk.name)]
        return {"read": sum(disk.read_bytes for disk in chosen), "write": sum(disk.write_bytes for disk in chosen)}

    def _load(self) -> tuple[float, int | Missing]:
        """The load average of one minute, 0.0 when it cannot be read; how many processes and threads there are."""
        try:
            load, _, _, runnable, *_ = _read(f"{self._proc}/loadavg").split()
            return float(load), int(runnable.partition(b"/")[2])
        except (OSError, ValueError):
            return 0.0, Missing.UNSUPPORTED

    def _most_tasks(self, at_ns: int) -> int | Missing:
        """How many processes and threads there can be; read now and then."""
        if self._tasks_limit is None or at_ns >= self._tasks_limit[0]:
            try:
                paths = (f"{self._proc}/sys/kernel/{name}" for name in ("pid_max", "threads-max"))
                limit: int | Missing = min(int(_read(path)) for path in paths)
            except (OSError, ValueError):
                limit = Missing.UNSUPPORTED
            self._tasks_limit = at_ns + round(SYSCTL_INTERVAL_S * NS_PER_S), limit
        return self._tasks_limit[1]

    def _has_device(self, kind: str, name: str) -> bool:
        """Whether a name below /sys belongs to hardware; looked up once per name."""
        key = f"{kind}/{name}"
        if key not in self._physical:
            self._physical[key] = (self._sys / key / "device").exists()
        return self._physical[key]

    def _memory(self) -> tuple[int, int, int, int]:
        """Bytes of memory, total and available, and of swap, total and free; 0 for what the kernel does not tell."""
        try:
            data = _read(f"{self._proc}/meminfo")
        except OSError:
            return 0, 0, 0, 0
        total, free, swap_total, swap_free = (
            value if isinstance(value := parse.meminfo(data, key), int) else 0
            for key in (b"MemTotal", b"MemAvailable", b"SwapTotal", b"SwapFree")
        )
        return total, free, swap_total, swap_free

    def _stalls(self, name: str) -> PressureTotals:
        """PSI of the host; both values are missing where the kernel has none or reading is denied."""
        try:
            return parse.pressure(_read(f"{self._proc}/pressure/{name}"))
        except PermissionError:
            return PressureTotals(Missing.DENIED, Missing.DENIED)
        except OSError:
            return PressureTotals(Missing.UNSUPPORTED, Missing.UNSUPPORTED)


def _counters(
    names: Sequence[str], source: Callable[[], dict[str, int]], problems: dict[str, str]
) -> dict[str, int | Missing]:
    """What one source counts; when it raises, whatever it is, these are missing and `problems` has the reason."""
    try:
        return {**source()}
    except Exception as error:
        if names[0] not in _REPORTED:
            _REPORTED.add(names[0])
            log.exception("the host's %s cannot be read", " and ".join(names))
        problems.update(dict.fromkeys(names, f"{type(error).__name__}: {error}"))
        return dict.fromkeys(names, Missing.UNSUPPORTED)


def _read(path: str) -> bytes:
    """A whole file of /proc."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, READ_BYTES)
        if len(data) < SHORT_BYTES:  # a read returns at most what the kernel had in its buffer
            return data
        while more := os.read(fd, READ_BYTES):
            data += more
        return data
    finally:
        os.close(fd)


def _not_yet(value: int | Missing) -> Missing:
    return value if isinstance(value, Missing) else Missing.NOT_SAMPLED
