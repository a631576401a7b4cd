"""The logic of the limit editor's form: parsing, scaling, placeholders, current usage."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.sampling.frame import Usage
from runtime.errors import InvalidError
from runtime.kernel.block import Disks
from runtime.limits import units
from runtime.model import (
    DEVICE_LIMITS,
    LIMITS,
    NETWORK_LIMITS,
    UNLIMITED,
    Capabilities,
    Container,
    DeviceRate,
    LimitChange,
    LimitName,
    Limits,
    LimitUnit,
    Missing,
    Unlimited,
    Value,
)
from tui.core.subject import Subject
from tui.present import format as fmt
from tui.present.limit_entries import ENTRIES
from tui.present.limit_text import MISSING_TEXT, LimitValue, short

NOT_SCALED: Final = DEVICE_LIMITS | {LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS, LimitName.CPU_IDLE}
RANGED: Final = (LimitName.CPU_SHARES, LimitName.CPU_PERIOD, LimitName.IO_WEIGHT)
_NUMBER = re.compile(r"[0-9]+:[0-9]+")
NOTHING_HELD: Final = Limits()
NO_DISKS: Final = Disks()


@dataclass(frozen=True, slots=True)
class Typed:
    """All fields parsed: the change, and the error of each field that cannot be parsed."""

    change: LimitChange
    errors: Mapping[LimitName, str]


def parse(texts: Mapping[LimitName, str], held: Limits = NOTHING_HELD, disks: Disks = NO_DISKS) -> Typed:
    """Parse every field that is not empty; rates name one of `disks`, "sda 10m"."""
    values: dict[LimitName, Value] = {}
    errors: dict[LimitName, str] = {}
    for name, text in texts.items():
        if not text.strip():
            continue
        try:
            if name in DEVICE_LIMITS:
                values[name] = _rates(name, text, held.get(name), disks)
            else:
                values[name] = units.parse_value(name, text.strip())
        except InvalidError as error:
            words = f"{error.title}: {error.detail}" if error.detail else error.title
            errors[name] = f"{words}. {error.hint}" if error.hint else words
    return Typed(LimitChange.of(values), errors)


def _rates(name: LimitName, text: str, held: LimitValue, disks: Disks) -> Value:
    """Rates by disk from "sda 10m, sdb unlimited"; "unlimited" alone lifts every one that is there.

    Only what is in `disks` is taken, so that typing needs no lookup on the host.
    """
    if text.strip().casefold() == str(UNLIMITED):
        if not isinstance(held, tuple) or not held:
            raise InvalidError("no disk is limited", hint=f"Write a disk and its rate, {example(name, disks, ())}")
        return tuple(DeviceRate(each.device, UNLIMITED) for each in held)
    words = re.split(r"[\s,;]+", text.strip())
    parts = []
    while words:
        disk, rate = words.pop(0), ""
        if ":" in disk and not _NUMBER.fullmatch(disk):
            disk, _, rate = disk.rpartition(":")
        elif words:
            rate = words.pop(0)
        parts.append(f"{disk}:{rate}")
    operations = LIMITS[name].unit is LimitUnit.OPERATIONS_PER_SECOND
    return units.parse_device_rates(" ".join(parts), operations=operations, number=lambda text: _disk(text, disks))


def _disk(text: str, disks: Disks) -> str:
    """The number of a disk that is typed as "sda", "/dev/sda" or "8:0"."""
    path = f"/dev/{text.removeprefix('/dev/')}"
    found = next((number for number, there in disks.names.items() if text == number or path == there), "")
    if found:
        return found
    number = next((number for number, name in disks.partitions.items() if text == number), "")
    if number:
        raise InvalidError(f"{text} is a partition", hint=f"Write {short(disks.partitions[number])}, the whole disk")
    real = [short(name) for name in disks.names.values() if not name.startswith(("/dev/loop", "/dev/ram"))]
    raise InvalidError(f"there is no disk {text}", hint=f"There are: {', '.join(real) or 'none'}")


def example(name: LimitName, disks: Disks, used: Collection[str]) -> str:
    """The placeholder of a field; of a rate with a disk that the container uses, else one of the host."""
    entry = next(entry for entry in ENTRIES if entry.name is name)
    if name not in DEVICE_LIMITS:
        return entry.example
    there = [disks.names[number] for number in used if number in disks.names]
    there += [path for path in disks.names.values() if not path.startswith(("/dev/loop", "/dev/ram"))]
    return entry.example.replace("sda", short(there[0])) if there else entry.example


def scaled(name: LimitName, text: str, held: LimitValue, factor: float, ncpu: int | None) -> str | None:
    """The typed value, else the kernel's, times `factor`; None where that has no meaning.

    Half of unlimited CPU is half of the machine.
    """
    if name in NOT_SCALED:
        return None
    try:
        value: LimitValue = units.parse_value(name, text.strip()) if text.strip() else held
    except InvalidError:
        return None
    if isinstance(value, Unlimited) and name is LimitName.CPUS and ncpu is not None:
        value = float(ncpu)
    if isinstance(value, (str, tuple, Unlimited, Missing)):
        return None
    if name is LimitName.CPUS:
        return units.format_cpus(max(0.01, value * factor))
    if name in RANGED:
        least, most = LIMITS[name].minimum, LIMITS[name].maximum
        return units.format_value(name, min(most, max(least, round(value * factor))))
    return units.format_value(name, max(1, int(value * factor)))


_IO: Final = {
    LimitName.IO_READ_BPS: "read_bytes",
    LimitName.IO_WRITE_BPS: "write_bytes",
    LimitName.IO_READ_IOPS: "read_ops",
    LimitName.IO_WRITE_IOPS: "write_ops",
}


def in_use(name: LimitName, usage: Usage | None) -> str:
    """The container's use of this resource, empty where it is not measured."""
    if usage is None:
        return ""
    value: float | Missing
    show: Callable[[float], str]
    match name:
        case LimitName.CPUS:
            value, show = usage.cpu, fmt.cores
        case LimitName.MEMORY:
            value, show = usage.memory, fmt.size
        case LimitName.SWAP:
            value, show = usage.swap, fmt.size
        case LimitName.PIDS:
            value, show = usage.pids, fmt.count
        case LimitName.NET_EGRESS | LimitName.NET_INGRESS:
            way = "tx_bytes" if name is LimitName.NET_EGRESS else "rx_bytes"
            value, show = getattr(usage.net, way, Missing.NOT_SAMPLED), fmt.bits
        case _ if name in _IO:
            value = getattr(usage.io, _IO[name], Missing.NOT_SAMPLED)
            show = fmt.count if LIMITS[name].unit is LimitUnit.OPERATIONS_PER_SECOND else fmt.rate
        case _:
            return ""
    return "" if isinstance(value, Missing) else show(value)


def why_not_held(name: LimitName, limits: Limits, subject: Subject | None, engine: Capabilities | None) -> str | None:
    """Why the kernel holds no value of this limit, for the editor and the isolation page; None when it does.

    The engine's own reason comes first, since it knows what this host lacks. One that is not live has no reason.
    """
    held = limits.get(name)
    if held not in (Missing.UNSUPPORTED, Missing.DENIED):
        return None
    if isinstance(subject, Container) and subject.unplaced:
        return subject.unplaced
    reason = engine.why_not(name) if engine is not None else None
    if reason is not None:
        return reason
    if held is Missing.UNSUPPORTED and name in NETWORK_LIMITS:
        return "it has no network interface of its own"
    return MISSING_TEXT[held]


def why_not_settable(
    name: LimitName, limits: Limits, subject: Subject | None, engine: Capabilities | None
) -> str | None:
    """As `why_not_held`; of a container without a cgroup here the engine may still change what its API has."""
    if isinstance(subject, Container) and subject.unplaced:
        return None
    return why_not_held(name, limits, subject, engine)
