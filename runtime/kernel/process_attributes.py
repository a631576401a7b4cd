"""The attributes that a process inherits, and their defaults: priorities, CPUs, resource limits, oom_score_adj.

Without this a container's program has those of whoever started the engine. The limits are the kernel's own for a first
process, with two exceptions as in systemd and Docker: the hard limit of open files is higher, and the number of
processes is not limited by user, since each container has its pids limit.
Source: getrlimit(2), sched(7), ioprio_set(2), proc_pid_oom_score_adj(5); INIT_RLIMITS in the kernel's
include/asm-generic/resource.h.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from runtime.kernel import procfs, syscalls

_UNLIMITED: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_MIB_BYTES: Final = 1 << 20
RESOURCE_LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "CPU": _UNLIMITED,
    "FSIZE": _UNLIMITED,
    "DATA": _UNLIMITED,
    "STACK": (8 * _MIB_BYTES, resource.RLIM_INFINITY),
    "CORE": (0, resource.RLIM_INFINITY),
    "RSS": _UNLIMITED,
    "NPROC": _UNLIMITED,
    "NOFILE": (1024, 524288),
    "MEMLOCK": (8 * _MIB_BYTES, 8 * _MIB_BYTES),
    "AS": _UNLIMITED,
    "SIGPENDING": _UNLIMITED,
    "MSGQUEUE": (819200, 819200),
    "NICE": (0, 0),
    "RTPRIO": (0, 0),
    "RTTIME": _UNLIMITED,
}
"""Soft and hard limit by the name behind RLIMIT_; sizes in bytes."""
_ALL_CPUS: Final = range(8192)  # the kernel leaves out those that are not there


def set_defaults() -> tuple[str, ...]:
    """Set this process's attributes to their defaults; returns what could not be set, with the reason.

    Of a resource limit that may not be raised that far, as much is set as may be.
    """
    return (*_scheduling(), *_limits())


def _scheduling() -> Iterator[str]:
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("the scheduler SCHED_OTHER", lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))),
        ("nice 0", lambda: os.setpriority(os.PRIO_PROCESS, 0, 0)),
        ("all CPUs", lambda: os.sched_setaffinity(0, _ALL_CPUS)),
        ("no I/O priority", lambda: syscalls.ioprio_set(0)),
        ("oom_score_adj 0", lambda: _write(procfs.PROC / "self/oom_score_adj", b"0")),
    )
    for name, step in steps:
        try:
            step()
        except OSError as error:
            yield f"{name}: {error.strerror}"


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _limits() -> Iterator[str]:
    for name, wanted in RESOURCE_LIMITS.items():
        number = getattr(resource, f"RLIMIT_{name}")
        held = resource.getrlimit(number)
        if held == wanted:
            continue
        try:
            resource.setrlimit(number, wanted)
        except (OSError, ValueError):  # ValueError is Python's word for EPERM of a hard limit
            with suppress(OSError, ValueError):
                resource.setrlimit(number, (_least(wanted[0], held[1]), _least(wanted[1], held[1])))
            soft, hard = map(_text, resource.getrlimit(number))
            yield f"RLIMIT_{name} {_text(wanted[0])}:{_text(wanted[1])}: it is {soft}:{hard}"


def _least(one: int, other: int) -> int:
    finite = [value for value in (one, other) if value != resource.RLIM_INFINITY]
    return min(finite, default=resource.RLIM_INFINITY)


def _text(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
