"""Reads process data from /proc: start time, status, namespaces, mounts, id maps.

Source: proc_pid_stat(5), proc_pid_status(5), proc_pid_mountinfo(5), user_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import re
import select
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runtime.errors import KernelError

PROC = Path("/proc")
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time")


def start_time(pid: int, *, proc: Path = PROC) -> int | None:
    """Start time in clock ticks since boot, unique together with the pid; None when the process is gone.

    A zombie has a start time too: see `state`. Raises `KernelError` where this process lacks what it needs to look.
    """
    fields = _stat(pid, proc)
    return int(fields[19]) if fields is not None and len(fields) > 19 else None


def start_time_if_alive(pid: int, *, proc: Path = PROC) -> int | None:
    """The start time; None when the process is gone or a zombie."""
    fields = _stat(pid, proc)
    return None if fields is None or len(fields) < 20 or fields[0] in ("Z", "X") else int(fields[19])


def state(pid: int, *, proc: Path = PROC) -> str | None:
    """The state letter of proc_pid_stat(5) ("R", "S", "Z", ...); None when the process is gone."""
    fields = _stat(pid, proc)
    return fields[0] if fields else None


def uids(pid: int, *, proc: Path = PROC) -> frozenset[int]:
    """The real, effective, saved and file system uid; empty when the process is gone. Raises as `start_time`."""
    text = _read(proc / str(pid) / "status")
    if text is None:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("Uid:")), "")
    return frozenset(int(word) for word in line.split()[1:])


def _stat(pid: int, proc: Path) -> list[str] | None:
    """The fields after the command, which may itself contain blanks and brackets."""
    text = _read(proc / str(pid) / "stat")
    return text[text.rfind(")") + 1 :].split() if text is not None else None


def _read(path: Path) -> str | None:
    """A file about a process, None when that is gone or hidden. A lack of descriptors or memory says nothing of it."""
    try:
        with open(path, errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise KernelError.from_os("read about a process", error, path=str(path)) from error
        return None


def await_end(pidfd: int, timeout: float) -> bool:
    """Wait until a process has ended, by its pidfd; False after `timeout` seconds. Blocking.

    By poll(2): select(2) takes no descriptor above 1023.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def parse_status(text: str) -> dict[str, str]:
    """Parses the text of /proc/<pid>/status: values by name."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def status(pid: int | str, *, proc: Path = PROC) -> dict[str, str]:
    """The values of /proc/<pid>/status by name; empty when the process is gone or may not be read."""
    try:
        return parse_status((proc / str(pid) / "status").read_text(errors="replace"))
    except OSError:
        return {}


def parent(pid: int, *, proc: Path = PROC) -> int:
    """The pid of the parent; 0 when there is none or the process is gone."""
    word = status(pid, proc=proc).get("PPid", "")
    return int(word) if word.isdecimal() else 0


def descendants(pid: int, *, proc: Path = PROC) -> frozenset[int]:
    """The process and every child, grandchild and so on; empty when it is gone.

    A process whose parent has ended is the child of its PID namespace's first process, so below that nothing is missed
    but what entered the namespace from outside. Needs CONFIG_PROC_CHILDREN. Source: proc_tid_children(5).
    """
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        try:
            threads = os.listdir(proc / str(each) / "task")
        except OSError:
            continue
        found.add(each)
        for thread in threads:
            with suppress(OSError):
                words = (proc / str(each) / "task" / thread / "children").read_text().split()
                waiting += [int(word) for word in words if int(word) not in found]
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """What a process and its children that were waited for have used, in ticks of SC_CLK_TCK; its own threads."""

    user: int
    system: int
    threads: int


def cpu_times(pid: int, *, proc: Path = PROC) -> CpuTimes | None:
    """From proc_pid_stat(5); None when the process is gone."""
    fields = _stat(pid, proc)
    if fields is None or len(fields) < 18:
        return None
    user, system, ended_user, ended_system = (int(word) for word in fields[11:15])
    return CpuTimes(user + ended_user, system + ended_system, int(fields[17]))


def namespace_pids(status: Mapping[str, str]) -> tuple[int, ...]:
    """The pid in the reader's PID namespace and in each nested one (NSpid of the status)."""
    return tuple(int(word) for word in status.get("NSpid", "").split() if word.isdecimal())


def effective_capabilities(pid: int | str = "self", *, proc: Path = PROC) -> int:
    """The effective capabilities as a mask; 0 when they cannot be read."""
    try:
        return int(status(pid, proc=proc).get("CapEff", "0"), 16)
    except ValueError:
        return 0


def own_capabilities() -> int:
    """This process's effective capabilities as a mask. Raises `OSError` where no file can be opened."""
    return int(parse_status((PROC / "self/status").read_text(errors="replace"))["CapEff"], 16)


def pid_namespace(pid: int | str, *, proc: Path = PROC) -> str | None:
    """The PID namespace ("pid:[4026531836]"); None when the process is gone or may not be read."""
    try:
        return os.readlink(f"{proc}/{pid}/ns/pid")
    except OSError:
        return None


def namespaces(pid: int | str, *, proc: Path = PROC) -> dict[str, int]:
    """Inode of each namespace that can be read, by name."""
    found: dict[str, int] = {}
    for name in NAMESPACES:
        try:
            target = os.readlink(proc / str(pid) / "ns" / name)
        except OSError:
            continue
        found[name] = int(target[target.index("[") + 1 : -1])
    return found


def boot_id(*, proc: Path = PROC) -> str:
    """The kernel's id of this boot, which changes with every restart of the host."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


class MountInfo(NamedTuple):
    """One line of mountinfo: `root` is the part of the file system that is mounted at `target`."""

    root: str
    target: str
    options: str
    fstype: str
    source: str
    super_options: str


_ESCAPE = re.compile(r"\\([0-7]{3})")


def unescape(text: str) -> str:
    """A path of mountinfo, where a space, tab, newline or backslash is a backslash with three octal digits."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text)


def parse_mountinfo(text: str) -> Iterator[MountInfo]:
    """The mounts of /proc/<pid>/mountinfo in their order; incomplete lines are left out."""
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        ours, theirs = left.split(" "), right.split(" ")
        if dash and len(ours) >= 6 and len(theirs) >= 3:
            source = unescape(theirs[1])
            yield MountInfo(unescape(ours[3]), unescape(ours[4]), ours[5], theirs[0], source, theirs[2])


@dataclass(frozen=True, slots=True)
class IdRange:
    """`count` ids of a user namespace starting at `inside` are the reader's ids starting at `outside`."""

    inside: int
    outside: int
    count: int


def parse_id_map(text: str) -> tuple[IdRange, ...]:
    """/proc/<pid>/uid_map or gid_map; lines that are not three numbers are left out."""
    rows = (line.split() for line in text.splitlines())
    return tuple(
        IdRange(*(int(word) for word in row)) for row in rows if len(row) == 3 and all(map(str.isdecimal, row))
    )
