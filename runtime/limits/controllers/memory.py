"""Memory and swap. v1: limit_in_bytes, memsw, soft_limit; v2: memory.max, memory.high, memory.low, memory.swap.max.

v1's memsw is memory plus swap and must never be below the memory limit: raising goes memsw first, lowering limit first.
v1 refuses a limit below the use (EBUSY); v2 accepts it and kills. So on v2 for a limit below the use, memory.high is
lowered first, which reclaims and never kills, and the limit is written only when enough was reclaimed.

No reservation is the largest number on v1 (the soft limit is off) and 0 on v2 (nothing is protected): a request for
either means that on both.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import InvalidError, KernelError, NotFoundError
from runtime.kernel import files, limit_journal
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.step import UNLIMITED_V1_BYTES, FileWrite, Step, read_number, write_step
from runtime.limits.units import human_bytes
from runtime.model import UNLIMITED, LimitChange, LimitName, Missing, Unlimited

MemoryValue = int | Unlimited | Missing
MAX_RECLAIM_ATTEMPTS = 5
RECLAIM_PAUSE_S = 0.02
V1_LIMIT = "memory.limit_in_bytes"
V1_MEMORY_AND_SWAP = "memory.memsw.limit_in_bytes"
V1_SOFT = "memory.soft_limit_in_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Bytes in use now; `file` is page cache that can be dropped; None when unknown.

    `shared` is tmpfs and shared memory, `locked` is locked by mlock(2), and `kernel` is kernel memory.
    """

    current: int
    file: int
    anon: int | None
    swap: int | None
    shared: int = 0
    locked: int = 0
    dirty: int = 0
    kernel: int = 0


def read(cgroup: Cgroup) -> dict[LimitName, MemoryValue]:
    """Every memory limit; swap without memory."""
    where = cgroup.where("memory")
    if where is None:
        return {}
    directory, version = where
    if version == 2:
        return {
            LimitName.MEMORY: read_number(directory / "memory.max"),
            LimitName.MEMORY_HIGH: read_number(directory / "memory.high"),
            LimitName.MEMORY_RESERVATION: read_number(directory / "memory.low"),
            LimitName.SWAP: read_number(directory / "memory.swap.max"),
        }
    limit, both = _v1(directory / V1_LIMIT), _v1(directory / V1_MEMORY_AND_SWAP)
    swap: MemoryValue = both
    if isinstance(both, int) and isinstance(limit, int):
        swap = max(0, both - limit)
    return {
        LimitName.MEMORY: limit,
        LimitName.MEMORY_HIGH: Missing.UNSUPPORTED,
        LimitName.MEMORY_RESERVATION: _v1(directory / V1_SOFT),
        LimitName.SWAP: swap,
    }


def no_reservation(cgroup: Cgroup) -> int | Unlimited:
    """The kernel's value for no reservation."""
    where = cgroup.where("memory")
    return 0 if where is not None and where[1] == 2 else UNLIMITED


def _v1(path: Path) -> MemoryValue:
    return read_number(path, unlimited_from=UNLIMITED_V1_BYTES)


def read_use(cgroup: Cgroup) -> MemoryUse | None:
    """The memory in use now, including child cgroups; None when unknown."""
    where = cgroup.where("memory")
    if where is None:
        return None
    directory, version = where
    current = read_number(directory / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
    stat = files.try_read(directory / "memory.stat")
    if not isinstance(current, int) or isinstance(stat, Missing):
        return None
    prefix = "" if version == 2 else "total_"
    fields: dict[str, int] = {}
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith(prefix) and value.isascii() and value.isdigit():
            fields[name.removeprefix(prefix)] = int(value)
    swap = read_number(directory / "memory.swap.current") if version == 2 else fields.get("swap")
    kernel = (
        fields.get("kernel", fields.get("slab", 0))
        if version == 2
        else read_number(directory / "memory.kmem.usage_in_bytes")
    )
    return MemoryUse(
        current=current,
        file=fields.get("inactive_file", 0) + fields.get("active_file", 0),
        anon=fields.get("anon" if version == 2 else "rss"),
        swap=swap if isinstance(swap, int) else None,
        shared=fields.get("shmem", 0),
        locked=fields.get("unevictable", 0),
        dirty=fields.get("file_dirty" if version == 2 else "dirty", 0)
        + fields.get("file_writeback" if version == 2 else "writeback", 0),
        kernel=kernel if isinstance(kernel, int) else 0,
    )


def oom_kills(cgroup: Cgroup) -> int:
    """How many processes of this cgroup the OOM killer has killed; 0 when unknown."""
    where = cgroup.where("memory")
    if where is None:
        return 0
    text = files.try_read(where[0] / ("memory.events" if where[1] == 2 else "memory.oom_control"))
    for line in text.splitlines() if isinstance(text, str) else ():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return 0


def steps(cgroup: Cgroup, change: LimitChange) -> list[Step]:
    """The writes for memory, high, reservation and swap, in an order that the kernel accepts."""
    where = cgroup.where("memory")
    if where is None:
        return []
    directory, version = where
    if version == 2:
        return _v2(directory, change)
    writes: list[Step] = [*_v1_pair(directory, change)]
    if change.memory_reservation is not None:
        path = directory / V1_SOFT
        text = str(change.memory_reservation) if isinstance(change.memory_reservation, int) else "-1"
        writes.append(FileWrite(LimitName.MEMORY_RESERVATION, path, "-1" if text == "0" else text, _undo(path)))
    return writes


def _v2(directory: Path, change: LimitChange) -> list[Step]:
    """The v2 writes: raised limits first, so that memory plus swap never falls below both the old and new sum."""
    raising: list[Step] = []
    lowering: list[Step] = []
    for name, value, file in (
        (LimitName.SWAP, change.swap, "memory.swap.max"),
        (LimitName.MEMORY_HIGH, change.memory_high, "memory.high"),
        (LimitName.MEMORY, change.memory, "memory.max"),
    ):
        if value is not None:
            part = raising if _amount(value) >= _amount(read_number(directory / file)) else lowering
            part.append(write_step(name, directory / file, _text(value, "max")))
    if change.memory_reservation is not None:
        raising.append(
            write_step(LimitName.MEMORY_RESERVATION, directory / "memory.low", _text(change.memory_reservation, "0"))
        )
    headroom = _headroom(directory, change)
    if headroom is None:
        return raising + lowering
    high = change.memory_high  # written last: until then memory.high is used to make headroom
    last = FileWrite(LimitName.MEMORY, headroom.path, headroom.before, headroom.text)
    if high is not None:
        last = FileWrite(LimitName.MEMORY_HIGH, headroom.path, _text(high, "max"), headroom.text)
    first, then = ([each for each in part if each.name is not LimitName.MEMORY_HIGH] for part in (raising, lowering))
    return [*first, headroom, *then, last, HeadroomEnd(headroom)]


def make_headroom(cgroup: Cgroup, change: LimitChange) -> Headroom | None:
    """Reclaim memory until a lower v2 limit fits, before an engine's daemon writes it.

    None when the limit fits already; else call `Headroom.restore` afterwards. Raises `KernelError` when the use cannot
    be reduced below the limit: then nothing has been changed.
    """
    limit_journal.restore_abandoned()
    where = cgroup.where("memory")
    headroom = _headroom(where[0], change) if where is not None and where[1] == 2 else None
    if headroom is not None:
        headroom.apply()
    return headroom


def _headroom(directory: Path, change: LimitChange) -> Headroom | None:
    current = read_number(directory / "memory.current")
    if not isinstance(change.memory, int) or not isinstance(current, int) or current <= change.memory:
        return None
    return Headroom(directory, change.memory, files.read(directory / "memory.high"))


@dataclass(frozen=True, slots=True)
class Headroom:
    """A step that lowers the use below a v2 limit by memory.high, which reclaims and throttles and never kills.

    Until `revert`, `restore` or a `HeadroomEnd`, what memory.high held is noted in `limit_journal`.
    """

    directory: Path
    limit: int
    before: str

    @property
    def name(self) -> LimitName:
        return LimitName.MEMORY

    @property
    def path(self) -> Path:
        return self.directory / "memory.high"

    @property
    def title(self) -> str:
        return self.path.name

    @property
    def text(self) -> str:
        return str(self.limit if self.before == "max" else min(self.limit, int(self.before)))

    def require(self) -> None:
        files.require_writable(self.path)

    def current_value(self) -> str | Missing:
        return files.try_read(self.path)

    def apply(self) -> None:
        left: int | Unlimited | Missing = Missing.NOT_SAMPLED
        limit_journal.note(self.path, self.before, self.text)
        for _ in range(MAX_RECLAIM_ATTEMPTS):  # dirty pages can be reclaimed once they are written back
            files.write(self.path, self.text)
            left = read_number(self.directory / "memory.current")
            if not isinstance(left, int) or left <= self.limit:
                return
            time.sleep(RECLAIM_PAUSE_S)
        self.revert()
        raise KernelError(
            f"make room for a memory limit of {human_bytes(self.limit)}",
            detail=f"{human_bytes(left) if isinstance(left, int) else left} are in use and could not be reclaimed",
            path=str(self.path),
        )

    def revert(self) -> None:
        files.write(self.path, self.before)
        limit_journal.forget(self.path)

    def restore(self) -> None:
        """Restore memory.high, unless it was changed by others meanwhile, or the cgroup is gone."""
        with suppress(NotFoundError):
            limit_journal.put_back(self.path, self.before, self.text)
        limit_journal.forget(self.path)


@dataclass(frozen=True, slots=True)
class HeadroomEnd:
    """The step after memory.high was written for good: it need not be put back any more. It writes no limit."""

    headroom: Headroom

    @property
    def name(self) -> LimitName:
        return LimitName.MEMORY

    @property
    def title(self) -> str:
        return self.headroom.title

    def require(self) -> None:
        """Nothing: it writes a note of our own, which may fail."""

    def current_value(self) -> str | Missing:
        return self.headroom.current_value()

    def apply(self) -> None:
        limit_journal.forget(self.headroom.path)

    def revert(self) -> None:
        limit_journal.note(self.headroom.path, self.headroom.before, self.headroom.text)


def _v1_pair(directory: Path, change: LimitChange) -> list[FileWrite]:
    if change.memory is None and change.swap is None:
        return []
    memory_and_swap = _v1(directory / V1_MEMORY_AND_SWAP)
    limit_now, both_now = _amount(_v1(directory / V1_LIMIT)), _amount(memory_and_swap)
    limit_new = limit_now if change.memory is None else _amount(change.memory)
    if isinstance(change.swap, int) and math.isinf(limit_new):
        raise InvalidError(
            "limit swap and not memory",
            detail="cgroup v1 counts memory and swap together, so unlimited memory makes both unlimited",
            hint="Set a memory limit as well",
        )
    first = FileWrite(LimitName.MEMORY, directory / V1_LIMIT, _bytes(limit_new), _undo(directory / V1_LIMIT))
    if isinstance(memory_and_swap, Missing):
        return [first] if change.memory is not None else []
    if change.swap is not None:
        both_new = limit_new + _amount(change.swap)
    else:
        both_new = limit_new + (both_now - limit_now if math.isfinite(both_now) else math.inf)
    owner = LimitName.SWAP if change.swap is not None else LimitName.MEMORY
    second = FileWrite(owner, directory / V1_MEMORY_AND_SWAP, _bytes(both_new), _undo(directory / V1_MEMORY_AND_SWAP))
    pair = [second, first] if both_new >= both_now else [first, second]
    return [write for write in pair if write.text != write.before]


def _amount(value: MemoryValue) -> float:
    return value if isinstance(value, int) else math.inf


def _bytes(value: float) -> str:
    return str(int(value)) if math.isfinite(value) else "-1"


def _undo(path: Path) -> str:
    size = _v1(path)
    return str(size) if isinstance(size, int) else "-1"


def _text(value: int | Unlimited, unlimited: str) -> str:
    return unlimited if value is UNLIMITED else str(value)
