"""Writes a container's log; containerd's shim runs it by file name, one for each container that was started here.

The shim passes the container's output as descriptors 3 (stdout) and 4 (stderr), and waits until descriptor 5 is closed
before it starts the container. The shim keeps its own ends open until the task is deleted, so the log of an ended
container may be complete long before this process ends: it is complete when the pipes are empty and the lock on the
directory, which is held while a chunk is copied, is free. Source: containerd runtime/v2/README.md, "Logging".
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[3])  # the directory of the packages instead of this file's

from runtime.oci import cri_log

STDOUT_FD, STDERR_FD, READY_FD = 3, 4, 5
CHUNK_BYTES = 65536


def main(folder: Path) -> None:
    """Copy both streams to `folder`/log until both have ended."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    (folder / "pid").write_text(str(os.getpid()))
    log = folder / "log"
    target = _open(log)
    os.close(READY_FD)
    with selectors.DefaultSelector() as selector:
        selector.register(STDOUT_FD, selectors.EVENT_READ, b"stdout")
        selector.register(STDERR_FD, selectors.EVENT_READ, b"stderr")
        while selector.get_map():
            ready = selector.select()
            fcntl.flock(lock, fcntl.LOCK_EX)
            for key, _ in ready:
                data = os.read(key.fd, CHUNK_BYTES)
                if not data:
                    selector.unregister(key.fd)
                    continue
                _write(target, cri_log.encode(key.data, data, time.time_ns()))
                if os.fstat(target).st_size > cri_log.ROTATE_BYTES:
                    target = _rotated(target, log)
            fcntl.flock(lock, fcntl.LOCK_UN)


def _rotated(target: int, log: Path) -> int:
    """The descriptor to go on with: the old one where a full disk takes no new file."""
    try:
        cri_log.rotate(log)
        fresh = _open(log)
    except OSError:
        return target
    os.close(target)
    return fresh


def _open(log: Path) -> int:
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _write(target: int, data: bytes) -> None:
    """Write, and drop data that cannot be written (full disk), so that the container never blocks on its output."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except OSError:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
