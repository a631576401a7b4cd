"""Containers that their cgroups' names do not show: PID namenamespaces, and the emulators of virtual machines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.engines.found import process
from runtime.kernel import own_cgroup, procfs
from runtime.kernel.cgroupfs import Hierarchies
from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import ContainerKind

FULL_SCAN_INTERVAL_S: Final = 9.0  # between two, only processes that are new are read
MAX_GENERATIONS: Final = 64  # ancestors that are followed
_SHARES: Final = "it shares its cgroup with other processes"


@dataclass(frozen=True, slots=True)
class UnnamedContainer:
    """A container by its first process; `cgroup` is the path of its own cgroup, or `NO_OWN`."""

    pid: int
    start_ticks: int
    kind: ContainerKind
    name: str
    cgroup: str
    found: str


@dataclass(frozen=True, slots=True)
class _ProcessKind:
    """What one process is: in which PID namespace ("" for ours), and whether it runs a virtual machine."""

    pid_namespace: str
    emulator: bool


_ORDINARY: Final = _ProcessKind("", False)


class PidNamespaces:
    """Scans for containers by their processes; not thread-safe."""

    def __init__(self, hierarchies: Hierarchies, proc: Path, covered: Callable[[str], bool]) -> None:
        """`covered` tells of a cgroup's path whether its name shows a container already."""
        self._hierarchies = hierarchies
        self._proc = proc
        self._covered = covered
        self._home = procfs.pid_namespace("self", proc=proc)
        self._kinds: dict[int, _ProcessKind] = {}
        self._found: list[UnnamedContainer] = []
        self._next = 0.0

    def scan(self) -> list[UnnamedContainer]:
        """Every one that lives now; a new process is found at once, a changed one within `FULL_SCAN_INTERVAL_S`."""
        now = {int(entry) for entry in os.listdir(self._proc) if entry.isdecimal()}
        is_full = time.monotonic() >= self._next
        if is_full:
            self._next = time.monotonic() + FULL_SCAN_INTERVAL_S
            self._kinds = {}
        new = now - self._kinds.keys()
        self._kinds = {pid: kind for pid, kind in self._kinds.items() if pid in now}
        for pid in new:
            self._kinds[pid] = self._kind_of(pid)
        young = any(process.is_young(one.start_ticks) for one in self._found)
        if is_full or young or any(self._kinds[pid] != _ORDINARY for pid in new):
            self._found = list(self._find())
        self._found = [
            one
            for one in self._found
            if process.start_if_alive(one.pid, self._proc) == one.start_ticks and not self._is_covered(one.pid)
        ]
        return self._found

    def _is_covered(self, pid: int) -> bool:
        return any(self._covered(path) for path in process.cgroups_of(pid, self._proc))

    def _kind_of(self, pid: int) -> _ProcessKind:
        namespace = procfs.pid_namespace(pid, proc=self._proc)
        if namespace is None:  # another user's: NSpid shows it, and its process 1 stands for the namespace
            namespace = self._namespace_by_init(pid)
        elif namespace == self._home:
            namespace = ""
        emulator = not namespace and process.is_emulator(process.command(pid, self._proc))
        return _ORDINARY if (namespace or emulator) and self._is_covered(pid) else _ProcessKind(namespace, emulator)

    def _namespace_by_init(self, pid: int) -> str:
        """A name for another namespace by its process 1, the nearest such ancestor; "" for our namespace."""
        for _ in range(MAX_GENERATIONS):
            numbers = procfs.namespace_pids(procfs.status(pid, proc=self._proc))
            if len(numbers) < 2:
                return ""
            if numbers[-1] == 1:
                return f"of {pid}"
            pid = procfs.parent(pid, proc=self._proc)
        return ""

    def _find(self) -> Iterator[UnnamedContainer]:
        namespaces = {pid: kind.pid_namespace for pid, kind in self._kinds.items() if kind.pid_namespace}
        ancestors = {pid: self._ancestors(pid, namespaces) for pid in namespaces}
        for init in sorted(namespaces):
            if procfs.namespace_pids(procfs.status(init, proc=self._proc))[1:][-1:] != (1,) or len(ancestors[init]) > 1:
                continue  # a nested one: its parent is in another container, to which it belongs
            own = namespaces[init]
            inside = {pid for pid, line in ancestors.items() if any(namespaces[above] == own for above in line)}
            descendants = {pid for pid in inside if init in ancestors[pid]}
            cgroup = self._own_cgroup(init, descendants, inside)
            yield from self._unnamed(init, cgroup, ContainerKind.CONTAINER, "its PID namespace")
        for pid in sorted(pid for pid, kind in self._kinds.items() if kind.emulator):
            cgroup = self._own_cgroup(pid, {pid}, {pid})
            yield from self._unnamed(pid, cgroup, ContainerKind.VM, "its emulator's process")

    def _ancestors(self, pid: int, among: Collection[int]) -> list[int]:
        """A process and its ancestors, up to the first one that is not `among` these."""
        line = [pid]
        while len(line) < MAX_GENERATIONS and (above := procfs.parent(line[-1], proc=self._proc)) in among:
            line.append(above)
        return line

    def _unnamed(self, pid: int, own: str, kind: ContainerKind, found: str) -> Iterator[UnnamedContainer]:
        started = process.start_if_alive(pid, self._proc)
        words = process.command(pid, self._proc)
        if started is None or self._is_covered(pid):
            return
        if process.is_emulator(words):
            kind = ContainerKind.VM
        given = process.machine_name(words) if kind is ContainerKind.VM else ""
        name = given or f"{process.program(words) or 'process'}-{pid}"
        yield UnnamedContainer(pid, started, kind, name, own, found if own != NO_OWN else f"{found}; {_SHARES}")

    def _own_cgroup(self, init: int, descendants: Collection[int], inside: Collection[int]) -> str:
        """The deepest cgroup that holds all `descendants` of `init` and nobody who is not `inside`; else `NO_OWN`.

        A process that entered the namespace from outside (nsenter) is inside, and its cgroup may be anywhere. A cgroup
        whose processes cannot all be read may hold others, so it is nobody's own.
        """
        members = frozenset(inside)
        return own_cgroup.of_processes(
            (process.cgroup_paths(pid, self._proc) for pid in descendants),
            self._hierarchies,
            lambda pid: pid in members or self._belongs(pid, init, members),
            first=process.V1_CONTROLLERS,
        )

    def _belongs(self, other: int, init: int, inside: Collection[int]) -> bool:
        """It was forked since, has ended, or made the container and waits for its end (runc, bwrap)."""
        if other == procfs.parent(init, proc=self._proc):
            return process.is_monitor(process.command(other, self._proc))
        above = other
        for _ in range(MAX_GENERATIONS):
            above = procfs.parent(above, proc=self._proc)
            if above in inside:
                return True
            if not above:
                break
        return process.start_if_alive(other, self._proc) is None
