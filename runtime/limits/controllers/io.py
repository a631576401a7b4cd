"""Block I/O by device: bytes and operations per second, and the weight between cgroups.

v1: blkio.throttle.*_device with lines "8:0 1048576", 0 lifts; it throttles direct and synchronous I/O of the cgroup's
own processes, not I/O through the page cache, and not that of child cgroups. v2: io.max with lines
"8:0 rbps=1048576 wbps=max riops=max wiops=max", which also throttles write-back of the page cache.
Weights: io.weight (v2, iocost), io.bfq.weight (v2), blkio.weight (v1, CFQ), blkio.bfq.weight (v1); the scheduler of a
disk decides which of them it uses, if any. Source: cgroup-v2.rst, blkio-controller.rst, bfq-iosched.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.kernel import block, files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.step import FileWrite, Step
from runtime.model import UNLIMITED, DeviceRate, LimitChange, LimitName, Missing, Unlimited


@dataclass(frozen=True, slots=True)
class _RateFile:
    """Where one limit is: the v1 file, and the key in v2's io.max."""

    v1: str
    v2: str


RATES: Final[Mapping[LimitName, _RateFile]] = {
    LimitName.IO_READ_BPS: _RateFile("blkio.throttle.read_bps_device", "rbps"),
    LimitName.IO_WRITE_BPS: _RateFile("blkio.throttle.write_bps_device", "wbps"),
    LimitName.IO_READ_IOPS: _RateFile("blkio.throttle.read_iops_device", "riops"),
    LimitName.IO_WRITE_IOPS: _RateFile("blkio.throttle.write_iops_device", "wiops"),
}
WEIGHTS: Final = (("blkio.weight", "blkio.bfq.weight"), ("io.weight", "io.bfq.weight"))
MAX_BFQ_WEIGHT: Final = 1_000
Rates = tuple[DeviceRate, ...]


def read(cgroup: Cgroup) -> dict[LimitName, Rates | Missing]:
    """The limited devices by limit, ordered by their numbers."""
    where = cgroup.where("io")
    if where is None:
        return dict.fromkeys(RATES, Missing.UNSUPPORTED)
    directory, version = where
    whole = files.try_read(directory / "io.max") if version == 2 else ""
    found: dict[LimitName, Rates | Missing] = {}
    for name, file in RATES.items():
        text = whole if version == 2 else files.try_read(directory / file.v1)
        found[name] = text if isinstance(text, Missing) else _rates(text, file.v2 if version == 2 else None)
    for rates in found.values():
        for each in rates if isinstance(rates, tuple) else ():
            block.refresh_name(each.device)
    return found


def _rates(text: str, key: str | None) -> Rates:
    """Parses the lines of a file; `key` is the word in v2's lines, None for v1. Malformed lines are left out."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        device, *words = line.split()
        value = words[0] if words and key is None else dict(word.partition("=")[::2] for word in words).get(key or "")
        if value is not None and value.isascii() and value.isdigit() and _is_number(device):
            found[device] = int(value)
    return tuple(DeviceRate(device, found[device]) for device in sorted(found, key=_order))


def _is_number(device: str) -> bool:
    major, colon, minor = device.partition(":")
    return bool(colon) and all(part.isascii() and part.isdigit() for part in (major, minor))


def _order(device: str) -> tuple[int, int]:
    major, _, minor = device.partition(":")
    return int(major), int(minor)


def read_weight(cgroup: Cgroup) -> int | Missing:
    """The weight of devices without a weight of their own."""
    where = cgroup.where("io")
    if where is None:
        return Missing.UNSUPPORTED
    directory, version = where
    text: str | Missing = Missing.UNSUPPORTED
    for file in WEIGHTS[version - 1]:
        text = files.try_read(directory / file)
        if isinstance(text, str):
            break
    if isinstance(text, Missing):
        return text
    word = (text.splitlines() or [""])[0].removeprefix("default").strip()
    return int(word) if word.isascii() and word.isdigit() else Missing.UNSUPPORTED


def steps(cgroup: Cgroup, change: LimitChange) -> list[Step]:
    """The writes for rates and weight, one per device and limit. Other devices keep their limits."""
    where = cgroup.where("io")
    if where is None:
        return []
    directory, version = where
    current = read(cgroup)
    steps: list[Step] = []
    for name, value in change.items():
        if name in RATES and isinstance(value, tuple):
            rates = current[name]
            now = {each.device: each.rate for each in rates} if isinstance(rates, tuple) else {}
            for each in value:
                if each.rate is UNLIMITED and each.device not in now:
                    continue  # nothing to lift: the disk may have been removed
                texts = (_line(version, name, each.device, rate) for rate in (each.rate, now.get(each.device)))
                path = directory / ("io.max" if version == 2 else RATES[name].v1)
                steps.append(FileWrite(name, path, *texts))
    if change.io_weight is not None:
        steps += _weights(directory, version, change.io_weight)
    return steps


def _line(version: int, name: LimitName, device: str, rate: int | Unlimited | None) -> str:
    lifted = rate is None or rate is UNLIMITED
    if version == 2:
        return f"{device} {RATES[name].v2}={'max' if lifted else rate}"
    return f"{device} {0 if lifted else rate}"


def _weights(directory: Path, version: int, weight: int) -> list[Step]:
    """Writes to every weight file that exists, since each disk's scheduler uses its own; BFQ has a lower maximum."""
    steps: list[Step] = []
    for file in WEIGHTS[version - 1]:
        text = files.try_read(directory / file)
        if isinstance(text, str):
            before = (text.splitlines() or [""])[0].removeprefix("default").strip()
            only = not steps and file.endswith("bfq.weight")
            value = weight if only or not file.endswith("bfq.weight") else min(weight, MAX_BFQ_WEIGHT)
            steps.append(FileWrite(LimitName.IO_WEIGHT, directory / file, str(value), before))
    return steps
