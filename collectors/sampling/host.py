"""Usage of the host: CPU, memory, load, network and disks by psutil, PSI by /proc/pressure.

Memory and swap are parsed here: psutil also reads all of /proc/vmstat for swap, which takes longer than everything else
together. Each source is read by itself: psutil raises for a line that it does not know, such as one of 17 fields in the
/proc/diskstats of lxcfs.
psutil is imported where it is used: a command that only lists does without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from collectors.sampling import parse
from collectors.sampling.frame import HostUsage, Pressure
from collectors.sampling.network import external_by_name
from collectors.sampling.rates import NS_PER_S, rate, share
from collectors.sampling.sample import PressureTotals
from runtime.model import Missing

log = logging.getLogger(__name__)

_REPORTED: set[str] = set()  # sources whose failure is in the log already

RESOURCES = ("cpu", "memory", "io")


def busy_ns() -> int:
    """CPU time in use since boot, over all processors, in ns; neither iowait nor steal is in it."""
    import psutil

    times = psutil.cpu_times()
    fields = ("user", "nice", "system", "irq", "softirq")  # guest time is in user and nice
    return int(sum(getattr(times, name, 0.0) for name in fields) * NS_PER_S)


class HostReader:
    """Reads the host's counters and gauges; keeps the previous counters for the rates."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self.ncpu = os.cpu_count() or 1
        self._proc = proc
        self._sys = sys
        self._physical: dict[str, bool] = {}
        self._previous: tuple[int, dict[str, int | Missing], Mapping[str, PressureTotals]] | None = None

    def read(self, at_ns: int) -> HostUsage:
        """The usage since the previous call; rates are `NOT_SAMPLED` in the first one. `at_ns` is CLOCK_MONOTONIC."""
        problems: dict[str, str] = {}
        counters = {
            **_counters(("cpu",), lambda: {"cpu": busy_ns()}, problems),
            **_counters(("rx", "tx"), self._traffic, problems),
            **_counters(("read", "write"), self._disks, problems),
        }
        totals = {name: self._stalls(name) for name in RESOURCES}
        rates: dict[str, float | Missing] = {name: _not_yet(now) for name, now in counters.items()}
        pressure = {name: Pressure(_not_yet(now.some_ns), _not_yet(now.full_ns)) for name, now in totals.items()}
        if self._previous is not None and at_ns > self._previous[0]:
            then_ns, then, stalls = self._previous
            elapsed = float(at_ns - then_ns)
            rates = {
                name: rate(then.get(name, Missing.NOT_SAMPLED), now, elapsed / NS_PER_S)
                for name, now in counters.items()
            }
            pressure = {name: share(stalls[name], now, elapsed) for name, now in totals.items()}
        self._previous = at_ns, counters, totals
        memory_total, memory_free, swap_total, swap_free = self._memory()
        cpu = rates["cpu"]
        return HostUsage(
            ncpu=self.ncpu,
            cpu=min(float(self.ncpu), cpu / NS_PER_S) if isinstance(cpu, float) else cpu,
            memory_total=memory_total,
            memory_used=max(0, memory_total - memory_free),
            swap_total=swap_total,
            swap_used=max(0, swap_total - swap_free),
            load1=os.getloadavg()[0],
            net_rx=rates["rx"],
            net_tx=rates["tx"],
            io_read=rates["read"],
            io_write=rates["write"],
            pressure=pressure,
            problems=problems,
        )

    def _traffic(self) -> dict[str, int]:
        """Bytes through network cards. Bridges, tunnels and veths are left out: they would count it again."""
        import psutil

        cards = psutil.net_io_counters(pernic=True, nowrap=False)
        real = [name for name in cards if self._has_device("class/net", name)]
        chosen = real or external_by_name(name for name in cards if name != "lo")
        return {"rx": sum(cards[n].bytes_recv for n in chosen), "tx": sum(cards[n].bytes_sent for n in chosen)}

    def _disks(self) -> dict[str, int]:
        """Bytes through whole disks. Partitions, device-mapper and loop devices would count them again."""
        import psutil

        disks = psutil.disk_io_counters(perdisk=True, nowrap=False)
        chosen = [name for name in disks if self._has_device("block", name)]
        return {"read": sum(disks[n].read_bytes for n in chosen), "write": sum(disks[n].write_bytes for n in chosen)}

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
    """A file of /proc of at most 16 KiB."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 16384)
    finally:
        os.close(fd)


def _not_yet(value: int | Missing) -> Missing:
    return value if isinstance(value, Missing) else Missing.NOT_SAMPLED
