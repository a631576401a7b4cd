"""The keeper: a small process that takes leases back at their time, also when whoever took them was killed.

It needs no engine: a lease's file says what to write where. It lives in a cgroup and a session of its own and ignores
SIGHUP, so it outlives the program that has started it, its terminal and its login. There is one for each user, held by
a lock; a second one waits for the lock, so that it takes over at once. It sleeps until a lease is due or one comes, and
ends when there was none for `IDLE_S` seconds.

Each lease is taken back in a thread of its own: a write that the kernel does not finish delays no other lease. What
could not be taken back is tried again. What a program that was killed had lowered for a moment is put back meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from runtime.containment import ending, holder, keeper_lock, store
from runtime.containment.lease import Lease, LeaseState
from runtime.errors import PytopError
from runtime.kernel import (
    cgroupfs,
    limit_journal,
    process_attributes,
    procfs,
    run_directory,
    service_cgroup,
    signals,
    syscalls,
)

PROCESS_NAME: Final = "pytop-keeper"
CGROUP: Final = "pytop-containers-keeper"
SERVICE: Final = "--service"
"""Given by systemd, which has put this process into a cgroup and session of its own."""
IDLE_S: Final = 60.0
STANDBY_INTERVAL_S: Final = 0.2
MAX_SLEEP_S: Final = 0.5
"""While there is a lease: poll(2) does not count the time for which the machine sleeps, and leases do."""
MIN_RETRY_S: Final = 0.5
MAX_RETRY_S: Final = 30.0
OOM_SCORE_ADJ: Final = -900
_MAX_THREADS: Final = 32
_ENTRY_EVENTS: Final = 0x80 | 0x200  # IN_MOVED_TO, IN_DELETE


def main(arguments: list[str]) -> None:
    """Arguments: the run directory, and `SERVICE` under systemd."""
    os.umask(0o077)
    run_directory.use(Path(arguments[0]))
    if SERVICE not in arguments:
        pid, _ = service_cgroup.fork_into(cgroupfs.detect(), CGROUP)
        if pid:  # who has started it waits for this process only
            os._exit(0)
        os.setsid()
        os.chdir("/")
        signals.reset()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    process_attributes.set_defaults()
    with suppress(OSError):  # only root may be spared; who is not, is started again by the program or systemd
        (procfs.PROC / "self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(PROCESS_NAME)
    run()


def run(*, idle_s: float = IDLE_S) -> None:
    """Keep the user's leases until there was none for `idle_s` seconds."""
    while (lock := _await_lock()) is not None:
        try:
            Keeper(idle_s).serve()
        finally:
            os.close(lock)
        if not _active():  # one that came in the last moment was noted before its taker looked for a keeper
            return


def _await_lock() -> int | None:
    """The keeper's lock; None when another one has it and there is nothing more to keep.

    It waits for ended leases too, whose files are there for a while: a unit of systemd starts a keeper as long as there
    are any.
    """
    while (lock := keeper_lock.try_take()) is None:
        if not store.read_all():
            return None
        time.sleep(STANDBY_INTERVAL_S)
    return lock


def _active() -> list[Lease]:
    return [lease for lease in store.read_all() if lease.active]


class Keeper:
    """The work of the one that has the lock."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._lock = Lock()
        self._busy: set[str] = set()
        self._retries: dict[
            str, tuple[float, float]
        ] = {}  # by lease: when it is tried again, and the pause before that

    def serve(self) -> None:
        """Until nothing was to be kept for the idle time."""
        events = _watch()
        poll = select.poll()
        if events is not None:
            poll.register(events, select.POLLIN)
        idle_since = time.monotonic()
        try:
            while True:
                leases = _active()
                for lease in leases:
                    if self._is_due(lease):
                        self._begin(lease)
                store.sweep()
                limit_journal.restore_abandoned()
                now = time.monotonic()
                if leases or self._busy:
                    idle_since = now
                elif now - idle_since >= self._idle_s:
                    return
                poll.poll(1000 * self._sleep_s(leases, self._idle_s - (now - idle_since), watched=events is not None))
                if events is not None:
                    with suppress(BlockingIOError):
                        os.read(events, 65536)
        finally:
            if events is not None:
                os.close(events)

    def _sleep_s(self, leases: list[Lease], idle_left_s: float, *, watched: bool) -> float:
        if not leases:
            return max(0.001, idle_left_s) if watched else MAX_SLEEP_S
        first_s = min((lease.expires_ns - store.now_ns()) / 1e9 for lease in leases)
        return min(MAX_SLEEP_S, first_s) if first_s > 0 else MIN_RETRY_S / 10

    def _is_due(self, lease: Lease) -> bool:
        with self._lock:
            if lease.id in self._busy or len(self._busy) >= _MAX_THREADS:
                return False
            again, _ = self._retries.get(lease.id, (0.0, 0.0))
        return time.monotonic() >= again and is_due(lease)

    def _begin(self, lease: Lease) -> None:
        with self._lock:
            self._busy.add(lease.id)
        try:
            Thread(target=self._end, args=(lease,), daemon=True).start()
        except RuntimeError:  # the limit of processes
            self._end(lease)

    def _end(self, lease: Lease) -> None:
        ended = False
        try:
            done = ending.end(lease.id, is_due)
            ended = done is None or done.state is not LeaseState.FAILED
        except (PytopError, OSError) as error:
            sys.stderr.write(f"{lease.id} of {lease.name}: {error}\n")
        with self._lock:
            self._busy.discard(lease.id)
            if ended:
                self._retries.pop(lease.id, None)
            else:
                _, pause = self._retries.get(lease.id, (0.0, MIN_RETRY_S / 2))
                pause = min(MAX_RETRY_S, 2 * pause)
                self._retries[lease.id] = time.monotonic() + pause, pause


def is_due(lease: Lease) -> bool:
    """Its time is over; of one that an engine's API holds, the program that holds it has ended."""
    return not holder.is_alive(lease.holder) if lease.by_api else ending.is_expired(lease)


def _watch() -> int | None:
    """An inotify instance that sees leases come and go; None where there is none left for this user."""
    try:
        events = syscalls.inotify_init()
    except OSError:
        return None
    try:
        syscalls.inotify_add_watch(events, os.fsencode(run_directory.path()), _ENTRY_EVENTS)
    except OSError:
        os.close(events)
        return None
    return events


if __name__ == "__main__":
    main(sys.argv[1:])
