"""What /proc says about one process. A process that has ended gives empty values, never an error."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

from runtime.kernel import cgroupfs, command_line, procfs

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_YOUNG_S: Final = 2.0
_EMULATOR: Final = re.compile(r"qemu-system-.+|qemu-kvm|kvm|firecracker|cloud-hypervisor")
_MONITOR: Final = re.compile(r"unshare|bwrap|nsjail|firejail|minijail0|runc|crun|youki")
V1_CONTROLLERS: Final = ("pids", "memory", "cpu", "freezer")
"""The v1 hierarchies that show where a process lives, the most reliable first."""


def command(pid: int, proc: Path) -> tuple[str, ...]:
    """Its command line; empty for kernel threads, and where reading it blocks."""
    words = (command_line.read(pid, proc=proc) or b"").rstrip(b"\0").split(b"\0")
    return tuple(word.decode(errors="replace") for word in words if word)


def program(words: tuple[str, ...]) -> str:
    """The program's file name in a command line, with only characters that a container's name may have."""
    return re.sub(r"[^\w.+-]", "_", words[0].rpartition("/")[2].strip()) if words else ""


def is_emulator(words: tuple[str, ...]) -> bool:
    """Whether the program is an emulator that runs a virtual machine."""
    return _EMULATOR.fullmatch(program(words)) is not None


def is_monitor(words: tuple[str, ...]) -> bool:
    """Whether the program makes a container without an engine and waits for its end: it is counted as part of it."""
    return _MONITOR.fullmatch(program(words)) is not None


def machine_name(words: tuple[str, ...]) -> str:
    """The machine's name in an emulator's command line (qemu: -name), "" when there is none."""
    for option, value in pairwise(words):
        if option in ("-name", "--name"):
            parts = value.split(",")
            given = [part.removeprefix("guest=") for part in parts if part.startswith("guest=")]
            return (given or [parts[0]])[0]
    return ""


def start_if_alive(pid: int, proc: Path) -> int | None:
    """When it started, in clock ticks since boot; None when it has ended, zombies included."""
    return procfs.start_time_if_alive(pid, proc=proc)


def is_young(start_ticks: int) -> bool:
    """Whether it may not have called execve yet; `start_ticks` is as `start_if_alive` gives it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / _TICKS < _YOUNG_S


def cgroup_paths(pid: int | str, proc: Path) -> tuple[dict[str, str], str | None]:
    """Its paths as `cgroupfs.parse_proc_cgroup` gives them."""
    try:
        text = (proc / str(pid) / "cgroup").read_text(errors="surrogateescape")
    except OSError:
        return {}, None
    return cgroupfs.parse_proc_cgroup(text)


def cgroups_of(pid: int | str, proc: Path) -> tuple[str, ...]:
    """The paths of its cgroups without the roots, the unified tree's first."""
    v1, unified = cgroup_paths(pid, proc)
    paths = [unified, *(v1.get(name) for name in V1_CONTROLLERS), *v1.values()]
    return tuple(dict.fromkeys(path for path in paths if path and path != "/"))


def started_ns(pid: int, proc: Path) -> int | None:
    """Its start, wall clock nanoseconds since the epoch; None when it is gone."""
    ticks = procfs.start_time(pid, proc=proc)
    with suppress(OSError, ValueError, IndexError):
        text = (proc / "stat").read_text()
        boot = int(text[text.index("btime ") :].split()[1])
        if ticks is not None:
            return int((boot + ticks / _TICKS) * 1e9)
    return None
