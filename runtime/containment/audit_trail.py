"""Writes lines of the audit trail: into the run directory at once, onto the disk by one thread, synced.

The run directory's file takes a line before the change that it is about. The thread moves what is there to the disk:
it renames the file, appends it to the trail, syncs that, and removes it. So a line of a program that was killed is
moved by the next one, and one that a full or failing disk does not take stays where it is and is tried again. After a
crash between the last two steps a line is there twice, which the reader leaves out by its id.

The trail is `FILE` in `directory()`, with `MAX_OLD_FILES` older ones of at most `MAX_FILE_BYTES` each.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Final

from runtime.kernel import run_directory

STATE: Final = Path("/var/lib/pytop-containers")
FILE: Final = "audit.jsonl"
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_OLD_FILES: Final = 4
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""In the run directory, which is memory, while the disk takes nothing; what comes then is not noted there."""
ON_DISK_TIMEOUT_S: Final = 0.25
RETRY_INTERVAL_S: Final = 5.0
_JOURNAL: Final = "audit"
_MOVED: Final = "audit-moved-"
_APPEND_LOCK: Final = "audit.append"
_FLUSH_LOCK: Final = "audit.flush"


def directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Root's is beside the containers' records, a user's where programs keep their state (XDG)."""
    state = environ.get("PYTOP_STATE_DIR", "")
    if state:
        return Path(state) / "audit"
    if os.geteuid() == 0:
        return STATE / "audit"
    given = environ.get("XDG_STATE_HOME", "")
    home = Path(given) if given.startswith("/") else Path(environ.get("HOME") or "/") / ".local/state"
    return home / "pytop-containers/audit"


class AuditTrail:
    """The trail of one process. `append` may be called in any thread."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._changed = Condition()
        self._appended = 0
        self._flushed = 0
        self._why = ""
        self._lost: list[bytes] = []  # lines that the run directory did not take
        self._thread: Thread | None = None

    def append(self, line: bytes) -> None:
        """Note a line, and have it moved to the disk. Raises nothing."""
        try:
            _append(line)
            refused = False
        except OSError:
            refused = True
        with self._changed:
            if refused and sum(map(len, self._lost)) < MAX_WAITING_BYTES:
                self._lost.append(line)
            self._appended += 1
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._work, name="pytop-audit", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as error:
                    self._thread, self._why = None, str(error)
            self._changed.notify_all()

    def why_not_on_disk(self, timeout_s: float = ON_DISK_TIMEOUT_S) -> str:
        """Say why not every line so far is on the disk, after a wait for what is under way; "" when they all are."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            wanted = self._appended
            while self._flushed < wanted and not self._why and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._flushed >= wanted:
                return ""
            return f"not on disk: {self._why or f'the disk has not taken it within {timeout_s:g} s'}"

    def lines(self) -> Iterator[bytes]:
        """Every line, the oldest first: of the disk, then what waits in the run directory."""
        for number in (*range(MAX_OLD_FILES, 0, -1), 0):
            with suppress(OSError), open(self._disk / _numbered(number), "rb") as file:
                yield from file
        for data in _waiting():
            yield from data.splitlines()

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._flushed >= self._appended:
                    self._changed.wait()
                wanted, lost = self._appended, list(self._lost)
            try:
                flush(self._disk, b"".join(lost))
                why = ""
            except OSError as error:
                where = os.fsdecode(error.filename) if error.filename is not None else str(self._disk)
                why = f"{where}: {error.strerror or error}"
            with self._changed:
                self._why = why
                if not why:
                    self._flushed = wanted
                    del self._lost[: len(lost)]
                self._changed.notify_all()
                if why:
                    self._changed.wait(RETRY_INTERVAL_S)
                    self._why = ""


def _append(line: bytes) -> None:
    """Into the run directory's file, whole or not at all. Raises `OSError`."""
    with _locked(_APPEND_LOCK) as place:
        if _waiting_bytes(place) + len(line) > MAX_WAITING_BYTES:
            raise OSError(errno.ENOSPC, "too much waits for the disk")
        descriptor = run_directory.open_file(place, _JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            _write_whole(descriptor, line)
        finally:
            os.close(descriptor)


def flush(disk: Path, more: bytes = b"") -> None:
    """Move what waits in the run directory to the disk, and `more`. Raises `OSError`: everything is where it was."""
    with ExitStack() as opened:
        try:
            place = opened.enter_context(_locked(_FLUSH_LOCK))
        except OSError:  # there is no run directory, so nothing waits in it
            if more:
                _to_disk(disk, more)
            return
        with suppress(FileNotFoundError), _locked(_APPEND_LOCK):
            os.rename(_JOURNAL, f"{_MOVED}{time.time_ns():020d}", src_dir_fd=place, dst_dir_fd=place)
        names = sorted(name for name in os.listdir(place) if name.startswith(_MOVED))
        data = b"".join(_content(place, name) for name in names)
        if data or more:
            _to_disk(disk, data + more)
        for name in names:
            os.unlink(name, dir_fd=place)


def _to_disk(disk: Path, data: bytes) -> None:
    disk.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = os.open(disk, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(place).st_uid != os.geteuid() or stat.S_IMODE(os.fstat(place).st_mode) & 0o022:
            raise PermissionError(errno.EPERM, "others may write there", str(disk))
        _rotate(place, len(data))
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(FILE, flags, 0o600, dir_fd=place)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write_whole(descriptor, b"\n" + data if torn else data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.fsync(place)
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith("/"):
            error.filename = str(disk)
        raise
    finally:
        os.close(place)


def _write_whole(descriptor: int, data: bytes) -> None:
    """Append all of it; what was written of it is cut off again when the rest does not fit."""
    size = os.fstat(descriptor).st_size
    left = data
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _rotate(place: int, more: int) -> None:
    try:
        size = os.stat(FILE, dir_fd=place, follow_symlinks=False).st_size
    except FileNotFoundError:
        return
    if not size or size + more <= MAX_FILE_BYTES:
        return
    for number in range(MAX_OLD_FILES, 0, -1):
        with suppress(FileNotFoundError):
            os.rename(_numbered(number - 1), _numbered(number), src_dir_fd=place, dst_dir_fd=place)


def _numbered(number: int) -> str:
    return f"audit.{number}.jsonl" if number else FILE


def _content(place: int, name: str) -> bytes:
    with open(run_directory.open_file(place, name, os.O_RDONLY), "rb") as file:
        return file.read()


def _waiting() -> list[bytes]:
    try:
        with _locked(_APPEND_LOCK) as place:
            names = sorted(name for name in os.listdir(place) if name.startswith(_MOVED))
            return [_content(place, name) for name in (*names, _JOURNAL) if _size(place, name)]
    except OSError:
        return []


def _waiting_bytes(place: int) -> int:
    return sum(_size(place, name) for name in os.listdir(place) if name == _JOURNAL or name.startswith(_MOVED))


def _size(place: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=place, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _locked(name: str) -> Iterator[int]:
    """Hold a lock of the run directory; gives a descriptor of that. Raises `OSError`."""
    place = run_directory.open_directory()
    try:
        lock = run_directory.open_file(place, name, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield place
        finally:
            os.close(lock)
    finally:
        os.close(place)


_trails: dict[tuple[int, Path], AuditTrail] = {}


def of_process() -> AuditTrail:
    """The trail of this process; a child of fork(2) has one of its own."""
    key = os.getpid(), directory()
    return _trails.setdefault(key, AuditTrail(key[1]))
