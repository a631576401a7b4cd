"""Facts about a process from /proc: when it started, its namespaces, its command."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time")


def start_time(pid: int, *, proc: Path = PROC) -> int | None:
    """Start time in clock ticks since boot, which with the pid names a process for good; None when it is gone.

    A zombie has a start time too: see `state`.
    """
    fields = _stat(pid, proc)
    return int(fields[19]) if fields is not None and len(fields) > 19 else None


def state(pid: int, *, proc: Path = PROC) -> str | None:
    """The state letter of proc_pid_stat(5) ("R", "S", "Z", ...); None when the process is gone."""
    fields = _stat(pid, proc)
    return fields[0] if fields else None


def uids(pid: int, *, proc: Path = PROC) -> frozenset[int]:
    """The real, effective, saved and file system uid; empty when the process is gone."""
    try:
        text = (proc / str(pid) / "status").read_text(errors="surrogateescape")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("Uid:")), "")
    return frozenset(int(word) for word in line.split()[1:])


def _stat(pid: int, proc: Path) -> list[str] | None:
    """The fields after the command, which may hold blanks and brackets itself."""
    try:
        text = (proc / str(pid) / "stat").read_text(errors="surrogateescape")
    except OSError:
        return None
    return text[text.rfind(")") + 1 :].split()


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
    """The kernel's id of this boot: state written under another one is from before a restart."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()
