"""Limits as people write them, and back: "1.5" cores, "512m", "unlimited", "0-2,4".

Suffixes of bytes are powers of 1024, as Docker has them: b, k, m, g, t, with or without "b" or "ib" behind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from runtime.errors import InvalidError
from runtime.model import UNLIMITED, LimitChange, LimitName, Unlimited, Value

_CORES: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}", re.ASCII)
_BYTES: Final = re.compile(
    r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})\s*([bkmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII
)
_POWERS: Final = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NO_LIMIT: Final = frozenset({"unlimited", "max", "-1", "none", "∞", "infinity"})
MOST_BYTES: Final = 2**60  # above it, v1's way of writing "no limit" comes near
MOST_CPUS: Final = 65536
MOST_CPU_NUMBER: Final = 8191  # the kernel's NR_CPUS on large machines
LEAST_PERIOD_US: Final = 1_000
MOST_PERIOD_US: Final = 1_000_000
MOST_PIDS: Final = 4_194_304  # PID_MAX_LIMIT; one more is EINVAL
LEAST_SHARES: Final = 2
MOST_SHARES: Final = 262_144


_SHARES_HINT: Final = f"Write a whole number from {LEAST_SHARES} to {MOST_SHARES}; 1024 is the normal weight"


def _is_unlimited(text: str) -> bool:
    return text.strip().lower() in _NO_LIMIT


def parse_cpus(text: str) -> float | Unlimited:
    """Cores, "1.5", or "unlimited". Raises `InvalidError`."""
    if _is_unlimited(text):
        return UNLIMITED
    value = float(text) if _CORES.fullmatch(text.strip()) else math.nan
    if not 0 < value <= MOST_CPUS:
        raise InvalidError(f"read '{text}' as a number of CPU cores", hint="Write cores such as 0.5 or 2, or unlimited")
    return value


def parse_bytes(text: str) -> int | Unlimited:
    """Bytes: "512m", "1.5g", "1048576", or "unlimited". Raises `InvalidError`."""
    if _is_unlimited(text):
        return UNLIMITED
    match = _BYTES.fullmatch(text.strip())
    value = Fraction(match.group(1)) * 1024 ** _POWERS[match.group(2).lower()] if match else None
    if value is None or value > MOST_BYTES:
        raise InvalidError(f"read '{text}' as a number of bytes", hint="Write 512m, 1.5g, 1048576, or unlimited")
    return int(value)


def parse_count(text: str) -> int | Unlimited:
    """A whole number of at least 1, or "unlimited". Raises `InvalidError`."""
    if _is_unlimited(text):
        return UNLIMITED
    cleaned = text.strip()
    if not (cleaned.isascii() and cleaned.isdigit()) or len(cleaned) > 10 or not 1 <= int(cleaned) <= MOST_PIDS:
        raise InvalidError(
            f"read '{text}' as a number of tasks", hint=f"Write a whole number from 1 to {MOST_PIDS}, or unlimited"
        )
    return int(cleaned)


def parse_shares(text: str) -> int:
    """CPU shares, 2 to 262144. Raises `InvalidError`."""
    cleaned = text.strip()
    if not (cleaned.isascii() and cleaned.isdigit()) or len(cleaned) > 10:
        raise InvalidError(f"read '{text}' as CPU shares", hint=_SHARES_HINT)
    return _checked_shares(int(cleaned))


def _checked_shares(value: int) -> int:
    if not LEAST_SHARES <= value <= MOST_SHARES:
        raise InvalidError(f"take {value} as CPU shares", hint=_SHARES_HINT)
    return value


def parse_cpuset(text: str) -> str | Unlimited:
    """A list such as "0-2,4", made canonical, or "unlimited" (also "all"). Raises `InvalidError`."""
    if _is_unlimited(text) or text.strip().lower() == "all":
        return UNLIMITED
    return format_cpuset(cpuset_numbers(text))


def cpuset_numbers(text: str) -> frozenset[int]:
    """The numbers of a kernel list; raises `InvalidError` when it is empty or malformed."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        match = re.fullmatch(r"\s*([0-9]{1,5})(?:-([0-9]{1,5}))?\s*", part, re.ASCII)
        first, last = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (1, 0)
        if first > last or last > MOST_CPU_NUMBER:
            raise InvalidError(
                f"read '{text}' as a list of CPUs", hint="Write numbers and ranges such as 0-2,4, or all"
            )
        numbers.update(range(first, last + 1))
    return frozenset(numbers)


def format_cpuset(numbers: Iterable[int]) -> str:
    """The shortest kernel list of these numbers: "0-2,4"; two neighbours make a range."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def format_cpus(value: float | Unlimited) -> str:
    """Cores with at most three decimals; `parse_cpus` reads it back."""
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
    """Bytes to read, not to write back: "1.5 GiB"."""
    if value < 1024:
        return f"{value} B"
    size, units = value / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while size >= 1023.95 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}"


def format_value(name: LimitName, value: Value) -> str:
    """Any limit as the editor and the command line show it."""
    if isinstance(value, tuple):
        return " ".join(f"{each.device} {each.rate}" for each in value)
    if isinstance(value, (Unlimited, str)):
        return str(value)
    if name is LimitName.CPUS:
        return format_cpus(value)
    if name in (LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.MEMORY_RESERVATION, LimitName.SWAP):
        return format_bytes(int(value))
    return str(value)


def parse_value(name: LimitName, text: str) -> float | int | str | Unlimited:
    """Any limit from text. Raises `InvalidError`."""
    match name:
        case LimitName.CPUS:
            return parse_cpus(text)
        case LimitName.CPU_SHARES:
            return parse_shares(text)
        case LimitName.CPUSET_CPUS | LimitName.CPUSET_MEMS:
            return parse_cpuset(text)
        case LimitName.PIDS:
            return parse_count(text)
        case _:
            return parse_bytes(text)


def validate(change: LimitChange) -> None:
    """Raise `InvalidError` for a value that no kernel takes: negative, not finite, out of range, malformed.

    Values that a kernel takes and that would do harm are the business of `review`.
    """
    for name, value in change.items():
        if isinstance(value, str):
            cpuset_numbers(value)
        elif isinstance(value, float | int):
            _validate_number(name, value)


def _validate_number(name: LimitName, value: float) -> None:
    if name is LimitName.CPU_SHARES:
        _checked_shares(int(value))
        return
    most = {LimitName.CPUS: MOST_CPUS, LimitName.PIDS: MOST_PIDS}.get(name, MOST_BYTES)
    if not 0 <= value <= most or (name is LimitName.CPUS and value == 0):  # NaN compares false
        raise InvalidError(
            f"take {value} as a limit of {name.value.replace('_', ' ')}",
            hint=f"Give a number up to {most}, or unlimited",
        )
