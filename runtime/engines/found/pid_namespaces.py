"""Processes in PID namespaces of their own, and virtual machines' emulators, whatever their cgroups are called."""

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
from runtime.model import Kind

EVERYTHING_EVERY: Final = 5.0  # seconds; between, only processes that are new are looked at
DEEPEST: Final = 64  # generations that are looked up
_SHARES: Final = "it shares its cgroup with other processes"


@dataclass(frozen=True, slots=True)
class Stray:
    """A container that no cgroup's name tells of: its first process, the path of its own cgroup or `NO_OWN`."""

    pid: int
    born: int
    kind: Kind
    name: str
    cgroup: str
    found: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one process was seen: its PID namespace ("" for ours), and whether it runs a virtual machine."""

    space: str
    emulator: bool


_ORDINARY: Final = _Place("", False)


class Spaces:
    """Looks again and again; one thread at a time."""

    def __init__(self, hierarchies: Hierarchies, proc: Path, covered: Callable[[str], bool]) -> None:
        """`covered` says of a cgroup's path that it tells a container by its name already."""
        self._hierarchies = hierarchies
        self._proc = proc
        self._covered = covered
        self._home = procfs.pid_namespace("self", proc=proc)
        self._places: dict[int, _Place] = {}
        self._strays: list[Stray] = []
        self._next = 0.0

    def look(self) -> list[Stray]:
        """Every one that lives now. A process that is new is seen at once, one that changed within some seconds."""
        now = {int(entry) for entry in os.listdir(self._proc) if entry.isdecimal()}
        everything = time.monotonic() >= self._next
        if everything:
            self._next = time.monotonic() + EVERYTHING_EVERY
            self._places = {}
        new = now - self._places.keys()
        self._places = {pid: place for pid, place in self._places.items() if pid in now}
        for pid in new:
            self._places[pid] = self._place(pid)
        young = any(process.is_young(one.born) for one in self._strays)
        if everything or young or any(self._places[pid] != _ORDINARY for pid in new):
            self._strays = list(self._find())
        self._strays = [
            one
            for one in self._strays
            if process.alive(one.pid, self._proc) == one.born and not self._is_covered(one.pid)
        ]
        return self._strays

    def _is_covered(self, pid: int) -> bool:
        return any(self._covered(path) for path in process.places(pid, self._proc))

    def _place(self, pid: int) -> _Place:
        space = procfs.pid_namespace(pid, proc=self._proc)
        if space is None:  # another user's: its numbers tell, and its first process stands for the namespace
            space = self._first_above(pid)
        elif space == self._home:
            space = ""
        emulator = not space and process.is_emulator(process.command(pid, self._proc))
        return _ORDINARY if (space or emulator) and self._is_covered(pid) else _Place(space, emulator)

    def _first_above(self, pid: int) -> str:
        """The process numbered 1 from which it descends, for one in another namespace; "" for one in ours."""
        for _ in range(DEEPEST):
            numbers = procfs.namespace_pids(procfs.status(pid, proc=self._proc))
            if len(numbers) < 2:
                return ""
            if numbers[-1] == 1:
                return f"of {pid}"
            pid = procfs.parent(pid, proc=self._proc)
        return ""

    def _find(self) -> Iterator[Stray]:
        spaces = {pid: place.space for pid, place in self._places.items() if place.space}
        lines = {pid: self._line(pid, spaces) for pid in spaces}
        for init in sorted(spaces):
            if procfs.namespace_pids(procfs.status(init, proc=self._proc))[1:][-1:] != (1,) or len(lines[init]) > 1:
                continue  # number 1 whose parent is in another container is a part of that one
            inside = {pid for pid, line in lines.items() if any(spaces[above] == spaces[init] for above in line)}
            born = {pid for pid in inside if init in lines[pid]}
            yield from self._stray(init, self._own(init, born, inside), Kind.CONTAINER, "its PID namespace")
        for pid in sorted(pid for pid, place in self._places.items() if place.emulator):
            yield from self._stray(pid, self._own(pid, {pid}, {pid}), Kind.VM, "its emulator's process")

    def _line(self, pid: int, among: Collection[int]) -> list[int]:
        """A process and those above it, as far as they are `among` these."""
        line = [pid]
        while len(line) < DEEPEST and (above := procfs.parent(line[-1], proc=self._proc)) in among:
            line.append(above)
        return line

    def _stray(self, pid: int, own: str, kind: Kind, found: str) -> Iterator[Stray]:
        started = process.alive(pid, self._proc)
        words = process.command(pid, self._proc)
        if started is None or self._is_covered(pid):
            return
        if process.is_emulator(words):
            kind = Kind.VM
        given = process.machine_name(words) if kind is Kind.VM else ""
        name = given or f"{process.program(words) or 'process'}-{pid}"
        yield Stray(pid, started, kind, name, own, found if own != NO_OWN else f"{found}; {_SHARES}")

    def _own(self, init: int, born: Collection[int], inside: Collection[int]) -> str:
        """The deepest cgroup in which all that it has `born` are, with none but those `inside`; else `NO_OWN`.

        Whoever was sent in from outside (nsenter) is inside too, but may be in a cgroup anywhere.
        """
        its = frozenset(inside)
        return own_cgroup.of_processes(
            (process.cgroup_paths(pid, self._proc) for pid in born),
            self._hierarchies,
            lambda pid: pid in its or self._belongs(pid, init, its),
            first=process.V1,
        )

    def _belongs(self, other: int, init: int, inside: Collection[int]) -> bool:
        """It was forked since, has ended, or is the program that made the container and waits for its end."""
        if other == procfs.parent(init, proc=self._proc):
            return process.is_monitor(process.command(other, self._proc))
        above = other
        for _ in range(DEEPEST):
            above = procfs.parent(above, proc=self._proc)
            if above in inside:
                return True
            if not above:
                break
        return process.alive(other, self._proc) is None
