"""Translates cgroup v2 limit files to properties of a systemd unit, and checks whether the kernel holds a value.

Source: systemd.resource-control(5), org.freedesktop.systemd1(5), src/core/cgroup.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from runtime.kernel import block, files
from runtime.kernel.systemd_dbus import Property
from runtime.limits.units import cpuset_numbers
from runtime.limits.verdict import PAGE_BYTES

INFINITY: Final = 2**64 - 1  # "no limit" in systemd's D-Bus properties
_SECOND_US: Final = 1_000_000
_IO: Final = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
Translate = Callable[[Path, str], "list[Property]"]


def holds(path: Path, text: str) -> bool:
    """Whether a file holds the text that was set: sizes in whole pages, rates of the named devices only."""
    current = files.try_read(path)
    if not isinstance(current, str):
        return False
    wanted = text.strip()
    if path.name == "io.max":
        device, *words = wanted.split()
        now = _device_line(current, device)
        return all(now.get(key, "max") == value for key, value in _pairs(words).items())
    if path.name == "cpu.max" and wanted.startswith("max"):
        return current.startswith("max")  # systemd stores no period without a quota
    if path.name in ("cpuset.cpus", "cpuset.mems"):
        return cpuset_numbers(current) == cpuset_numbers(wanted) if current and wanted else current == wanted
    current = plain(path.name, current)
    if path.name.startswith("memory.") and current.isdecimal() and wanted.isdecimal():
        return int(current) // PAGE_BYTES == int(wanted) // PAGE_BYTES
    return current.split() == wanted.split()


def plain(name: str, text: str) -> str:
    """A weight without the prefix "default" and the lines of single devices; the text of any other file unchanged."""
    return (text.splitlines() or [""])[0].removeprefix("default").strip() if name.endswith("weight") else text


def _number(name: str) -> Translate:
    """A file of one number or "max"."""

    def translate(_: Path, text: str) -> list[Property]:
        return [(name, ("t", INFINITY if text.strip() == "max" else int(text)))]

    return translate


def bandwidth(_: Path, text: str) -> list[Property]:
    """cpu.max "50000 100000". systemd counts microseconds per second, rounded up so that the quota is unchanged."""
    quota, period = text.split()
    per_second = INFINITY if quota == "max" else -(-int(quota) * _SECOND_US // int(period))
    return [("CPUQuotaPeriodUSec", ("t", int(period))), ("CPUQuotaPerSecUSec", ("t", per_second))]


def _idle(_: Path, text: str) -> list[Property]:
    """cpu.idle as CPUWeight: 0 is the idle class; an unset weight leaves it."""
    return [("CPUWeight", ("t", 0 if text.strip() == "1" else INFINITY))]


def _mask(name: str) -> Translate:
    """A kernel list as a bit mask, least significant byte first; an empty mask lifts the limit."""

    def translate(_: Path, text: str) -> list[Property]:
        mask = sum(1 << number for number in cpuset_numbers(text.strip())) if text.strip() else 0
        return [(name, ("ay", mask.to_bytes((mask.bit_length() + 7) // 8, "little")))]

    return translate


def _bfq(_: Path, text: str) -> list[Property]:
    """The IOWeight (1 to 10000) that systemd converts to this BFQ weight (1 to 1000)."""
    weight = int(text)
    return [("IOWeight", ("t", weight if weight <= 100 else 100 + (weight - 100) * 11))]


def _rates(path: Path, text: str) -> list[Property]:
    """One device's line of io.max. systemd writes all four rates at once, so the current ones are included."""
    device, *words = text.split()
    current = files.try_read(path)
    rates = {**_device_line(current if isinstance(current, str) else "", device), **_pairs(words)}
    block.refresh_name(device)
    disk = block.name(device)
    found: list[Any] = []
    for key, name in _IO.items():
        rate = rates.get(key, "max")
        found.append((name, ("a(st)", [(disk, INFINITY if rate == "max" else int(rate))])))
    return found


def _device_line(text: str, device: str) -> dict[str, str]:
    for line in text.splitlines():
        number, *words = line.split() or [""]
        if number == device:
            return _pairs(words)
    return {}


def _pairs(words: Sequence[str]) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


TRANSLATIONS: Final[Mapping[str, Translate]] = {
    "cpu.max": bandwidth,
    "cpu.weight": _number("CPUWeight"),
    "cpu.idle": _idle,
    "cpuset.cpus": _mask("AllowedCPUs"),
    "cpuset.mems": _mask("AllowedMemoryNodes"),
    "memory.max": _number("MemoryMax"),
    "memory.high": _number("MemoryHigh"),
    "memory.low": _number("MemoryLow"),
    "memory.swap.max": _number("MemorySwapMax"),
    "pids.max": _number("TasksMax"),
    "io.weight": _number("IOWeight"),
    "io.bfq.weight": _bfq,
    "io.max": _rates,
}
