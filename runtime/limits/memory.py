"""Memory and swap. v1: limit_in_bytes, memsw, soft_limit; v2: memory.max, memory.high, memory.low, memory.swap.max.

v1's memsw is memory plus swap and must never be below the memory limit: raising goes memsw first, lowering limit first.
v1 refuses a limit below what is in use (EBUSY); v2 takes it and kills, so what is in use is looked at before.
"""

from __future__ import annotations

import math
from pathlib import Path

from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.plan import UNLIMITED_V1, Write, number, step
from runtime.model import UNLIMITED, LimitChange, LimitName, Missing, Unlimited

Value = int | Unlimited | Missing
V1_LIMIT = "memory.limit_in_bytes"
V1_BOTH = "memory.memsw.limit_in_bytes"
V1_SOFT = "memory.soft_limit_in_bytes"


def read(cgroup: Cgroup) -> dict[LimitName, Value]:
    """Every memory limit; swap apart from memory."""
    where = cgroup.where("memory")
    if where is None:
        return {}
    directory, version = where
    if version == 2:
        return {
            LimitName.MEMORY: number(directory / "memory.max"),
            LimitName.MEMORY_HIGH: number(directory / "memory.high"),
            LimitName.MEMORY_RESERVATION: number(directory / "memory.low"),
            LimitName.SWAP: number(directory / "memory.swap.max"),
        }
    limit, both = _v1(directory / V1_LIMIT), _v1(directory / V1_BOTH)
    swap: Value = both
    if isinstance(both, int) and isinstance(limit, int):
        swap = max(0, both - limit)
    return {
        LimitName.MEMORY: limit,
        LimitName.MEMORY_HIGH: Missing.UNSUPPORTED,
        LimitName.MEMORY_RESERVATION: _v1(directory / V1_SOFT),
        LimitName.SWAP: swap,
    }


def _v1(path: Path) -> Value:
    return number(path, unlimited_from=UNLIMITED_V1)


def use(cgroup: Cgroup) -> tuple[int, int] | None:
    """(bytes in use, bytes of these in file cache that can be dropped); None when unknown."""
    where = cgroup.where("memory")
    if where is None:
        return None
    directory, version = where
    current = number(directory / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
    stat = files.look(directory / "memory.stat")
    if not isinstance(current, int) or isinstance(stat, Missing):
        return None
    prefix = "" if version == 2 else "total_"
    cache = 0
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name in (f"{prefix}inactive_file", f"{prefix}active_file") and value.isdigit():
            cache += int(value)
    return current, cache


def plan(cgroup: Cgroup, change: LimitChange) -> list[Write]:
    """The writes for memory, high, reservation and swap, in an order that the kernel takes."""
    where = cgroup.where("memory")
    if where is None:
        return []
    directory, version = where
    if version == 2:
        named = (
            (LimitName.MEMORY_RESERVATION, change.memory_reservation, "memory.low"),
            (LimitName.SWAP, change.swap, "memory.swap.max"),
            (LimitName.MEMORY_HIGH, change.memory_high, "memory.high"),
            (LimitName.MEMORY, change.memory, "memory.max"),
        )
        return [step(name, directory / file, _text(value, "max")) for name, value, file in named if value is not None]
    writes = _v1_pair(directory, change)
    if change.memory_reservation is not None:
        path = directory / V1_SOFT
        writes.append(Write(LimitName.MEMORY_RESERVATION, path, _text(change.memory_reservation, "-1"), _undo(path)))
    return writes


def _v1_pair(directory: Path, change: LimitChange) -> list[Write]:
    if change.memory is None and change.swap is None:
        return []
    held = {"limit": _v1(directory / V1_LIMIT), "both": _v1(directory / V1_BOTH)}
    limit_now, both_now = _amount(held["limit"]), _amount(held["both"])
    limit_new = limit_now if change.memory is None else _amount(change.memory)
    first = Write(LimitName.MEMORY, directory / V1_LIMIT, _bytes(limit_new), _undo(directory / V1_LIMIT))
    if isinstance(held["both"], Missing):
        return [first] if change.memory is not None else []
    if change.swap is not None:
        both_new = limit_new + _amount(change.swap)
    else:
        both_new = limit_new + (both_now - limit_now if math.isfinite(both_now) else math.inf)
    owner = LimitName.SWAP if change.swap is not None else LimitName.MEMORY
    second = Write(owner, directory / V1_BOTH, _bytes(both_new), _undo(directory / V1_BOTH))
    pair = [second, first] if both_new >= both_now else [first, second]
    return [write for write in pair if write.text != write.undo]


def _amount(value: Value) -> float:
    return value if isinstance(value, int) else math.inf


def _bytes(value: float) -> str:
    return str(int(value)) if math.isfinite(value) else "-1"


def _undo(path: Path) -> str:
    held = _v1(path)
    return str(held) if isinstance(held, int) else "-1"


def _text(value: int | Unlimited, unlimited: str) -> str:
    return unlimited if value is UNLIMITED else str(value)
