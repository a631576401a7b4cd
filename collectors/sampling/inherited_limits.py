"""Limits that a container inherits: the lowest limit of its ancestor cgroups holds for it too.

Docker's `--cgroup-parent`, pods, systemd slices and the embedded engine's own parent put limits above a container's
cgroup. Many containers share the same few ancestors, so each of those is read once for all, when it was written or may
have been. For memory on v1 the kernel itself gives the lowest limit, in memory.stat (`hierarchical_memory_limit`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

from collectors.sampling import parse, parse_sharing
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.model import Missing, Unlimited

Value = float | int | frozenset[int] | Unlimited | Missing
LIMIT_BYTES = 4096  # more than any of these files has
T = TypeVar("T", float | Unlimited | Missing, int | Unlimited | Missing)


class InheritedLimit:
    """One limit of one cgroup directory; `value` is as of the last `refresh`. No descriptor stays open."""

    __slots__ = ("_last", "_parse", "_paths", "directory", "value")

    def __init__(self, directory: Path, names: tuple[str, ...], parse_all: Callable[..., Value]) -> None:
        self.value: Value = Missing.UNSUPPORTED
        self.directory = str(directory)
        self._parse = parse_all
        self._last: list[bytes] | None = None
        self._paths = tuple(f"{directory}/{name}" for name in names)
        self.refresh()

    def refresh(self) -> bool:
        """Read again. Returns whether the value changed. Raises `OSError` only when descriptors ran out."""
        before = self.value
        try:
            now = [_read(path) for path in self._paths]
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                raise
            if self._last is None:
                return False  # it was never there
            self.value, self._last = Missing.GONE, []
            return self.value is not before
        if now != self._last:
            self._last = now
            self.value = self._parse(*now)
        return self.value != before


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, LIMIT_BYTES, 0)
    finally:
        os.close(fd)


def _quota_v1(quota: bytes, period: bytes) -> Value:
    return parse.cores(parse.quota_v1(quota), parse.number(period))


def tightest(own: T, inherited: Iterable[InheritedLimit]) -> T:
    """The smallest of the limits that are numbers; `own` when none above is smaller."""
    best = own
    for limit in inherited:
        value = limit.value
        if isinstance(value, (int, float)) and (not isinstance(best, (int, float)) or value < best):
            best = cast(T, value)  # an inherited limit has the type of the own one
    return best


class InheritedLimits:
    """All inherited limits in use, by directory and file. `version` grows whenever one of them changed."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        self._hierarchies = hierarchies
        self._known: dict[tuple[Path, str], InheritedLimit] = {}
        self.version = 0

    def above_cpu(self, cgroup: Cgroup) -> tuple[InheritedLimit, ...]:
        """The CPU limits above a cgroup, nearest first."""
        where = cgroup.where("cpu")
        if where is None:
            return ()
        if where[1] == 2:
            return tuple(self._get(directory, ("cpu.max",), parse.cpu_max) for directory in self._above(where[0], None))
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        return tuple(self._get(directory, names, _quota_v1) for directory in self._above(where[0], "cpu"))

    def above_memory(self, cgroup: Cgroup) -> tuple[InheritedLimit, ...]:
        """The memory limits above a cgroup in the v2 tree, nearest first."""
        where = cgroup.where("memory")
        if where is None or where[1] == 1:
            return ()
        return tuple(self._get(directory, ("memory.max",), parse.limit) for directory in self._above(where[0], None))

    def above_cpus(self, cgroup: Cgroup) -> tuple[InheritedLimit, ...]:
        """The lists of CPUs above a cgroup of the v2 tree that has no cpuset of its own, nearest first."""
        directory = cgroup.unified
        if directory is None or "cpuset" in cgroup.controllers or "cpuset" in self._hierarchies.v1:
            return ()
        names = ("cpuset.cpus.effective",)
        return tuple(self._get(each, names, parse_sharing.cpu_list) for each in self._above(directory, None))

    def _above(self, directory: Path, controller: str | None) -> Iterator[Path]:
        mount = self._hierarchies.unified if controller is None else self._hierarchies.v1.get(controller)
        while mount is not None and directory != mount.path and mount.path in directory.parents:
            directory = directory.parent
            yield directory

    def _get(self, directory: Path, names: tuple[str, ...], parse_all: Callable[..., Value]) -> InheritedLimit:
        key = (directory, names[0])
        if key not in self._known:
            self._known[key] = InheritedLimit(directory, names, parse_all)
        return self._known[key]

    @property
    def all_directories(self) -> Sequence[str]:
        """Those of every limit in use, once for each limit."""
        return [limit.directory for limit in self._known.values()]

    def refresh(self, directories: Collection[str] | None = None) -> None:
        """Read the limits of these directories again, or all of them."""
        for limit in self._known.values():
            if (directories is None or limit.directory in directories) and limit.refresh():
                self.version += 1

    def directories(self, cgroup: Cgroup) -> tuple[str, ...]:
        """Where the limits of a cgroup are: its own directories and those above it."""
        found: dict[str, None] = {}
        for controller in ("cpu", "memory", "pids", "cpuset", "io"):
            where = cgroup.where(controller)
            if where is not None:
                found[str(where[0])] = None
                above = self._above(where[0], controller if where[1] == 1 else None)
                found.update((str(directory), None) for directory in above if controller in ("cpu", "memory"))
        return tuple(found)

    def keep_only(self, used: Iterable[InheritedLimit]) -> None:
        """Forget those above no container any more."""
        wanted = set(map(id, used))
        self._known = {key: limit for key, limit in self._known.items() if id(limit) in wanted}
