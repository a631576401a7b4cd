"""Parses and formats limits as users write them: "1.5" cores, "512m", "unlimited", "0-2,4".

Suffixes of bytes are powers of 1024, as Docker has them: b, k, m, g, t, with or without "b" or "ib" behind.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Final

from runtime.errors import InvalidError
from runtime.kernel import block
from runtime.model import LIMITS, UNLIMITED, DeviceRate, LimitChange, LimitName, LimitUnit, Unlimited, Value

_CORES: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}", re.ASCII)
_DECIMAL_COMMA: Final = re.compile(r"0?,[0-9]+|[0-9]+,[0-9]{1,2}", re.ASCII)  # 1,500 may be fifteen hundred
_BYTES: Final = re.compile(
    r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})\s*([bkmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII
)
_BYTE_EXPONENTS: Final = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NO_LIMIT: Final = frozenset({"unlimited", "max", "-1", "none", "∞", "infinity"})
_TIME: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,12})?)\s*(us|µs|ms|s|)", re.IGNORECASE | re.ASCII)
_UNITS_US: Final = {"": 1, "us": 1, "µs": 1, "ms": 1000, "s": 1_000_000}
_RATE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,12})?)\s*([kmgt]?)(i?)(bit|bps|)", re.IGNORECASE | re.ASCII)
_DEVICE: Final = re.compile(r"[0-9]{1,8}:[0-9]{1,8}", re.ASCII)
_ON: Final = frozenset({"on", "yes", "true", "1"})
_OFF: Final = frozenset({"off", "no", "false", "0"})


def _is_unlimited(text: str) -> bool:
    return text.strip().lower() in _NO_LIMIT


def parse_cpus(text: str) -> float | Unlimited:
    """Cores: "1.5", "1,5", "500m" (thousandths, as Kubernetes has them), or "unlimited". Raises `InvalidError`.

    A percentage is refused: of one core or of the machine is not said.
    """
    if _is_unlimited(text):
        return UNLIMITED
    plain = text.strip()
    if _DECIMAL_COMMA.fullmatch(plain):
        plain = plain.replace(",", ".")
    number, scale = (plain[:-1], 1000) if plain.endswith("m") else (plain, 1)
    value = float(number) / scale if _CORES.fullmatch(number) else math.nan
    if not 0 < value <= LIMITS[LimitName.CPUS].maximum:
        share = plain.removesuffix("%").rstrip()
        percent = plain.endswith("%") and _CORES.fullmatch(share)
        like = f"{share}% of one core is {format_cpus(float(share) / 100)}" if percent else "500m is 0.5"
        raise _malformed(text, "a number of CPU cores", f"Write cores such as 0.5 or 2, or unlimited; {like}")
    return value


def _malformed(text: str, what: str, hint: str) -> InvalidError:
    """The error about a value that cannot be read."""
    return InvalidError(f"'{text}' is not {what}", hint=hint)


def parse_bytes(text: str) -> int | Unlimited:
    """Bytes: "512m", "1.5g", "1048576", or "unlimited". Raises `InvalidError`."""
    if _is_unlimited(text):
        return UNLIMITED
    match = _BYTES.fullmatch(text.strip())
    value = Fraction(match.group(1)) * 1024 ** _BYTE_EXPONENTS[match.group(2).lower()] if match else None
    if value is None or value > LIMITS[LimitName.MEMORY].maximum:
        raise _malformed(text, "a number of bytes", "Write 512m, 1.5g, 1048576, or unlimited")
    return int(value)


def parse_count(text: str) -> int | Unlimited:
    """A whole number of at minimum 1, or "unlimited". Raises `InvalidError`."""
    if _is_unlimited(text):
        return UNLIMITED
    cleaned, maximum = text.strip(), LIMITS[LimitName.PIDS].maximum
    if not (cleaned.isascii() and cleaned.isdigit()) or len(cleaned) > 10 or not 1 <= int(cleaned) <= maximum:
        raise _malformed(text, "a number of tasks", f"Write a whole number from 1 to {maximum}, or unlimited")
    return int(cleaned)


def parse_shares(text: str) -> int:
    """CPU shares, 2 to 262144. Raises `InvalidError`."""
    return _parse_within(text, "CPU shares", LimitName.CPU_SHARES, normal=1024)


def parse_weight(text: str) -> int:
    """The weight of block I/O, 1 to 10000. Raises `InvalidError`."""
    return _parse_within(text, "an I/O weight", LimitName.IO_WEIGHT, normal=100)


def _parse_within(text: str, what: str, name: LimitName, *, normal: int) -> int:
    cleaned, minimum, maximum = text.strip(), LIMITS[name].minimum, LIMITS[name].maximum
    if not (cleaned.isascii() and cleaned.isdigit()) or len(cleaned) > 10 or not minimum <= int(cleaned) <= maximum:
        raise _malformed(text, what, f"Write a whole number from {minimum} to {maximum}; {normal} is the normal weight")
    return int(cleaned)


def parse_cpuset(text: str) -> str | Unlimited:
    """A list such as "0-2,4" in canonical form, or "unlimited" (also "all"). Raises `InvalidError`."""
    if _is_unlimited(text) or text.strip().lower() == "all":
        return UNLIMITED
    return format_cpuset(cpuset_numbers(text))


def cpuset_numbers(text: str) -> frozenset[int]:
    """The numbers of a kernel list; raises `InvalidError` when it is empty or malformed."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        match = re.fullmatch(r"\s*([0-9]{1,5})(?:-([0-9]{1,5}))?\s*", part, re.ASCII)
        first, last = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (1, 0)
        if first > last or last > LIMITS[LimitName.CPUSET_CPUS].maximum:
            raise _malformed(text, "a list of CPUs", "Write numbers and ranges such as 0-2,4, or all")
        numbers.update(range(first, last + 1))
    return frozenset(numbers)


def format_cpuset(numbers: Iterable[int]) -> str:
    """The shortest kernel list of these numbers: "0-2,4"; consecutive numbers become a range."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def format_cpus(value: float | Unlimited) -> str:
    """Cores with at maximum three decimals; `parse_cpus` reads it back."""
    return str(value) if isinstance(value, Unlimited) else f"{value:.3f}".rstrip("0").rstrip(".")


def format_bytes(value: int | Unlimited) -> str:
    """Bytes exactly, in the largest unit that divides them: "512m", "1000"; `parse_bytes` reads it back."""
    if isinstance(value, Unlimited):
        return str(value)
    for suffix, power in (("t", 4), ("g", 3), ("m", 2), ("k", 1)):
        if value and value % 1024**power == 0:
            return f"{value // 1024**power}{suffix}"
    return str(value)


def human_bytes(value: int) -> str:
    """Bytes for display only, rounded: "1.5 GiB"."""
    if value < 1024:
        return f"{value} B"
    size, units = value / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while size >= 1023.95 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}"


def parse_microseconds(text: str) -> int:
    """Microseconds: "100000" as for Docker's flags, or with a unit: "100ms", "0.1s". Raises `InvalidError`."""
    match = _TIME.fullmatch(text.strip())
    value = Fraction(match.group(1)) * _UNITS_US[match.group(2).lower()] if match else None
    if value is None or value > LIMITS[LimitName.CPU_BURST].maximum:
        raise _malformed(text, "a time", "Write microseconds such as 100000, or 100ms")
    return round(value)


def format_microseconds(value: int) -> str:
    """Such as "100ms", "2500us" or "0"; `parse_microseconds` reads it back."""
    if value and value % 1000 == 0:
        return f"{value // 1000}ms"
    return f"{value}us" if value else "0"


def parse_switch(text: str) -> bool:
    """The words on and off, also yes, no, true, false, 1, 0. Raises `InvalidError`."""
    word = text.strip().lower()
    if word not in _ON | _OFF:
        raise _malformed(text, "on or off", "Write on or off")
    return word in _ON


def parse_rate(text: str) -> int | Unlimited:
    """Bits per second in the units of tc(8): "20mbit", "500kbit", "2mbps" (bytes!), "unlimited". Raises `InvalidError`.

    Without a unit it is bits; k, m, g, t are powers of 1000, and of 1024 with an "i" behind: "20mibit".
    """
    if _is_unlimited(text):
        return UNLIMITED
    match = _RATE.fullmatch(text.strip())
    value: Fraction | None = None
    if match is not None:
        power = _BYTE_EXPONENTS[match.group(2).lower()]
        factor: int = (1024 if match.group(3) else 1000) ** power * (8 if match.group(4).lower() == "bps" else 1)
        value = Fraction(match.group(1)) * factor
    minimum, maximum = LIMITS[LimitName.NET_EGRESS].minimum, LIMITS[LimitName.NET_EGRESS].maximum
    if value is None or not minimum <= value <= maximum:
        what = "less than 1kbit" if value is not None and value < minimum else ""
        hint = "Write 20mbit, 500kbit or 1gbit (2mbps is megabytes), or unlimited"
        raise InvalidError(f"'{text}' is not a network rate", detail=what, hint=hint)
    return round(value)


def format_rate(value: int | Unlimited) -> str:
    """Bits per second exactly, in the largest unit that divides them: "20mbit"; `parse_rate` reads it back."""
    if isinstance(value, Unlimited):
        return str(value)
    for suffix, power in (("t", 4), ("g", 3), ("m", 2), ("k", 1)):
        if value and value % 1000**power == 0:
            return f"{value // 1000**power}{suffix}bit"
    return f"{value}bit"


def parse_device_rates(
    text: str, *, operations: bool = False, number: Callable[[str], str] = block.number
) -> tuple[DeviceRate, ...]:
    """Rates by disk in bytes or operations a second, or "unlimited": "/dev/vda:10mb 8:0:1m". Raises `InvalidError`.

    `number` returns the "major:minor" of a disk.
    """
    found: list[DeviceRate] = []
    for part in text.replace(",", " ").split():
        device, _, amount = part.rpartition(":")
        if not device or (device.isdigit() and not device.startswith("/")):
            example = "/dev/sda:100" if operations else "/dev/sda:10mb"
            raise _malformed(part, "the rate of a disk", f"Write {example} or /dev/sda:unlimited")
        rate = _parse_operations(amount) if operations else parse_bytes(amount)
        found.append(DeviceRate(number(device), rate))
    if not found:
        raise _malformed(text, "the rate of a disk", "Write a disk and its rate, /dev/sda:10mb")
    return tuple(found)


def _parse_operations(text: str) -> int | Unlimited:
    if _is_unlimited(text):
        return UNLIMITED
    if not (text.isascii() and text.isdigit()) or not 1 <= len(text) <= 10:
        raise _malformed(text, "a number of operations per second", "Write a whole number such as 500")
    return int(text)


def _format_device_rates(name: LimitName, value: tuple[DeviceRate, ...]) -> str:
    show = str if LIMITS[name].unit is LimitUnit.OPERATIONS_PER_SECOND else format_bytes
    return " ".join(f"{block.name(each.device)}:{show(each.rate)}" for each in value) or "none"


def format_value(name: LimitName, value: Value) -> str:
    """Any limit as the editor and the command line show it."""
    if isinstance(value, tuple):
        return _format_device_rates(name, value)
    if isinstance(value, (Unlimited, str)):
        return str(value)
    match LIMITS[name].unit:
        case LimitUnit.CORES:
            return format_cpus(value)
        case LimitUnit.MICROSECONDS:
            return format_microseconds(int(value))
        case LimitUnit.SWITCH:
            return "on" if value else "off"
        case LimitUnit.BYTES:
            return format_bytes(int(value))
        case LimitUnit.BITS_PER_SECOND:
            return format_rate(int(value))
        case _:
            return str(value)


def parse_value(name: LimitName, text: str) -> Value:
    """Parses any limit; looks up disks by their names. Raises `InvalidError`."""
    return _PARSERS[LIMITS[name].unit](text)


_PARSERS: Final[Mapping[LimitUnit, Callable[[str], Value]]] = {
    LimitUnit.CORES: parse_cpus,
    LimitUnit.MICROSECONDS: parse_microseconds,
    LimitUnit.SHARES: parse_shares,
    LimitUnit.SWITCH: parse_switch,
    LimitUnit.NUMBERS: parse_cpuset,
    LimitUnit.BYTES: parse_bytes,
    LimitUnit.TASKS: parse_count,
    LimitUnit.WEIGHT: parse_weight,
    LimitUnit.BYTES_PER_SECOND: parse_device_rates,
    LimitUnit.OPERATIONS_PER_SECOND: functools.partial(parse_device_rates, operations=True),
    LimitUnit.BITS_PER_SECOND: parse_rate,
}


def validate(change: LimitChange) -> None:
    """Raise `InvalidError` for a value that no kernel accepts: negative, not finite, out of range, malformed.

    Valid values that would do harm are found by `review`.
    """
    for name, value in change.items():
        if isinstance(value, str):
            cpuset_numbers(value)
        elif isinstance(value, tuple):
            _validate_rates(name, value)
        elif isinstance(value, float | int):
            _validate_number(name, value)


def _validate_number(name: LimitName, value: float) -> None:
    minimum, maximum = LIMITS[name].minimum, LIMITS[name].maximum
    if not minimum <= value <= maximum or (name is LimitName.CPUS and value == 0):  # NaN compares false
        span = f"a number up to {maximum}" if name is LimitName.CPUS else f"a number from {minimum} to {maximum}"
        words = "" if LIMITS[name].never_unlimited else ", or unlimited"
        raise InvalidError(f"take {value} as a limit of {name.value.replace('_', ' ')}", hint=f"Give {span}{words}")


def _validate_rates(name: LimitName, rates: tuple[DeviceRate, ...]) -> None:
    title = f"take this as a limit of {name.value.replace('_', ' ')}"
    minimum, maximum = LIMITS[name].minimum, LIMITS[name].maximum
    if len({each.device for each in rates}) < len(rates):
        raise InvalidError(title, detail="one device has two rates", hint="Name each device once")
    for each in rates:
        if not _DEVICE.fullmatch(each.device):
            raise InvalidError(title, detail=f"'{each.device}' is not a device number", hint="Write it as 8:0")
        if isinstance(each.rate, int) and not minimum <= each.rate <= maximum:
            raise InvalidError(
                title, detail=f"{each.rate} per second", hint=f"Give a number from {minimum} to {maximum}"
            )
