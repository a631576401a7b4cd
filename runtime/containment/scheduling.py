"""How the kernel schedules the threads of one process: read, set, taken back. For a hog that is no container.

Each thread has a policy, a nice value and an I/O priority of its own; those that are made later inherit them. A process
is known by its pid and start time, and held by a pidfd while it is changed, so that a pid that was used again is not
touched. Source: sched(7), setpriority(2), ioprio_set(2), pidfd_open(2).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from runtime.containment.lease import Lease, LeaseState, ThreadScheduling
from runtime.errors import DeniedError, KernelError, NotFoundError
from runtime.kernel import procfs, syscalls

IDLE_IO_PRIORITY: Final = 3 << 13  # IOPRIO_CLASS_IDLE
REAL_TIME: Final = frozenset({os.SCHED_FIFO, os.SCHED_RR, 6})  # 6: SCHED_DEADLINE
RESET_ON_FORK: Final = os.SCHED_RESET_ON_FORK
_MAX_PASSES: Final = 5  # over the threads of a process that makes new ones meanwhile


def idle(thread: int) -> ThreadScheduling:
    """Only what nobody else wants, of the CPU and of disks."""
    return ThreadScheduling(thread, os.SCHED_IDLE, 0, IDLE_IO_PRIORITY)


def threads(pid: int) -> tuple[int, ...]:
    """The thread ids of a process; empty when it is gone."""
    try:
        return tuple(sorted(int(name) for name in os.listdir(procfs.PROC / str(pid) / "task")))
    except OSError:
        return ()


def read(thread: int) -> ThreadScheduling:
    """As the kernel has it. Raises `OSError`: `ProcessLookupError` when it has ended."""
    return ThreadScheduling(
        thread,
        os.sched_getscheduler(thread),
        os.getpriority(os.PRIO_PROCESS, thread),
        syscalls.ioprio_get(thread),
    )


@contextmanager
def pinned(pid: int, started: int | None) -> Iterator[None]:
    """While this pid means the process that was started then. Raises `NotFoundError` when it does not."""
    title = f"look at process {pid}"
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        raise NotFoundError.from_os(title, error) from error
    try:
        if started is None or procfs.start_time_if_alive(pid) != started:
            raise NotFoundError(title, detail="it has ended")
        yield
    finally:
        os.close(descriptor)


def read_all(pid: int) -> tuple[ThreadScheduling, ...]:
    """Of every thread of a process."""
    found: list[ThreadScheduling] = []
    for thread in threads(pid):
        with suppress(ProcessLookupError):
            found.append(read(thread))
    return tuple(found)


def set_all(pid: int, wanted: ThreadScheduling) -> None:
    """Set every thread alike, also those that are made meanwhile. Raises `DeniedError`, `KernelError`."""
    done: set[int] = set()
    for _ in range(_MAX_PASSES):
        new = [thread for thread in threads(pid) if thread not in done]
        if not new:
            return
        for thread in new:
            _set(thread, wanted)
        done.update(new)


def _set(thread: int, wanted: ThreadScheduling) -> None:
    title = f"change how thread {thread} is scheduled"
    try:
        os.sched_setscheduler(thread, wanted.policy, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, thread, wanted.nice)
        syscalls.ioprio_set(wanted.io_priority, thread)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise DeniedError.from_os(title, error, hint="Run it as root (sudo)") from error
    except OSError as error:
        raise KernelError.from_os(title, error) from error


def holds(thread: ThreadScheduling, wanted: ThreadScheduling) -> bool:
    """Whether a thread is scheduled so, whichever thread it is."""
    return (thread.policy, thread.nice, thread.io_priority) == (wanted.policy, wanted.nice, wanted.io_priority)


def restore(lease: Lease) -> tuple[LeaseState, list[str]]:
    """Take a process lease back, thread by thread: only those that are still scheduled as the lease has set them."""
    if lease.pid is None or lease.scheduled is None:
        return LeaseState.GONE, []
    try:
        with pinned(lease.pid, lease.pid_started):
            return _restore(lease.pid, lease.scheduled, lease.scheduling)
    except NotFoundError:
        return LeaseState.GONE, ["the process has ended"]
    except (DeniedError, KernelError) as error:
        return LeaseState.FAILED, [str(error)]


def _restore(
    pid: int, scheduled: ThreadScheduling, scheduling: Sequence[ThreadScheduling]
) -> tuple[LeaseState, list[str]]:
    before = {each.thread: each for each in scheduling}
    first = before.get(pid, scheduling[0] if scheduling else None)
    foreign: list[int] = []
    for now in read_all(pid):
        old = before.get(now.thread, first)
        if old is None or holds(now, old):
            continue
        if holds(now, scheduled):
            _set(now.thread, old)
        else:
            foreign.append(now.thread)
    if not foreign:
        return LeaseState.REVERTED, []
    listed = ", ".join(map(str, foreign[:5]))
    return LeaseState.CONFLICT, [f"somebody else has changed how its threads {listed} are scheduled"]
