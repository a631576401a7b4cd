"""The limit editor without a screen: which limits there are, what was typed, what a key makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.sampling.frame import Usage
from runtime.errors import InvalidError
from runtime.kernel import block
from runtime.kernel.block import Disks
from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US
from runtime.limits import ReclaimProgress, same, units
from runtime.model import (
    DEVICE_LIMITS,
    LIMITS,
    NETWORK_LIMITS,
    UNLIMITED,
    DeviceRate,
    FieldOutcome,
    LimitChange,
    LimitName,
    Limits,
    LimitUnit,
    Missing,
    Unlimited,
    Value,
    Verdict,
)
from tui.core.drift.detector import Drift
from tui.present import format as fmt

Held = Value | Missing


@dataclass(frozen=True, slots=True)
class LimitEntry:
    """One limit in the form; `example` is what an empty field suggests."""

    name: LimitName
    label: str
    example: str


ENTRIES: Final = (
    LimitEntry(LimitName.CPUS, "CPU cores", "0.5"),
    LimitEntry(LimitName.MEMORY, "memory", "512m"),
    LimitEntry(LimitName.SWAP, "swap", "0"),
    LimitEntry(LimitName.PIDS, "processes", "200"),
    LimitEntry(LimitName.NET_EGRESS, "net out", "20mbit"),
    LimitEntry(LimitName.NET_INGRESS, "net in", "20mbit"),
    LimitEntry(LimitName.CPU_SHARES, "CPU shares", "1024"),
    LimitEntry(LimitName.CPU_IDLE, "CPU idle", "on"),
    LimitEntry(LimitName.CPUSET_CPUS, "CPU set", "0-1"),
    LimitEntry(LimitName.CPU_PERIOD, "CPU period", "100ms"),
    LimitEntry(LimitName.CPU_BURST, "CPU burst", "20ms"),
    LimitEntry(LimitName.CPUSET_MEMS, "mem nodes", "0"),
    LimitEntry(LimitName.MEMORY_HIGH, "mem high", "400m"),
    LimitEntry(LimitName.MEMORY_RESERVATION, "mem reserve", "256m"),
    LimitEntry(LimitName.IO_READ_BPS, "disk read", "sda 10m"),
    LimitEntry(LimitName.IO_WRITE_BPS, "disk write", "sda 10m"),
    LimitEntry(LimitName.IO_READ_IOPS, "read ops", "sda 500"),
    LimitEntry(LimitName.IO_WRITE_IOPS, "write ops", "sda 500"),
    LimitEntry(LimitName.IO_WEIGHT, "disk weight", "100"),
)
"""The most needed first."""
LABELS: Final = {entry.name: entry.label for entry in ENTRIES}
SIZES: Final = frozenset({LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.MEMORY_RESERVATION, LimitName.SWAP})
NOT_SCALED: Final = DEVICE_LIMITS | {LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS, LimitName.CPU_IDLE}
RANGED: Final = (LimitName.CPU_SHARES, LimitName.CPU_PERIOD, LimitName.IO_WEIGHT)
_NUMBER = re.compile(r"[0-9]+:[0-9]+")
NOTHING_HELD: Final = Limits()
NO_DISKS: Final = Disks()
KEPT: Final = "kept"
UNTIL_RESTART: Final = "until restart"
NORMAL: Final[Mapping[LimitName, Value]] = {
    LimitName.CPU_SHARES: 1024,
    LimitName.CPU_PERIOD: DEFAULT_PERIOD_US,
    LimitName.CPU_BURST: 0,
    LimitName.IO_WEIGHT: 100,
    LimitName.MEMORY_RESERVATION: 0,
}
_INHERITED = frozenset({LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS})  # who has none has its parent's
WORDS: Final = {
    Missing.UNSUPPORTED: "this kernel does not offer it",
    Missing.DENIED: "it may not be read here",
    Missing.GONE: "not running",
    Missing.NOT_SAMPLED: "not read yet",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """What the fields say together: the change, and per field why it cannot be read."""

    change: LimitChange
    errors: Mapping[LimitName, str]


def read(texts: Mapping[LimitName, str], held: Limits = NOTHING_HELD, disks: Disks = NO_DISKS) -> Typed:
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


def _rates(name: LimitName, text: str, held: Held, disks: Disks) -> Value:
    """Rates by disk from "sda 10m, sdb unlimited"; "unlimited" alone lifts every one that is there.

    Only what is in `disks` is taken, so that nothing has to be looked up while somebody types.
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


def short(device: str) -> str:
    """A disk as people call it: "sda"."""
    return device.removeprefix("/dev/")


def example(name: LimitName, disks: Disks, used: Collection[str]) -> str:
    """What an empty field suggests; for a rate, with a disk that the container uses, or one that is there."""
    entry = next(entry for entry in ENTRIES if entry.name is name)
    if name not in DEVICE_LIMITS:
        return entry.example
    there = [disks.names[number] for number in used if number in disks.names]
    there += [path for path in disks.names.values() if not path.startswith(("/dev/loop", "/dev/ram"))]
    return entry.example.replace("sda", short(there[0])) if there else entry.example


def shown(name: LimitName, value: Held) -> str:
    """A value as the form shows it; what cannot be typed back exactly is rounded."""
    if isinstance(value, Missing):
        return fmt.GAP
    if isinstance(value, tuple):
        show = str if LIMITS[name].unit is LimitUnit.OPERATIONS_PER_SECOND else units.format_bytes
        return ", ".join(f"{short(block.name(each.device))} {show(each.rate)}" for each in value) or str(UNLIMITED)
    text = units.format_value(name, value)
    if isinstance(value, int) and len(text) > 6 and name in SIZES:
        return fmt.size(value)
    return text


def scaled(name: LimitName, text: str, held: Held, factor: float, ncpu: int | None) -> str | None:
    """What is typed, or else what the kernel holds, times `factor`; None where that has no meaning.

    Half of unlimited CPU is half of the machine.
    """
    if name in NOT_SCALED:
        return None
    try:
        value: Held = units.parse_value(name, text.strip()) if text.strip() else held
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
    """What the container uses of this now, empty where nothing is measured."""
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


def unavailable(name: LimitName, limits: Limits) -> str | None:
    """Why the kernel does not let this limit be set, as far as reading shows."""
    held = limits.get(name)
    if held is Missing.UNSUPPORTED and name in NETWORK_LIMITS:
        return "it has no network interface of its own"
    return WORDS[held] if held in (Missing.UNSUPPORTED, Missing.DENIED) else None


def told(outcome: FieldOutcome) -> str:
    """One field of a result: "CPU cores 0.2 (was unlimited)", and what else is to be known about it."""
    name = outcome.name
    text = f"{LABELS.get(name, name.value)} {shown(name, outcome.kernel)} (was {shown(name, outcome.before)})"
    if outcome.persistent is False:
        text += f", {UNTIL_RESTART}"
    if outcome.verdict is not Verdict.APPLIED:
        text += f", {outcome.verdict.value}"
    return f"{text}: {fmt.clean(outcome.detail)}" if outcome.detail else text


def lasting(name: LimitName, held: Held, recorded: Limits) -> str:
    """Whether a limit that is in force will be there after a restart; empty where none is, or nobody knows.

    What is normal (no limit, the normal weight) needs no record.
    """
    record = recorded.get(name)
    if isinstance(held, Missing) or record in (Missing.DENIED, Missing.GONE, Missing.NOT_SAMPLED):
        return ""
    if not isinstance(record, Missing) and same(name, record, held) is not None:
        return "" if _plain(name, held) else KEPT
    return "" if isinstance(record, Missing) and (_plain(name, held) or name in _INHERITED) else UNTIL_RESTART


def drifted(found: Drift) -> str:
    """What somebody else has changed: "CPU cores 2 (we set 0.5)"."""
    return (
        f"{LABELS.get(found.name, found.name.value)} {shown(found.name, found.kernel)},"
        f" expected {shown(found.name, found.expected)}"
    )


def progress(so_far: ReclaimProgress, width: int) -> str:
    """How far a reclaim has come, as a bar and in figures."""
    goal = max(1, so_far.current - so_far.target + so_far.reclaimed)
    filled = min(width, max(0, round(width * so_far.reclaimed / goal)))
    bar = "#" * filled + "." * (width - filled)
    return f"[{bar}] uses {fmt.size(so_far.current)}, to come down to {fmt.size(so_far.target)}"


def _plain(name: LimitName, held: Held) -> bool:
    """It limits nothing."""
    return isinstance(held, Unlimited) or held in ((), "") or held is False or held == NORMAL.get(name)


def report(fields: tuple[FieldOutcome, ...], *, wide: bool) -> list[str]:
    """The result as lines: asked, engine, kernel and verdict for every field; two lines a field when not `wide`."""
    lines: list[str] = []
    if wide:
        lines.append(f"{'':<12}{'asked':>10}{'engine':>10}{'kernel':>10}  {'verdict':<12}restart")
    for field in fields:
        label = LABELS.get(field.name, field.name.value)
        asked, engine, kernel = (shown(field.name, v) for v in (field.requested, field.engine, field.kernel))
        verdict = field.verdict.value.upper()
        if wide:
            lasts = {True: KEPT, False: "lost", None: ""}[field.persistent]
            lines.append(f"{label:<12}{asked:>10}{engine:>10}{kernel:>10}  {verdict:<12}{lasts}".rstrip())
        else:
            lasts = {True: f", {KEPT}", False: f", {UNTIL_RESTART}", None: ""}[field.persistent]
            lines += [f"{label}: {verdict}{lasts}", f"  asked {asked} engine {engine} kernel {kernel}"]
        if field.detail:
            lines.append(f"  {fmt.clean(field.detail)}")
    return lines
