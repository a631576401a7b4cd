"""The program's side of the keeper: starts it when there is none, and watches over it while the program runs.

Under systemd it is a service of the system's manager, or of the user's where that lingers, and is started again by
that. Else it is a child of process 1 in a cgroup of its own.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runtime.containment import ending, keeper_lock, keeper_service, store
from runtime.errors import PytopError
from runtime.kernel import run_directory, threads

log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 10.0
RETRY_S: Final = 1.0
WATCH_INTERVAL_S: Final = 1.0
_LOG: Final = "keeper.log"
_START_LOCK: Final = "keeper.start"
_ROOT: Final = Path(__file__).resolve().parents[2]
_BOOT: Final = (
    "import sys; sys.path[:0] = {paths!r}; from runtime.containment.keeper_process import main; main(sys.argv[1:])"
)


def command(*arguments: str) -> list[str]:
    """The command line of a keeper that works in this process's run directory. Raises `OSError` where there is none."""
    return command_line(run_directory.path(), *arguments)


def command_line(directory: Path, *arguments: str) -> list[str]:
    """That of a keeper for a run directory."""
    paths = [str(_ROOT), *(path for path in sys.path if path.startswith("/") and path != str(_ROOT))]
    return [sys.executable, "-I", "-c", _BOOT.format(paths=paths), str(directory), *arguments]


async def ensure() -> str:
    """Have a keeper running. "" or, in words, why there is none: the lease then ends with this program's help alone."""
    if await threads.measuring(keeper_lock.is_held):
        return ""
    return await threads.acting(start)


def start() -> str:
    """Start a keeper and wait until it has the lock; the result as of `ensure`. Blocking."""
    try:
        with _alone():
            return "" if keeper_lock.is_held() else _start()
    except (OSError, PytopError, subprocess.SubprocessError) as error:
        log.warning("start the keeper of leases: %s", error)
        return f"no keeper watches this lease: {error}"


@contextmanager
def _alone() -> Iterator[None]:
    """While no other thread or process of this user starts one. Raises `OSError`."""
    directory = run_directory.open_directory()
    try:
        lock = run_directory.open_file(directory, _START_LOCK, os.O_RDWR | os.O_CREAT)
    finally:
        os.close(directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _start() -> str:
    """One that is killed before it has the lock is not waited for: after `RETRY_S` another is started."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not keeper_service.start(command):
            _spawn()
        retry = time.monotonic() + RETRY_S
        while time.monotonic() < retry:
            if keeper_lock.is_held():
                return ""
            time.sleep(0.005)
    return f"no keeper watches this lease: it was not ready within {START_TIMEOUT_S:g} s"


def _spawn() -> None:
    """The interpreter forks into its own cgroup and session, and its first process ends at once."""
    directory = run_directory.open_directory()
    try:
        errors = run_directory.open_file(directory, _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    finally:
        os.close(directory)
    with open(errors, "wb") as log_file:
        subprocess.run(
            command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log_file,
            cwd="/",
            env={"PATH": os.defpath, **keeper_service.variables()},
            timeout=START_TIMEOUT_S,
            check=True,
        )


async def watch() -> None:
    """Start a keeper again that was killed, and end what none has ended at its time."""
    if await threads.acting(_is_missing):
        await ensure()


def _is_missing() -> bool:
    """Whether a keeper is missing; leases that are overdue are ended here."""
    leases = [lease for lease in store.read_all() if lease.active and not lease.by_api]
    for lease in leases:
        if ending.is_overdue(lease):
            with suppress(PytopError):
                ending.end(lease.id, ending.is_overdue)
    return bool(leases) and not keeper_lock.is_held()
