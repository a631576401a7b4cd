"""Output that another client of containerd has kept in a file: nerdctl's JSON lines, and what goes to a file:// URI.

The path comes from a label or from the task, so it is untrusted: only a regular file of a user whom the daemon may name
is read, in pieces of a bounded size. Sources: nerdctl's pkg/logging (json-file), containerd's pkg/cio (LogFile).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.errors import DeniedError, InvalidError
from runtime.model import LogLine
from runtime.oci.timestamps import parse_time_ns

STATE_DIRECTORY: Final = "nerdctl/state-dir"
MAX_TAIL_BYTES: Final = 16 << 20  # of the end of a file that are searched for the last lines
MAX_LINE_BYTES: Final = 1 << 20  # a longer one comes in pieces, or is left out where it is JSON
_CHUNK_BYTES: Final = 256 << 10
_FILE: Final = "file://"


class LogFormat(Enum):
    """What a line of the file is."""

    JSON = "json"  # {"log": "text\n", "stream": "stdout", "time": "2026-11-21T03:14:07.123456789Z"}
    PLAIN = "plain"  # what the program has written, both streams together, without times


@dataclass(frozen=True, slots=True)
class ForeignLog:
    """A log file; its owner must be one of `owners` (uids)."""

    path: Path
    format: LogFormat
    owners: frozenset[int]


def find(
    container: pb.Container, process: pb.Process | None, uris: Mapping[str, str], owners: frozenset[int]
) -> ForeignLog | None:
    """The file that labels or the task name; `uris` are the log URIs of labels. Blocking."""
    named = (process.stdout if process is not None else "", *uris.values())
    for uri in named:
        path = unquote(urlsplit(uri).path) if uri.startswith(_FILE) else ""
        if path.startswith("/"):
            return ForeignLog(Path(path), LogFormat.PLAIN, owners)
    directory = container.labels.get(STATE_DIRECTORY, "")
    if directory.startswith("/") and "/" not in container.id:
        written = Path(directory) / f"{container.id}-json.log"
        if os.path.lexists(written):
            return ForeignLog(written, LogFormat.JSON, owners)
    return None


def open_log(log: ForeignLog) -> int:
    """Open it for reading. Raises `InvalidError` when it is no regular file, `DeniedError` for another's, `OSError`."""
    title = f"read the log {log.path}"
    handle = os.open(log.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidError(title, detail="it is no regular file")
        if status.st_uid not in log.owners:
            raise DeniedError(title, detail=f"it belongs to user {status.st_uid}, whom this containerd may not name")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(handle)


class ForeignReader:
    """Reads the lines from a position on, across rotations. Blocking; close it."""

    def __init__(self, log: ForeignLog, *, tail: int | None = None) -> None:
        self._log = log
        self._fd = open_log(log)
        self._rest = b""
        if tail is not None:
            self._skip_to_tail(max(0, tail))

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self) -> list[LogLine]:
        """Some of the lines that have come since; empty when there are none now."""
        while True:
            data = os.read(self._fd, _CHUNK_BYTES)
            *lines, self._rest = (self._rest + data).split(b"\n")
            found = self._decoded(lines, at_end=not data)
            if found or not (data or self._rotated()):
                return found

    def _decoded(self, lines: list[bytes], *, at_end: bool) -> list[LogLine]:
        """Whole lines, and what is there of the last one where that is at the end (a prompt) or too long."""
        too_long = len(self._rest) > MAX_LINE_BYTES
        if self._log.format is LogFormat.JSON:
            self._rest = b"" if too_long else self._rest
            return [line for line in map(_from_json, lines) if line is not None]
        moment = os.fstat(self._fd).st_mtime_ns
        found = [LogLine("stdout", moment, line) for line in lines]
        if self._rest and (at_end or too_long):
            found.append(LogLine("stdout", moment, self._rest, partial=True))
            self._rest = b""
        return found

    def _rotated(self) -> bool:
        """Whether there is another file now, which is read from its beginning."""
        try:
            fresh = open_log(self._log)
        except FileNotFoundError:
            return False
        if os.path.samestat(os.fstat(fresh), os.fstat(self._fd)):
            os.close(fresh)
            return False
        os.close(self._fd)
        self._fd, self._rest = fresh, b""
        return True

    def _skip_to_tail(self, tail: int) -> None:
        """Leave the last `tail` lines to be read, as far as they are within `MAX_TAIL_BYTES`."""
        size = os.fstat(self._fd).st_size
        start = max(0, size - MAX_TAIL_BYTES)
        end, at, found = b"", size, -1
        while at > start and found < tail:
            step = min(_CHUNK_BYTES, at - start)
            at -= step
            end = os.pread(self._fd, step, at) + end
            found = end.removesuffix(b"\n").count(b"\n")
        lines = end.removesuffix(b"\n").split(b"\n")
        kept = sum(len(line) + 1 for line in lines[len(lines) - tail :]) if tail else 0
        beginning = size - min(kept - (not end.endswith(b"\n")), len(end)) if tail else size
        os.lseek(self._fd, max(start, beginning), os.SEEK_SET)


def _from_json(line: bytes) -> LogLine | None:
    """One line; None when it is damaged."""
    try:
        document = json.loads(line)
        text, stream = str(document["log"]).encode(), str(document.get("stream", "stdout"))
        moment = parse_time_ns(str(document.get("time", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return LogLine(stream, moment or 0, text.removesuffix(b"\n"), partial=not text.endswith(b"\n"))
