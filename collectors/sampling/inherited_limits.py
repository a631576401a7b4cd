"""Limits that a container inherits: the lowest limit of its ancestor cgroups holds for it too.

Docker's `--cgroup-parent`, pods, systemd slices and the embedded engine's own parent put limits above a container's
cgroup. Many containers share the same few ancestors, so each of those is read once per sweep. For memory on v1 the
kernel itself gives the lowest limit, in memory.stat (`hierarchical_memory_limit`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar, cast

from collectors.sampling import parse
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.model import Missing, Unlimited

Value = float | int | Unlimited | Missing
T = TypeVar("T", float | Unlimited | Missing, int | Unlimited | Missing)


class InheritedLimit:
    """One limit of one cgroup directory; `value` is as of the last `refresh`."""

    __slots__ = ("_fds", "_last", "_parse", "value")

    def __init__(self, directory: Path, names: tuple[str, ...], parse_all: Callable[..., Value]) -> None:
        """Open the files; one that cannot be opened makes `value` missing from then on."""
        self.value: Value = Missing.UNSUPPORTED
        self._parse = parse_all
        self._last: list[bytes] = []
        self._fds: list[int] = []
        try:
            for name in names:
                self._fds.append(os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.close()
        self.refresh()

    def refresh(self) -> bool:
        """Read again. Returns whether the value changed."""
        if not self._fds:
            return False
        try:
            now = [os.pread(fd, 64, 0) for fd in self._fds]
        except OSError:
            self.close()
            self.value = Missing.GONE
            return True
        if now == self._last:
            return False
        self._last = now
        self.value = self._parse(*now)
        return True

    def close(self) -> None:
        fds, self._fds = self._fds, []
        for fd in fds:
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

    def refresh(self) -> None:
        """Read every limit once."""
        for limit in self._known.values():
            if limit.refresh():
                self.version += 1

    def keep_only(self, used: Iterable[InheritedLimit]) -> None:
        """Close those above no container any more."""
        wanted = set(map(id, used))
        for key, limit in list(self._known.items()):
            if id(limit) not in wanted:
                del self._known[key]
                limit.close()

    def close(self) -> None:
        self.keep_only(())
