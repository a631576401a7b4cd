"""Write a container's output from its pipes into its log; SIGKILL of the writer neither loses nor repeats a line.

The pipes are FIFOs that the container's init holds open for reading and writing, so the container gets no SIGPIPE when
nobody reads. Data in a pipe is first copied (tee(2)), then logged, and only then read from the pipe. The mapped file
`position` holds the step that is under way; the next writer compares it with the log and the pipe and completes it.

On a full or read-only disk output is dropped, so that the container goes on; once there is room the log says how much.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

from runtime.kernel import filesystems, syscalls
from runtime.oci import cri_log

STREAMS = ("stdout", "stderr")
_POSITION = struct.Struct(
    "=QQQQ"
)  # bytes of the log before a chunk and after it, bytes of the chunk, CRC-32 of the chunk
_PAGE_BYTES = 4096
_CHUNK_BYTES = 64 * 1024


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
        self._lost = 0  # bytes that the log could not take
        self._map = _map(live / "position")
        try:
            self._open()
        except OSError as error:
            if not filesystems.refuses(error):
                raise
        else:
            self._recover()

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
                os.truncate(saved, 0)
                self._clear_position(stream)

    def close(self) -> None:
        for fd in (*self.pipes.values(), *self._aux, self._fd):
            if fd >= 0:
                os.close(fd)
        self._map.close()

    def _log(self, stream: str, data: bytes) -> None:
        try:
            self._append(stream, data)
        except OSError as error:
            if not filesystems.refuses(error):
                raise
            self._lost += len(data)

    def _append(self, stream: str, data: bytes) -> None:
        """All of it or nothing. Raises `OSError`."""
        now = time.time_ns()
        lines = cri_log.encode(stream.encode(), data, now)
        if self._lost:
            gap = b"[pytop-containers: %d bytes of output are missing here: the disk was full]\n" % self._lost
            lines = cri_log.encode(b"stderr", gap, now) + lines
        if self._fd < 0:
            self._open()
        elif self._size and self._size + len(lines) > cri_log.ROTATE_BYTES:
            cri_log.rotate(self._path)
            self._open()
        before, self._size = self._size, self._size + len(lines)
        self._set_position(stream, before, self._size, len(data), zlib.crc32(data))
        try:
            while lines:
                lines = lines[os.write(self._fd, lines) :]
        except OSError:
            self._size = before
            os.ftruncate(self._fd, before)
            raise
        self._lost = 0

    def _clear_position(self, stream: str) -> None:
        self._set_position(stream, 0, 0, 0, 0)

    def _set_position(self, stream: str, *values: int) -> None:
        _POSITION.pack_into(self._map, STREAMS.index(stream) * _POSITION.size, *values)

    def _open(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
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
