"""What /proc says about one process. A process that ended meanwhile gives empty answers, never an error."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

from runtime.kernel import cgroupfs, procfs

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_YOUNG: Final = 2.0  # seconds
_EMULATOR: Final = re.compile(r"qemu-system-.+|qemu-kvm|kvm|firecracker|cloud-hypervisor")
_MONITOR: Final = re.compile(r"unshare|bwrap|nsjail|firejail|minijail0|runc|crun|youki")
V1: Final = ("pids", "memory", "cpu", "freezer")
"""Hierarchies of v1 that tell where a process lives, the surest first."""


def command(pid: int, proc: Path) -> tuple[str, ...]:
    """Its command line; empty for the kernel's own threads."""
    with suppress(OSError):
        words = (proc / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return tuple(word.decode(errors="replace") for word in words if word)
    return ()


def program(words: tuple[str, ...]) -> str:
    """The name of the program in a command line, fit to be a container's name."""
    return re.sub(r"[^\w.+-]", "_", words[0].rpartition("/")[2].strip()) if words else ""


def is_emulator(words: tuple[str, ...]) -> bool:
    """Whether it runs a virtual machine."""
    return _EMULATOR.fullmatch(program(words)) is not None


def is_monitor(words: tuple[str, ...]) -> bool:
    """Whether it has made a container by hand and waits for its end, so that it belongs to it."""
    return _MONITOR.fullmatch(program(words)) is not None


def machine_name(words: tuple[str, ...]) -> str:
    """What an emulator was told to call its machine (qemu's -name), "" when it was not told."""
    for option, value in pairwise(words):
        if option in ("-name", "--name"):
            parts = value.split(",")
            given = [part.removeprefix("guest=") for part in parts if part.startswith("guest=")]
            return (given or [parts[0]])[0]
    return ""


def alive(pid: int, proc: Path) -> int | None:
    """When it started, in clock ticks since boot; None when it has ended, also when nobody has waited for it yet."""
    return None if procfs.state(pid, proc=proc) in ("Z", "X", None) else procfs.start_time(pid, proc=proc)


def is_young(born: int) -> bool:
    """Whether it may still have to become the program that it shall run; `born` is as `alive` gives it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - born / _TICKS < _YOUNG


def cgroup_paths(pid: int | str, proc: Path) -> tuple[dict[str, str], str | None]:
    """Its paths as `cgroupfs.parse_proc_cgroup` gives them."""
    try:
        text = (proc / str(pid) / "cgroup").read_text(errors="surrogateescape")
    except OSError:
        return {}, None
    return cgroupfs.parse_proc_cgroup(text)


def places(pid: int | str, proc: Path) -> tuple[str, ...]:
    """The cgroups in which it lives, the unified tree first; roots are left out."""
    v1, unified = cgroup_paths(pid, proc)
    paths = [unified, *(v1.get(name) for name in V1), *v1.values()]
    return tuple(dict.fromkeys(path for path in paths if path and path != "/"))


def started_ns(pid: int, proc: Path) -> int | None:
    """Wall clock ns of its start, by the boot time and the clock ticks since."""
    ticks = procfs.start_time(pid, proc=proc)
    with suppress(OSError, ValueError, IndexError):
        text = (proc / "stat").read_text()
        boot = int(text[text.index("btime ") :].split()[1])
        if ticks is not None:
            return int((boot + ticks / _TICKS) * 1e9)
    return None
