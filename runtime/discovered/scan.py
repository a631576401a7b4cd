"""One look at the cgroup tree and at /proc: which containers are there, and by which process."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.discovered.names import Recognised, made_up_id, recognise
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups, procfs
from runtime.kernel.cgroupfs import Hierarchies, Mount
from runtime.model import Kind

NAMESPACES_EVERY: Final = 5.0  # seconds between two looks at every process's namespaces, which cost the most
_V1: Final = ("pids", "memory", "cpu", "freezer")


@dataclass(frozen=True, slots=True)
class Seen:
    """A container and the process by which it is known; `shares` says why it has no cgroup of its own."""

    what: Recognised
    pid: int
    frozen: bool
    started_ns: int | None
    command: tuple[str, ...]
    shares: str = ""
    born: int | None = None  # clock ticks since boot: with the pid it names that process for good


class Scanner:
    """Looks again and again; one thread at a time. What a path says is remembered."""

    def __init__(
        self, *, services: bool = False, hierarchies: Hierarchies | None = None, proc: Path = procfs.PROC
    ) -> None:
        self.hierarchies = cgroupfs.detect() if hierarchies is None else hierarchies
        self._services = services
        self._proc = proc
        self._known: dict[str, Recognised | None] = {}
        self._births: dict[tuple[int, int | None], tuple[int | None, tuple[str, ...]]] = {}
        self._strays: list[Seen] = []
        self._next_namespaces = 0.0

    def scan(self) -> list[Seen]:
        """Every container with a live process. What holds this program itself or process 1 is none."""
        ours = self._own_paths()
        members: dict[str, set[int]] = {}
        by_path: dict[str, Recognised] = {}
        seen_paths: set[str] = set()
        for mount in self._mounts():
            for path in _paths(mount):
                seen_paths.add(path)
                what = self._recognise(path)
                if what is None or any(_holds(what.cgroup, own) for own in ours):
                    continue
                by_path[what.cgroup] = what
                members.setdefault(what.cgroup, set()).update(_members(mount, path))
        self._known = {path: what for path, what in self._known.items() if path in seen_paths}
        found = [self._seen(what, members[path]) for path, what in by_path.items() if members[path]]
        inside = set().union(*members.values()) if members else set()
        if time.monotonic() >= self._next_namespaces:
            self._next_namespaces = time.monotonic() + NAMESPACES_EVERY
            self._strays = list(self._by_namespace(inside))
        strays = [
            self._seen(one.what, {one.pid}, one.shares)
            for one in self._strays
            if one.pid not in inside and procfs.start_time(one.pid, proc=self._proc) == one.born
        ]
        alive = {one.pid for one in (*found, *strays) if one is not None}
        self._births = {born: facts for born, facts in self._births.items() if born[0] in alive}
        return [one for one in (*found, *strays) if one is not None]

    def _recognise(self, path: str) -> Recognised | None:
        if path not in self._known:
            self._known[path] = recognise(path, services=self._services)
        return self._known[path]

    def _mounts(self) -> Iterator[Mount]:
        """The unified tree, and one v1 hierarchy: engines on hybrid hosts use either."""
        if self.hierarchies.unified is not None:
            yield self.hierarchies.unified
        for name in _V1:
            if name in self.hierarchies.v1:
                yield self.hierarchies.v1[name]
                return

    def _own_paths(self) -> set[str]:
        found: set[str] = set()
        for pid in ("self", "1"):
            with suppress(OSError):
                text = (self._proc / pid / "cgroup").read_text(errors="surrogateescape")
                v1, unified = cgroupfs.parse_proc_cgroup(text)
                found.update(v1.values(), [unified] if unified else [])
        return found

    def _seen(self, what: Recognised, pids: set[int], shares: str = "") -> Seen | None:
        pid = self._first(pids)
        if pid is None:
            return None
        born = (pid, procfs.start_time(pid, proc=self._proc))
        if born not in self._births:
            self._births[born] = _started(pid, self._proc), _command(pid, self._proc)
        frozen = False
        if not shares:
            with suppress(PytopError):
                frozen = cgroups.is_frozen(cgroupfs.locate(self.hierarchies, pid, within=what.cgroup, proc=self._proc))
        started, command = self._births[born]
        return Seen(what, pid, frozen, started, command, shares, born[1])

    def _first(self, pids: set[int]) -> int | None:
        """Its init: number 1 of an inner PID namespace where there is one, else the oldest process."""
        alive = [pid for pid in sorted(pids) if (self._proc / str(pid)).exists()]
        return next((pid for pid in alive if _inner(pid, self._proc) == 1), alive[0] if alive else None)

    def _by_namespace(self, known: set[int]) -> Iterator[Seen]:
        """Processes in PID namespaces of their own and virtual machines, whatever their cgroups are called."""
        home = _namespace("self", self._proc)
        members: dict[str, set[int]] = {}
        emulators: set[int] = set()
        for entry in os.listdir(self._proc):
            if not entry.isdecimal() or int(entry) in known:
                continue
            space = _namespace(entry, self._proc)
            if space is not None and home is not None and space != home:
                members.setdefault(space, set()).add(int(entry))
            elif _name(int(entry), self._proc).startswith("qemu-system-"):
                emulators.add(int(entry))
        for pids in members.values():
            init = next((pid for pid in sorted(pids) if _inner(pid, self._proc) == 1), None)
            if init is not None and not self._nested(init, members):
                one = self._stray(init, pids, Kind.CONTAINER, "its PID namespace")
                if one is not None:
                    yield one
        for pid in sorted(emulators):
            one = self._stray(pid, {pid}, Kind.VM, "its emulator, qemu")
            if one is not None:
                yield one

    def _nested(self, init: int, members: dict[str, set[int]]) -> bool:
        """Its parent is in another container already, so it is a part of that one."""
        parent = _status(init, self._proc).get("PPid", "0")
        return any(int(parent) in pids for pids in members.values()) if parent.isdecimal() else False

    def _stray(self, pid: int, pids: set[int], kind: Kind, found: str) -> Seen | None:
        """A container that its cgroup's name does not tell; the cgroup is its own when nobody else is in it."""
        try:
            where = cgroupfs.locate(self.hierarchies, pid, proc=self._proc)
            text = (self._proc / str(pid) / "cgroup").read_text(errors="surrogateescape")
        except (OSError, PytopError):
            return None
        v1, unified = cgroupfs.parse_proc_cgroup(text)
        path = next((path for path in (unified, v1.get("pids"), v1.get("memory")) if path and path != "/"), "")
        others = set(cgroups.pids(where)) - pids
        shares = "" if path and not others else "it shares its cgroup with other processes"
        name = f"{_name(pid, self._proc)}-{pid}"
        identity = made_up_id(f"{pid}:{procfs.start_time(pid, proc=self._proc)}")
        return self._seen(Recognised(identity, name, "" if shares else path, found, kind), {pid}, shares)


def _paths(mount: Mount) -> Iterator[str]:
    """Every cgroup below a mount, as /proc/<pid>/cgroup would name it."""
    top = str(mount.path)
    prefix = "" if mount.root == "/" else mount.root
    for directory, names, _ in os.walk(top):
        for name in names:
            yield prefix + f"{directory}/{name}"[len(top) :]


def _members(mount: Mount, path: str) -> set[int]:
    directory = mount.of(path)
    if directory is None:
        return set()
    try:
        return {int(word) for word in (directory / "cgroup.procs").read_text().split()} - {0}
    except (OSError, ValueError):
        return set()


def _holds(cgroup: str, path: str) -> bool:
    return path == cgroup or path.startswith(cgroup + "/")


def _namespace(pid: str, proc: Path) -> str | None:
    try:
        return os.readlink(f"{proc}/{pid}/ns/pid")
    except OSError:
        return None


def _status(pid: int, proc: Path) -> dict[str, str]:
    try:
        text = (proc / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _inner(pid: int, proc: Path) -> int | None:
    """Its number in its own PID namespace, None when that is ours."""
    numbers = _status(pid, proc).get("NSpid", "").split()
    return int(numbers[-1]) if len(numbers) > 1 else None


def _name(pid: int, proc: Path) -> str:
    with suppress(OSError):
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
        shown = words[0].decode(errors="replace").rpartition("/")[2]
        return re.sub(r"[^\w.+-]", "_", shown) or _status(pid, proc).get("Name", "")
    return ""


def _command(pid: int, proc: Path) -> tuple[str, ...]:
    with suppress(OSError):
        words = (proc / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return tuple(word.decode(errors="replace") for word in words if word)
    return ()


def _started(pid: int, proc: Path) -> int | None:
    """Wall clock ns of its start, by the boot time and the clock ticks since."""
    ticks = procfs.start_time(pid, proc=proc)
    with suppress(OSError, ValueError, IndexError):
        text = (proc / "stat").read_text()
        boot = int(text[text.index("btime ") :].split()[1])
        if ticks is not None:
            return int((boot + ticks / os.sysconf("SC_CLK_TCK")) * 1e9)
    return None
