"""One look at the cgroup tree and at /proc: which containers are there, and by which process.

It is made again every second, so a container that is known costs two small reads, and a cgroup that belongs to a
container is not looked into. What is new, or has lost its first process, is looked at in full.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runtime.engines.found import process
from runtime.engines.found.names import Recognised, made_up_id, recognise
from runtime.engines.found.pid_namespaces import Spaces, Stray
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups, own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mount
from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import Kind

_KEPT: Final = 5.0  # seconds for which what is known of a container is only checked, not looked up again


@dataclass(frozen=True, slots=True)
class Seen:
    """A container and the process by which it is known, at one moment.

    `born` is that process's start in clock ticks since boot: with the pid it names the process for good.
    """

    what: Recognised
    pid: int
    born: int
    frozen: bool
    started_ns: int | None
    command: tuple[str, ...]

    @property
    def shares(self) -> bool:
        """It has no cgroup of its own."""
        return self.what.cgroup == NO_OWN


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept from look to look, until `until` (monotonic seconds)."""

    seen: Seen
    cgroup: Cgroup
    until: float


class Scanner:
    """Looks again and again; one thread at a time. What a path says is remembered."""

    def __init__(
        self, *, services: bool = False, hierarchies: Hierarchies | None = None, proc: Path = procfs.PROC
    ) -> None:
        self.hierarchies = cgroupfs.detect() if hierarchies is None else hierarchies
        self._services = services
        self.proc = proc
        self._names: dict[str, Recognised | None] = {}
        self._known: dict[str, _Held] = {}  # by id
        self._spaces = Spaces(self.hierarchies, proc, self._covered)

    def scan(self) -> list[Seen]:
        """Every container with a live process. What holds this program itself or process 1 is none."""
        ours = self._own_paths()
        named: dict[str, tuple[Recognised, list[Path]]] = {}  # by path
        paths: set[str] = set()
        for mount in self._mounts():
            for path, directory in self._walk(mount, paths):
                what = self._names[path]
                if what is not None and what.cgroup == path and not any(_holds(path, own) for own in ours):
                    named.setdefault(path, (what, []))[1].append(directory)
        self._names = {path: what for path, what in self._names.items() if path in paths}
        found = [self._named(what, directories) for what, directories in named.values()]
        found += [self._stray(one) for one in self._spaces.look() if not any(_holds(one.cgroup, own) for own in ours)]
        result: dict[str, Seen] = {}
        for one in found:
            if one is not None:
                result.setdefault(one.what.id, one)
        self._known = {identity: held for identity, held in self._known.items() if identity in result}
        return list(result.values())

    def _covered(self, path: str) -> bool:
        return recognise(path) is not None

    def _mounts(self) -> Iterator[Mount]:
        """The unified tree, and one v1 hierarchy: engines on hybrid hosts use either."""
        if self.hierarchies.unified is not None:
            yield self.hierarchies.unified
        for name in process.V1:
            if name in self.hierarchies.v1:
                yield self.hierarchies.v1[name]
                return

    def _walk(self, mount: Mount, paths: set[str]) -> Iterator[tuple[str, Path]]:
        """The cgroups below a mount as /proc/<pid>/cgroup would name them, not further than to a container's."""
        waiting = [("" if mount.root == "/" else mount.root, mount.path)]
        while waiting:
            above, directory = waiting.pop()
            try:
                with os.scandir(directory) as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            for name in names:
                path = f"{above}/{name}"
                paths.add(path)
                if path not in self._names:
                    self._names[path] = recognise(path, services=self._services)
                what = self._names[path]
                yield path, directory / name
                if what is None or what.kind is Kind.SERVICE:  # a service may hold containers
                    waiting.append((path, directory / name))

    def _own_paths(self) -> set[str]:
        return {path for pid in ("self", "1") for path in process.places(pid, self.proc)}

    def _named(self, what: Recognised, directories: list[Path]) -> Seen | None:
        held = self._again(what)
        if held is not None:
            return held
        pids: set[int] = set()
        for directory in directories:
            pids.update(cgroups.pids(Cgroup({"": directory})))
        if what.kind is Kind.SERVICE:  # without the containers in it
            pids = {pid for pid in pids if not any(self._covered(path) for path in process.places(pid, self.proc))}
        pid = self._first(pids, inside=what.kind is Kind.CONTAINER)
        return self._new(what, pid) if pid is not None else None

    def _stray(self, one: Stray) -> Seen | None:
        what = Recognised(made_up_id(f"{one.pid}:{one.born}"), one.name, one.cgroup, one.found, one.kind)
        if self._services and one.cgroup != NO_OWN:
            service = recognise(one.cgroup, services=True)
            if service is not None and service.cgroup == one.cgroup:
                return None
        return self._again(what) or self._new(what, one.pid)

    def _again(self, what: Recognised) -> Seen | None:
        """A container that is known, by its first process that still lives; None when it must be looked at anew."""
        held = self._known.get(what.id)
        if held is None or held.seen.what != what or time.monotonic() >= held.until:
            return None
        if process.alive(held.seen.pid, self.proc) != held.seen.born:
            return None
        seen = replace(held.seen, frozen=cgroups.is_frozen(held.cgroup))
        self._known[what.id] = replace(held, seen=seen)
        return seen

    def _new(self, what: Recognised, pid: int) -> Seen | None:
        born = procfs.start_time(pid, proc=self.proc)
        if born is None:
            return None
        cgroup = Cgroup()
        with suppress(PytopError):
            cgroup = own_cgroup.locate(self.hierarchies, pid, within=what.cgroup, proc=self.proc)
        words, started = process.command(pid, self.proc), process.started_ns(pid, self.proc)
        seen = Seen(what, pid, born, cgroups.is_frozen(cgroup), started, words)
        self._known[what.id] = _Held(seen, cgroup, time.monotonic() + (0 if process.is_young(born) else _KEPT))
        return seen

    def _first(self, pids: set[int], *, inside: bool) -> int | None:
        """The oldest process; number 1 of an inner PID namespace comes first where `inside` asks for it."""
        born = {pid: procfs.start_time(pid, proc=self.proc) for pid in pids}
        alive = sorted((ticks, pid) for pid, ticks in born.items() if ticks is not None)
        inits = (
            pid
            for _, pid in alive
            if inside and procfs.namespace_pids(procfs.status(pid, proc=self.proc))[1:][-1:] == (1,)
        )
        return next(inits, alive[0][1] if alive else None)


def _holds(cgroup: str, path: str) -> bool:
    return cgroup != NO_OWN and (path == cgroup or path.startswith(cgroup + "/"))
