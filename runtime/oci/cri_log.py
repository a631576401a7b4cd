"""Containers' logs: one line per piece of output, in the format of the Kubernetes CRI.

    2026-11-21T03:14:07.123456789Z stdout F a whole line
    2026-11-21T03:14:07.123456789Z stdout P the beginning of a line, or a prompt

`P` is a piece without its newline. A log that has grown over its bound is renamed to log.1, log.1 to log.2, and so on.
Kubernetes' own logs may have the host's zone in the place of Z.
Source: kubernetes design-proposals, kubelet-cri-logging.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runtime.model import LogLine
from runtime.oci.timestamps import format_time_ns, parse_time_ns

ROTATE_BYTES = 10 * 1024 * 1024
ROTATED_FILES = 2
MAX_PIECE_BYTES = 16 * 1024
_CHUNK_BYTES = 256 * 1024


def encode(stream: bytes, data: bytes, time_ns: int) -> bytes:
    """What a program has written, as log lines; pieces longer than `MAX_PIECE_BYTES` are cut into several."""
    head = format_time_ns(time_ns).encode() + b" " + stream
    lines = []
    for line in _split(data):
        whole = line.endswith(b"\n")
        text = line[:-1] if whole else line
        while len(text) > MAX_PIECE_BYTES:
            lines.append(head + b" P " + text[:MAX_PIECE_BYTES] + b"\n")
            text = text[MAX_PIECE_BYTES:]
        lines.append(head + (b" F " if whole else b" P ") + text + b"\n")
    return b"".join(lines)


def _split(data: bytes) -> list[bytes]:
    """Lines with their newline; a carriage return is a byte like any other, unlike in bytes.splitlines."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def decode(line: bytes) -> LogLine | None:
    """One line of a log file, without its newline; None when it is malformed (cut by a power loss)."""
    try:
        when, stream, flag, text = line.split(b" ", 3)
        moment = parse_time_ns(when.decode("ascii"))
        return None if moment is None else LogLine(stream.decode("ascii"), moment, text, flag == b"P")
    except ValueError:
        return None


def rotate(log: Path, *, keep: int = ROTATED_FILES) -> None:
    """Rename the log to log.1, log.1 to log.2 and so on; the oldest is overwritten."""
    for number in range(keep, 0, -1):
        older = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{number}"))


def files(log: Path, *, keep: int = ROTATED_FILES) -> list[Path]:
    """The log's files, oldest first."""
    older = [log.with_name(f"{log.name}.{number}") for number in range(keep, 0, -1)]
    return [path for path in [*older, log] if path.exists()]


class Reader:
    """Reads a log from a position on, across rotations. Blocking; close it."""

    def __init__(self, log: Path, *, tail: int | None = None) -> None:
        self._log = log
        self._fds = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in files(log)]
        self._rest = b""
        if tail is not None:
            self._skip_to_tail(tail)

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def read(self) -> list[LogLine]:
        """Some of the lines that have come since; empty when there are none now."""
        while self._fds:
            data = os.read(self._fds[0], _CHUNK_BYTES)
            if data:
                lines = (self._rest + data).split(b"\n")
                self._rest = lines.pop()
                return list(_decoded(lines))
            if len(self._fds) > 1:
                os.close(self._fds.pop(0))
                continue
            successor = self._successor()
            if successor is None:
                return []
            # A line may have been added between our last read and the rotation.
            self._fds.append(successor)
            if os.fstat(self._fds[0]).st_size == os.lseek(self._fds[0], 0, os.SEEK_CUR):
                os.close(self._fds.pop(0))
        return []

    def _successor(self) -> int | None:
        """The new file after a rotation; None when the log was not rotated."""
        try:
            fresh = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if os.path.samestat(os.fstat(fresh), os.fstat(self._fds[0])):
            os.close(fresh)
            return None
        return fresh

    def _skip_to_tail(self, tail: int) -> None:
        """Leave the last `tail` lines to be read. A piece without newline counts with the line that it begins."""
        wanted = max(0, tail)
        for index in range(len(self._fds) - 1, -1, -1):
            starts = _line_starts(self._fds[index])
            if len(starts) >= wanted:
                for fd in self._fds[:index]:
                    os.close(fd)
                del self._fds[:index]
                size = os.fstat(self._fds[0]).st_size
                os.lseek(self._fds[0], starts[len(starts) - wanted] if wanted else size, os.SEEK_SET)
                return
            wanted -= len(starts)


def _line_starts(fd: int) -> list[int]:
    """Where the container's lines begin in a log file: after each piece that ended one."""
    starts, position, fresh, rest = [], 0, True, b""
    offset = 0
    while data := os.pread(fd, _CHUNK_BYTES, offset):
        offset += len(data)
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if fresh:
                starts.append(position)
            fresh = line.split(b" ", 3)[2:3] != [b"P"]
            position += len(line) + 1
    return starts


def _decoded(lines: list[bytes]) -> Iterator[LogLine]:
    for line in lines:
        parsed = decode(line)
        if parsed is not None:
            yield parsed
