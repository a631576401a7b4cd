"""Write a container's output from its pipes into its log; SIGKILL of the writer neither loses nor repeats a line.

The pipes are FIFOs that the container's init holds open for reading and writing, so the container gets no SIGPIPE when
nobody reads. Data in a pipe is first copied (tee(2)), then logged, and only then read from the pipe. The mapped file
`position` holds the step that is under way; the next writer compares it with the log and the pipe and completes it.

Where the disk takes nothing (full, read-only, broken) output is dropped, so that the container goes on; once it can be
written the log says how much. Only the rate (`log_rate`) makes a container wait. The file `position` also holds what
has been lost and how long the container has waited, for `inspect`.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import struct
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.engines.embedded.process.log_rate import LogRate
from runtime.kernel import filesystems, syscalls
from runtime.oci import cri_log

STREAMS = ("stdout", "stderr")
_POSITION = struct.Struct(
    "=QQQQ"
)  # bytes of the log before a chunk and after it, bytes of the chunk, CRC-32 of the chunk
_COUNTERS = struct.Struct("=QQQ")  # as in `LogCounters`, behind the positions of the streams
_PAGE_BYTES = 4096
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogCounters:
    """Of a container's log since its run directory was made.

    Attributes:
        lost: bytes of output that the disk did not take.
        untold: those of them that the log does not tell of yet.
        waited_ns: for how long the container has waited at a full pipe because of its rate.
    """

    lost: int = 0
    untold: int = 0
    waited_ns: int = 0


def read_counters(live: Path) -> LogCounters:
    """The counters of a container by its run directory; zeros where there are none (of an earlier version)."""
    try:
        page = (live / "position").read_bytes()
    except OSError:
        return LogCounters()
    offset = len(STREAMS) * _POSITION.size
    if len(page) < offset + _COUNTERS.size:
        return LogCounters()
    return LogCounters(*_COUNTERS.unpack_from(page, offset))


def make_pipes(live: Path) -> None:
    """Make the FIFOs of a container in its run directory, unless they are there."""
    for stream in STREAMS:
        if not (live / stream).exists():
            os.mkfifo(live / stream, 0o600)


class LogWriter:
    """The writer of one container's log: the process that holds the shim lock."""

    def __init__(self, live: Path, log: Path) -> None:
        self._live, self._path = live, log
        make_pipes(live)
        self.pipes = {s: os.open(live / s, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) for s in STREAMS}
        self._fd, self._size = -1, 0
        self._aux = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.rate = LogRate()
        self._map = _map(live / "position")
        self._counters = LogCounters(*_COUNTERS.unpack_from(self._map, len(STREAMS) * _POSITION.size))
        self._reason = "the log could not be written"
        try:
            self._open()
            self._recover()
        except OSError as error:
            self._give_up(error)

    def pump(self, stream: str) -> bool:
        """Move what is in one pipe into the log; False when it was empty."""
        pipe = self.pipes[stream]
        try:
            size = syscalls.tee(pipe, self._aux[1], _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not size:
            return False
        data = os.read(self._aux[0], size)
        self._log(stream, data)
        _take(pipe, size)
        self._clear_position(stream)
        return True

    def drain(self) -> None:
        """Log everything in the pipes, and what init saved from them while there was no shim."""
        for stream in STREAMS:
            while self.pump(stream):
                pass
            saved = self._live / f"{stream}.rest"
            data = saved.read_bytes() if saved.exists() else b""
            if data:
                self._log(stream, data)
                with suppress(OSError):  # where that is refused, its position says that it is in the log
                    os.truncate(saved, 0)
                    self._clear_position(stream)

    def is_full(self) -> bool:
        """Whether one of the pipes has no room: then the container waits, or its next output will."""
        return any(self._takes_nothing(stream) for stream in STREAMS)

    def _takes_nothing(self, stream: str) -> bool:
        try:
            pipe = os.open(self._live / stream, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            room = select.poll()
            room.register(pipe, select.POLLOUT)
            return not room.poll(0)
        finally:
            os.close(pipe)

    def note_wait(self, seconds: float) -> None:
        """Count a time for which the container's output was left in a full pipe."""
        self._count(replace(self._counters, waited_ns=self._counters.waited_ns + int(seconds * 1e9)))

    def close(self) -> None:
        for fd in (*self.pipes.values(), *self._aux, self._fd):
            if fd >= 0:
                os.close(fd)
        self._map.close()

    def _log(self, stream: str, data: bytes) -> None:
        now = time.time_ns()
        lines = cri_log.encode(stream.encode(), data, now)
        self.rate.take(len(lines))
        counters = self._counters
        if counters.untold:
            gap = f"[pytop-containers: {counters.untold} bytes of output are missing here: {self._reason}]\n"
            lines = cri_log.encode(b"stderr", gap.encode(), now) + lines
        try:
            self._append(stream, data, lines)
        except OSError as error:
            self._give_up(error)
            lost, untold = counters.lost + len(data), counters.untold + len(data)
            self._count(replace(counters, lost=lost, untold=untold))
        else:
            if counters.untold:
                self._count(replace(counters, untold=0))

    def _give_up(self, error: OSError) -> None:
        """The log takes nothing now. Its file is opened again for the next output."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        self._reason = "the disk was full" if full else (error.strerror or str(error))
        self._close_log()

    def _close_log(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):  # of an earlier write
                os.close(self._fd)
            self._fd = -1

    def _count(self, counters: LogCounters) -> None:
        self._counters = counters
        fields = counters.lost, counters.untold, counters.waited_ns
        _COUNTERS.pack_into(self._map, len(STREAMS) * _POSITION.size, *fields)

    def _append(self, stream: str, data: bytes, lines: bytes) -> None:
        """All of it or nothing. Raises `OSError`."""
        if self._fd < 0:
            self._open()
        elif self._size and self._size + len(lines) > cri_log.ROTATE_BYTES:
            cri_log.rotate(self._path)
            self._close_log()  # first, so that a file that cannot be made is tried again, and the log not rotated again
            self._open()
        before, self._size = self._size, self._size + len(lines)
        self._set_position(stream, before, self._size, len(data), zlib.crc32(data))
        try:
            while lines:
                lines = lines[os.write(self._fd, lines) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, before)
            raise

    def _clear_position(self, stream: str) -> None:
        self._set_position(stream, 0, 0, 0, 0)

    def _set_position(self, stream: str, *values: int) -> None:
        _POSITION.pack_into(self._map, STREAMS.index(stream) * _POSITION.size, *values)

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _recover(self) -> None:
        """Complete the step that the previous writer was killed in."""
        for index, stream in enumerate(STREAMS):
            before, after, length, crc = _POSITION.unpack_from(self._map, index * _POSITION.size)
            if not length:
                continue
            if self._size < after:  # not (all) lines are in the log: cut it, the data is still in the pipe
                if before <= self._size:
                    os.ftruncate(self._fd, before)
                    self._size = before
            else:  # the lines are in the log: remove the data from its source, unless that was done
                self._take_again(stream, length, crc)
            self._clear_position(stream)

    def _take_again(self, stream: str, length: int, crc: int) -> None:
        saved = self._live / f"{stream}.rest"
        data = saved.read_bytes() if saved.exists() else b""
        if data:
            if zlib.crc32(data[:length]) == crc:
                saved.write_bytes(data[length:])
            return
        with suppress(BlockingIOError):
            size = syscalls.tee(self.pipes[stream], self._aux[1], length)
            data = os.read(self._aux[0], size) if size else b""
            if len(data) == length and zlib.crc32(data) == crc:
                _take(self.pipes[stream], length)


def _map(path: Path) -> mmap.mmap:
    """Map the file of positions; an anonymous page where the disk is full or read-only."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if not filesystems.refuses(error):
            raise
        return mmap.mmap(-1, _PAGE_BYTES)
    try:
        os.posix_fallocate(fd, 0, _PAGE_BYTES)  # writing to a page that has no room would be SIGBUS
        return mmap.mmap(fd, _PAGE_BYTES)
    except OSError as error:
        if not filesystems.refuses(error):
            raise
        return mmap.mmap(-1, _PAGE_BYTES)
    finally:
        os.close(fd)


def _take(pipe: int, size: int) -> None:
    while size > 0:
        size -= len(os.read(pipe, size))
