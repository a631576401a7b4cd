"""Every process of one container, seen from the host: the members of its cgroup and of its PID namespace.

The cgroup has those in nested PID namespaces, the namespace those that left the cgroup. Each is used only where it is
the container's own: with the host's PID namespace only the cgroup counts. Sources: proc_pid_stat(5),
proc_pid_status(5), pid_namespaces(7).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import NotFoundError
from runtime.kernel import cgroupfs, command_line, own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.kernel.procfs import PROC, IdRange

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MAX_COMMAND_BYTES = 4096  # of a command line that are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process.

    Attributes:
        pid, ppid: numbers on the host.
        inner_pid: its number inside the container, None when it has none there (the host's namespace counts as one).
        user: user id as seen inside; "root" for 0, the number for others, because names differ inside.
        state: the letter of proc_pid_stat(5): R, S, D, Z, T...
        cpu_time_s: user and system time since it started.
        rss: resident memory, private and shared, in bytes.
    """

    pid: int
    inner_pid: int | None
    ppid: int
    user: str
    state: str
    cpu_time_s: float
    rss: int
    threads: int
    command: str


def processes(
    pid: int, cgroup: str = "", *, proc: Path = PROC, hierarchies: Hierarchies | None = None
) -> tuple[Process, ...]:
    """All processes of the container whose init is `pid`, by pid; `cgroup` is as in `Container`.

    Raises `NotFoundError` when it has ended.
    """
    if hierarchies is None:
        hierarchies = cgroupfs.detect()
    own = own_cgroup.own_part(own_cgroup.locate(hierarchies, pid, within=cgroup, proc=proc), hierarchies)
    init = procfs.status(pid, proc=proc)
    depth = len(init.get("NSpid", "0").split()) - 1
    uid_map = _uid_map(pid, proc)
    below = procfs.descendants(pid, proc=proc) if cgroup == own_cgroup.NO_OWN else frozenset()
    pids = _in_cgroup(own, hierarchies) | _in_namespace(pid, proc) | below | {pid}
    found = (_read(one, proc, depth, uid_map) for one in sorted(pids))
    result = tuple(process for process in found if process is not None)
    if not result:
        raise NotFoundError(f"list the processes of process {pid}", detail="it has ended")
    return result


def _in_cgroup(cgroup: Cgroup, hierarchies: Hierarchies) -> set[int]:
    """Members of the container's own cgroup and its descendants; none when that is a hierarchy's root."""
    directory = cgroup.unified
    if directory is None:
        own = (
            path
            for name, path in cgroup.v1.items()
            if name in hierarchies.v1 and path != hierarchies.v1[name].path and not _holds(path, os.getpid())
        )
        directory = next(own, None)
    if directory is None or _holds(directory, os.getpid()):
        return set()
    pids: set[int] = set()
    for folder, _, _ in os.walk(directory):
        pids |= _members(Path(folder))
    return pids


def _holds(directory: Path, pid: int) -> bool:
    """Whether a process is in a cgroup. One with this program in it belongs to a session or service."""
    return pid in _members(directory)


def _members(directory: Path) -> set[int]:
    try:
        return {int(word) for word in (directory / "cgroup.procs").read_text().split()}
    except (OSError, ValueError):
        return set()


def _in_namespace(pid: int, proc: Path) -> set[int]:
    """Processes in the same PID namespace, unless it is this program's."""
    namespace = procfs.pid_namespace(pid, proc=proc)
    if namespace is None or namespace == procfs.pid_namespace("self", proc=proc):
        return set()
    numbers = (int(entry) for entry in os.listdir(proc) if entry.isdecimal())
    return {number for number in numbers if procfs.pid_namespace(number, proc=proc) == namespace}


def _uid_map(pid: int, proc: Path) -> tuple[IdRange, ...]:
    """The map of its user namespace; empty when it cannot be read."""
    try:
        return procfs.parse_id_map((proc / str(pid) / "uid_map").read_text())
    except (OSError, ValueError):
        return ()


def _inner_user(uid: str, uid_map: Iterable[IdRange]) -> str:
    if not uid.isdecimal():
        return "?"
    number = int(uid)
    for ids in uid_map:
        if ids.outside <= number < ids.outside + ids.count:
            number = number - ids.outside + ids.inside
            break
    return "root" if number == 0 else str(number)


def _read(pid: int, proc: Path, depth: int, uid_map: tuple[IdRange, ...]) -> Process | None:
    """One process; None when it ended meanwhile."""
    status = procfs.status(pid, proc=proc)
    try:
        stat = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    arguments = (command_line.read(pid, proc=proc) or b"")[:MAX_COMMAND_BYTES]  # its name does where this blocks
    name = stat[stat.find("(") + 1 : stat.rfind(")")]
    fields = stat[stat.rfind(")") + 1 :].split()
    if len(fields) < 22:
        return None
    command = arguments.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    inner = status.get("NSpid", "").split()
    return Process(
        pid=pid,
        inner_pid=int(inner[depth]) if len(inner) > depth else None,
        ppid=int(fields[1]),
        user=_inner_user(next(iter(status.get("Uid", "").split()), ""), uid_map),
        state=fields[0],
        cpu_time_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        rss=int(fields[21]) * PAGE_BYTES,
        threads=int(fields[17]),
        command=command or f"[{name}]",
    )
