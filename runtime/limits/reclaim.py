"""Reclaiming memory of a cgroup in steps, without killing, so that a smaller memory limit can be set.

v2: memory.reclaim (Linux 5.19) reclaims a number of bytes and changes no limit; older kernels reclaim when memory.high
is written, which is restored at once. v1: the limit itself is lowered by a step and restored at once; the kernel
reclaims while it lowers the limit, and answers EBUSY without changing it when it cannot. During that moment an
allocation could fail, so it is done only while at least `RECLAIMABLE_RESERVE_BYTES` more can be reclaimed; the rest is
reclaimed by memory.force_empty, which changes no limit. Source: cgroup-v2.rst, mm/memcontrol-v1.c.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

from runtime.errors import KernelError, UnsupportedError
from runtime.kernel import files, limit_journal
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.controllers import memory
from runtime.limits.controllers.memory import V1_LIMIT, MemoryUse
from runtime.limits.review import facts
from runtime.limits.step import UNLIMITED_V1_BYTES, read_number
from runtime.limits.units import human_bytes
from runtime.model import LimitName

MIN_STEP_BYTES: Final = 8 * 1024 * 1024
MAX_STEP_BYTES: Final = 256 * 1024 * 1024
RECLAIMABLE_RESERVE_BYTES: Final = 64 * 1024 * 1024  # must stay reclaimable while the v1 limit is lowered
MAX_FUTILE_STEPS: Final = 4  # consecutive steps that reclaim too little
MIN_YIELD_DIVISOR: Final = 64  # a step must reclaim this fraction of its size, so that swapping stops early
FUTILE_PAUSE_S: Final = 0.05  # after such a step, while dirty pages are written back
MIN_NAMED_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class ReclaimProgress:
    """A reclaim in bytes; `done` when at most `target` is used, else `reason` is set once it has stopped."""

    current: int
    target: int
    reclaimed: int
    done: bool = False
    reason: str = ""


def shrink(cgroup: Cgroup, target: int, *, progress: Callable[[ReclaimProgress], None], stop: Event) -> ReclaimProgress:
    """Reclaim memory of a cgroup until it uses at most `target` bytes. Blocking, up to minutes.

    `progress` is called after each step, in this thread; `stop` ends it after the current step. It sets no limit:
    files that it changes for a moment are restored, also on failure. Raises `UnsupportedError` where the kernel cannot
    do it, `NotFoundError` when the cgroup vanishes, `DeniedError` and `KernelError` for the kernel's other errors.
    """
    limit_journal.restore_abandoned()
    start = _use(cgroup)
    method = _method(cgroup)
    kills = memory.oom_kills(cgroup)
    least, futile = start.current, 0
    step = min(MAX_STEP_BYTES, max(MIN_STEP_BYTES, (start.current - target) // 32))
    now = start
    while True:
        reason = ""
        if now.current > target:
            if stop.is_set():
                reason = "it was stopped"
            elif memory.oom_kills(cgroup) > kills:
                reason = "the kernel has killed one of its processes for lack of memory meanwhile"
            elif futile >= MAX_FUTILE_STEPS:
                reason = _why_stuck(cgroup, now)
        progress_now = ReclaimProgress(
            now.current, target, max(0, start.current - now.current), now.current <= target, reason
        )
        progress(progress_now)
        if progress_now.done or progress_now.reason:
            return progress_now
        size = min(step, now.current - target)
        method(cgroup, now, size)
        now = _use(cgroup)
        if least - now.current >= max(1, size // MIN_YIELD_DIVISOR):
            least, futile = now.current, 0
        else:
            futile += 1
            stop.wait(FUTILE_PAUSE_S)


def _use(cgroup: Cgroup) -> MemoryUse:
    use = memory.read_use(cgroup)
    if use is None:
        raise UnsupportedError("reclaim memory", detail="this kernel does not tell what the container uses")
    return use


def _directory(cgroup: Cgroup) -> tuple[Path, int]:
    where = cgroup.where("memory")
    if where is None:
        raise UnsupportedError("reclaim memory", detail="the container has no memory cgroup")
    return where


def _method(cgroup: Cgroup) -> Callable[[Cgroup, MemoryUse, int], None]:
    """The least disturbing method that this kernel offers; it reclaims about `size` bytes, or as many as it can."""
    directory, version = _directory(cgroup)
    for file, method in (
        [("memory.reclaim", _by_reclaim), ("memory.high", _by_high)] if version == 2 else [(V1_LIMIT, _by_limit)]
    ):
        if files.exists(directory / file) is not False:
            files.require_writable(directory / file)
            return method
    raise UnsupportedError("reclaim memory", detail="the memory cgroup has no file for it", path=str(directory))


def _by_reclaim(cgroup: Cgroup, use: MemoryUse, size: int) -> None:
    _attempt(_directory(cgroup)[0] / "memory.reclaim", str(size), errno.EAGAIN)


def _by_high(cgroup: Cgroup, use: MemoryUse, size: int) -> None:
    path = _directory(cgroup)[0] / "memory.high"
    text = str(max(0, use.current - size))
    with limit_journal.lowered(path, files.read(path), text):
        files.write(path, text)


def _by_limit(cgroup: Cgroup, use: MemoryUse, size: int) -> None:
    directory = _directory(cgroup)[0]
    if use.file + _swappable(cgroup, use) < size + RECLAIMABLE_RESERVE_BYTES:
        _attempt(directory / "memory.force_empty", "0", errno.EBUSY)
        return
    limit = read_number(directory / V1_LIMIT, unlimited_from=UNLIMITED_V1_BYTES)
    before = str(limit) if isinstance(limit, int) else "-1"
    text = str(use.current - size)
    with limit_journal.lowered(directory / V1_LIMIT, before, text):
        _attempt(directory / V1_LIMIT, text, errno.EBUSY)


def _attempt(path: Path, text: str, expected_errno: int) -> None:
    """Write a file; `expected_errno` means that only a part was reclaimed, which is no failure."""
    try:
        files.write(path, text)
    except KernelError as error:
        if error.errno not in (expected_errno, errno.EINTR):
            raise


def _swappable(cgroup: Cgroup, use: MemoryUse) -> int:
    """Bytes of anonymous memory that fit into the free swap."""
    directory, version = _directory(cgroup)
    if version == 1 and files.try_read(directory / "memory.swappiness") == "0":
        return 0
    limit = memory.read(cgroup).get(LimitName.SWAP)
    own = max(0, limit - (use.swap or 0)) if isinstance(limit, int) else use.current
    return min(facts.meminfo().get("SwapFree", 0), own, (use.anon or 0) + use.shared)


def _why_stuck(cgroup: Cgroup, use: MemoryUse) -> str:
    """Why no more can be reclaimed: what the remaining memory is."""
    room = _swappable(cgroup, use)
    nowhere = "" if room else " that has no swap to go to"
    parts = [
        (use.anon or 0, f"anonymous memory{nowhere}"),
        (use.shared, f"shared memory and tmpfs{nowhere}"),
        (use.locked, "locked memory"),
        (use.dirty, "files that are not written to disk yet"),
        (use.kernel, "the kernel's own memory for it"),
    ]
    named = [f"{human_bytes(size)} {what}" for size, what in sorted(parts, reverse=True) if size >= MIN_NAMED_BYTES]
    text = f"{human_bytes(use.current)} are left, of which no more can be reclaimed"
    return f"{text}: {', '.join(named)}" if named else text
