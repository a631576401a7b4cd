"""A scan of the cgroup tree and of /proc: the containers that are there, each with its first process.

A container of the scan before costs two small reads, and the cgroups below a container's are not visited. A container
that is new, or whose first process has ended, is read in full. A scan says also what to watch until the next one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from runtime.engines.found import process
from runtime.engines.found.names import Identity, made_up_id, recognise
from runtime.engines.found.pid_namespaces import PidNamespaces, UnnamedContainer
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups, own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mount
from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import ContainerKind

_CACHE_TTL_S: Final = 30.0  # a cached container is read in full again after this time


@dataclass(frozen=True, slots=True)
class FoundContainer:
    """A container and its first process, at one moment.

    `start_ticks` is when that process started, in clock ticks since boot. Pid and start together identify a process,
    also after its pid was given to another one.
    """

    identity: Identity
    pid: int
    start_ticks: int
    frozen: bool
    started_ns: int | None
    command: tuple[str, ...]

    @property
    def shares(self) -> bool:
        """It has no cgroup of its own, but is in one with other processes."""
        return self.identity.cgroup == NO_OWN


@dataclass(frozen=True, slots=True)
class _CachedContainer:
    """A container of an earlier scan; it is read in full again after `until` (monotonic seconds)."""

    container: FoundContainer
    cgroup: Cgroup
    until: float

    @property
    def freezer(self) -> str:
        """The directory in which it is frozen on v1, "" on v2."""
        return str(self.cgroup.v1.get("freezer", ""))


@dataclass(frozen=True, slots=True)
class ToWatch:
    """Where a change would give another scan.

    Attributes:
        parents: the directories in which cgroups of containers come and go.
        own: those of the containers, in which processes enter and are frozen, with the containers' cgroups.
        pids: first processes whose end does not show in a cgroup.
        young: a program may be executed yet, so the next scan must not be long in coming.
    """

    parents: frozenset[str] = frozenset()
    own: Mapping[str, str] = field(default_factory=dict)
    pids: frozenset[int] = frozenset()
    young: bool = False


class Scanner:
    """Scans for containers; not thread-safe. The identity that a path gives is kept from scan to scan.

    Attributes:
        to_watch: what the last scan depends on.
    """

    def __init__(
        self, *, services: bool = False, hierarchies: Hierarchies | None = None, proc: Path = procfs.PROC
    ) -> None:
        self.hierarchies = cgroupfs.detect() if hierarchies is None else hierarchies
        self._services = services
        self.proc = proc
        self.to_watch = ToWatch()
        self._untouched: frozenset[str] = frozenset()  # cgroups of which this scan takes what the last one found
        self._names: dict[str, Identity | None] = {}
        self._cache: dict[str, _CachedContainer] = {}  # by id
        self._pid_namespaces = PidNamespaces(self.hierarchies, proc, self._covered)

    def scan(self, touched: Collection[str] | None = None) -> list[FoundContainer]:
        """Every container with a live process, without those that hold this program or process 1.

        `touched` are the cgroups of containers that may have changed since the last scan, as far as they are in its
        `to_watch`; the others are taken as they were. None: all may have.
        """
        ours = self._own_paths()
        named: dict[str, tuple[Identity, list[str]]] = {}  # by path
        paths: set[str] = set()
        parents: set[str] = set()
        for mount in self._mounts():
            for path, directory in self._walk(mount, paths, parents):
                what = self._names[path]
                if what is not None and what.cgroup == path and not any(_is_within(own, path) for own in ours):
                    named.setdefault(path, (what, []))[1].append(directory)
        self._names = {path: what for path, what in self._names.items() if path in paths}
        self._untouched = frozenset(() if touched is None else self.to_watch.own.values()) - frozenset(touched or ())
        found = [self._of_cgroup(identity, directories) for identity, directories in named.values()]
        found += [
            self._of_process(one)
            for one in self._pid_namespaces.scan()
            if not any(_is_within(own, one.cgroup) for own in ours)
        ]
        result: dict[str, FoundContainer] = {}
        for one in found:
            if one is not None:
                result.setdefault(one.identity.id, one)
        self._cache = {identity: cached for identity, cached in self._cache.items() if identity in result}
        own = {directory: path for path, (_, directories) in named.items() for directory in directories}
        self.to_watch = self._watchable(result.values(), parents, own)
        return list(result.values())

    def _watchable(self, found: Iterable[FoundContainer], parents: set[str], own: dict[str, str]) -> ToWatch:
        for cached in self._cache.values():
            if cached.freezer and not cached.container.shares:
                own.setdefault(cached.freezer, cached.container.identity.cgroup)
        return ToWatch(
            frozenset(parents),
            {directory: path for directory, path in own.items() if directory not in parents},
            frozenset(one.pid for one in found if one.shares or self._names.get(one.identity.cgroup) is None),
            any(process.is_young(one.start_ticks) for one in found),
        )

    def _covered(self, path: str) -> bool:
        return recognise(path) is not None

    def _mounts(self) -> Iterator[Mount]:
        """The unified tree, and one v1 hierarchy: engines on hybrid hosts use either."""
        if self.hierarchies.unified is not None:
            yield self.hierarchies.unified
        for name in process.V1_CONTROLLERS:
            if name in self.hierarchies.v1:
                yield self.hierarchies.v1[name]
                return

    def _walk(self, mount: Mount, paths: set[str], parents: set[str]) -> Iterator[tuple[str, str]]:
        """The cgroups below a mount as /proc/PID/cgroup names them, down to a container's own.

        Fills `paths`, and `parents` with the directories that were listed.
        """
        waiting = [("" if mount.root == "/" else mount.root, str(mount.path))]
        while waiting:
            above, directory = waiting.pop()
            parents.add(directory)
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
                yield path, f"{directory}/{name}"
                if what is None or what.kind is ContainerKind.SERVICE:  # a service may hold containers
                    waiting.append((path, f"{directory}/{name}"))

    def _own_paths(self) -> set[str]:
        return {path for pid in ("self", "1") for path in process.cgroups_of(pid, self.proc)}

    def _of_cgroup(self, identity: Identity, directories: list[str]) -> FoundContainer | None:
        cached = self._from_cache(identity)
        if cached is not None:
            return cached
        pids: set[int] = set()
        for directory in directories:
            pids.update(cgroups.pids(Cgroup({"": Path(directory)})))
        if identity.kind is ContainerKind.SERVICE:  # the processes of containers in it are not its own
            pids = {pid for pid in pids if not any(self._covered(path) for path in process.cgroups_of(pid, self.proc))}
        pid = self._first_process(pids, inside=identity.kind is ContainerKind.CONTAINER)
        return self._read(identity, pid) if pid is not None else None

    def _of_process(self, one: UnnamedContainer) -> FoundContainer | None:
        identity = Identity(made_up_id(f"{one.pid}:{one.start_ticks}"), one.name, one.cgroup, one.found, one.kind)
        if self._services and one.cgroup != NO_OWN:
            service = recognise(one.cgroup, services=True)
            if service is not None and service.cgroup == one.cgroup:
                return None
        return self._from_cache(identity) or self._read(identity, one.pid)

    def _from_cache(self, identity: Identity) -> FoundContainer | None:
        """The container from the cache while its first process lives; None when it must be read in full."""
        cached = self._cache.get(identity.id)
        if cached is None or cached.container.identity != identity or time.monotonic() >= cached.until:
            return None
        if identity.cgroup in self._untouched:
            return cached.container
        if process.start_if_alive(cached.container.pid, self.proc) != cached.container.start_ticks:
            return None
        frozen = cgroups.is_frozen(cached.cgroup)
        if frozen is not cached.container.frozen:
            cached = replace(cached, container=replace(cached.container, frozen=frozen))
            self._cache[identity.id] = cached
        return cached.container

    def _read(self, identity: Identity, pid: int) -> FoundContainer | None:
        start_ticks = procfs.start_time(pid, proc=self.proc)
        if start_ticks is None:
            return None
        cgroup = Cgroup()
        with suppress(PytopError):
            cgroup = own_cgroup.locate(self.hierarchies, pid, within=identity.cgroup, proc=self.proc)
        words, started = process.command(pid, self.proc), process.started_ns(pid, self.proc)
        container = FoundContainer(identity, pid, start_ticks, cgroups.is_frozen(cgroup), started, words)
        self._cache[identity.id] = _CachedContainer(
            container, cgroup, time.monotonic() + (0 if process.is_young(start_ticks) else _CACHE_TTL_S)
        )
        return container

    def _first_process(self, pids: set[int], *, inside: bool) -> int | None:
        """The oldest process; with `inside`, process 1 of an inner PID namespace if there is one."""
        started = {pid: procfs.start_time(pid, proc=self.proc) for pid in pids}
        alive = sorted((ticks, pid) for pid, ticks in started.items() if ticks is not None)
        inits = (pid for _, pid in alive if inside and self._is_inner_init(pid))
        return next(inits, alive[0][1] if alive else None)

    def _is_inner_init(self, pid: int) -> bool:
        """It is process 1 of a PID namespace below ours."""
        return procfs.namespace_pids(procfs.status(pid, proc=self.proc))[1:][-1:] == (1,)


def _is_within(path: str, cgroup: str) -> bool:
    """Whether a cgroup's path is this cgroup's or lies below it."""
    return cgroup != NO_OWN and (path == cgroup or path.startswith(cgroup + "/"))
