"""/proc/<pid>/cmdline, read within a bounded time.

The kernel takes the process's mmap lock for it, which a page fault on a hung NFS or FUSE mount holds for ever; and root
in a mount namespace may have bound a FIFO over it. /proc/<pid>/stat never blocks.
"""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime.kernel import procfs

READ_TIMEOUT_S: Final = 1.0
MAX_BYTES: Final = 64 << 10
MAX_BLOCKED: Final = 1024  # remembered processes, the oldest forgotten first

THREAD: Final = "cmdline"

Read = Callable[[Path], bytes]


class _Reader:
    """A thread that reads one file after another.

    Attributes:
        late: the file that was asked for last has not been answered in time, and not since then.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._asked: queue.SimpleQueue[tuple[Path, queue.SimpleQueue[bytes | None]]] = queue.SimpleQueue()
        self._answered = threading.Event()
        self._answered.set()
        threading.Thread(target=self._run, name=THREAD, daemon=True).start()

    @property
    def late(self) -> bool:
        return not self._answered.is_set()

    def _run(self) -> None:
        while True:
            path, answer = self._asked.get()
            try:
                answer.put(self._read(path))
            except OSError:
                answer.put(None)
            finally:
                self._answered.set()

    def ask(self, path: Path) -> bytes | None:
        """The file's bytes, None when it cannot be read; raises `queue.Empty` after `READ_TIMEOUT_S`."""
        answer: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answered.clear()
        self._asked.put((path, answer))
        return answer.get(timeout=READ_TIMEOUT_S)


class CommandLines:
    """Reads command lines, with one thread more while one is stuck; while both are, none is read.

    A process whose file has blocked is not asked again.
    """

    def __init__(self, read: Read | None = None) -> None:
        self._read = read or _read
        self._lock = threading.Lock()
        self._reader: _Reader | None = None
        self._stuck: _Reader | None = None
        self._blocked: dict[tuple[int, int | None], None] = {}

    def of(self, pid: int, *, proc: Path = procfs.PROC) -> bytes | None:
        """The arguments, each ended by a null byte; None when the process is gone or its file blocks."""
        with self._lock:
            if self._blocked and (pid, procfs.start_time(pid, proc=proc)) in self._blocked:
                return None
            reader = self._idle()
            if reader is None:
                return None
            try:
                return reader.ask(proc / str(pid) / "cmdline")
            except queue.Empty:
                self._blocked[pid, procfs.start_time(pid, proc=proc)] = None
                if len(self._blocked) > MAX_BLOCKED:
                    del self._blocked[next(iter(self._blocked))]
                return None

    def _idle(self) -> _Reader | None:
        """A thread that is not stuck; None when there may be no further one."""
        if self._reader is not None and self._reader.late:
            if self._stuck is not None and self._stuck.late:
                return None
            self._stuck, self._reader = self._reader, self._stuck
        if self._reader is None:
            self._reader = _Reader(self._read)
        return self._reader


def _read(path: Path) -> bytes:
    """At most `MAX_BYTES`; a FIFO or a device that lies over the file is not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(fd, MAX_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


_lines: Final = CommandLines()
read = _lines.of
