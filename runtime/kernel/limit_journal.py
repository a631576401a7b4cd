"""Notes of limits that are lowered for a moment, so that they are raised again also when this program is killed then.

Memory is reclaimed by lowering memory.high (v2) or the hard limit (v1) and putting the old value back. A note is
written before that, and removed after it. Whoever looks next puts back what a process that has ended has left: only if
it is the same cgroup and the file still holds what that process has set. Notes are in `run_directory`, one file each,
written aside and renamed. One that cannot be written stops no change.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from runtime.errors import NotFoundError, PytopError
from runtime.kernel import files, procfs, run_directory

log = logging.getLogger(__name__)

PREFIX: Final = "lowered-"
UNFINISHED: Final = f".{PREFIX}"
UNFINISHED_MAX_AGE_S: Final = 60.0
"""After which a note that was not renamed is removed: its writer has ended before it lowered anything."""
MAX_NOTE_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredLimit:
    """One limit file: its text before and the text that was written for a moment, and who has written it.

    The cgroup is known by its directory's device and inode, the writer by pid, start time (clock ticks since boot), PID
    namespace and the id of the boot.
    """

    path: str
    device: int
    inode: int
    before: str
    lowered: str
    pid: int
    started: int | None
    namespace: str | None
    boot: str

    @property
    def name(self) -> str:
        """Of the note's file: one for each limit file and writer."""
        return f"{PREFIX}{self.pid}-{self.device:x}-{self.inode:x}-{Path(self.path).name}"


@contextmanager
def lowered(path: Path, before: str, text: str) -> Iterator[None]:
    """Around a write of `text` to a limit file: afterwards it holds `before` again, unless others have changed it."""
    note(path, before, text)
    try:
        yield
    finally:
        with suppress(NotFoundError):
            put_back(path, before, text)
        forget(path)


def note(path: Path, before: str, text: str) -> None:
    """Note that `text` is about to be written to a limit file for a moment; `forget` follows when that is over."""
    try:
        entry = _entry(path, before, text)
        directory = run_directory.open_directory()
        try:
            aside = f".{entry.name}"
            descriptor = run_directory.open_file(directory, aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with open(descriptor, "w") as file:
                json.dump(asdict(entry), file)
            os.rename(aside, entry.name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        log.warning("lowering %s without a note of it: %s", path, error)


def forget(path: Path) -> None:
    """Remove this process's note of a limit file."""
    try:
        name = _entry(path, "", "").name
        directory = run_directory.open_directory(make=False)
    except OSError:  # the cgroup or the directory is gone: `restore_abandoned` removes what is left
        return
    try:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def put_back(path: Path, before: str, text: str) -> bool:
    """Write `before` if the file still holds `text`, which the kernel may have rounded down to whole pages.

    Raises as `files.write`.
    """
    held = files.try_read(path)
    if not isinstance(held, str) or not _is_same(held, text):
        return False
    files.write(path, before)
    return True


def restore_abandoned() -> list[str]:
    """Put back what processes that have ended have left lowered. Blocking, and cheap when there is nothing.

    Returns what was done, and what could not be, in sentences.
    """
    try:
        directory = run_directory.open_directory(make=False)
    except OSError:
        return []
    try:
        found = [name for name in os.listdir(directory) if name.startswith((PREFIX, UNFINISHED))]
        return [words for name in found if (words := _settle(directory, name))]
    finally:
        os.close(directory)


def _settle(directory: int, name: str) -> str:
    """Deal with one note; the result is what there is to tell."""
    words = ""
    try:
        if name.startswith(UNFINISHED):
            if time.time() - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime < UNFINISHED_MAX_AGE_S:
                return ""
        else:
            entry = _read(directory, name)
            if entry is not None and _is_at_work(entry):
                return ""
            words = _restored(entry) if entry is not None else ""
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:  # another process was faster
        return words
    except (OSError, PytopError) as error:
        return f"a limit that was lowered for a moment could not be put back: {error}"
    return words


def _read(directory: int, name: str) -> LoweredLimit | None:
    """None for a note that nobody can read: it is of another version, or damaged."""
    descriptor = run_directory.open_file(directory, name, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        data = file.read(MAX_NOTE_BYTES)
    try:
        entry = LoweredLimit(**json.loads(data))
    except (ValueError, TypeError):
        return None
    texts = (entry.path, entry.before, entry.lowered, entry.boot)
    return entry if all(isinstance(text, str) for text in texts) and isinstance(entry.pid, int) else None


def _is_at_work(entry: LoweredLimit) -> bool:
    """Its writer lives, or lives where this process cannot see it."""
    if entry.boot != procfs.boot_id():
        return False
    if entry.namespace != procfs.pid_namespace("self"):
        return True
    return procfs.start_time(entry.pid) == entry.started and procfs.state(entry.pid) not in ("Z", "X", None)


def _restored(entry: LoweredLimit) -> str:
    path = Path(entry.path)
    try:
        directory = path.parent.stat()
        if entry.boot != procfs.boot_id() or (directory.st_dev, directory.st_ino) != (entry.device, entry.inode):
            return ""
        if put_back(path, entry.before, entry.lowered):
            return f"put {path} back to {entry.before}: process {entry.pid}, which had lowered it, was killed"
    except (FileNotFoundError, NotFoundError):
        return ""
    return ""


def _entry(path: Path, before: str, text: str) -> LoweredLimit:
    directory, pid = path.parent.stat(), os.getpid()
    return LoweredLimit(
        path=str(path),
        device=directory.st_dev,
        inode=directory.st_ino,
        before=before,
        lowered=text,
        pid=pid,
        started=procfs.start_time(pid),
        namespace=procfs.pid_namespace("self"),
        boot=procfs.boot_id(),
    )


def _is_same(held: str, text: str) -> bool:
    if held == text:
        return True
    return held.isdecimal() and text.isdecimal() and 0 <= int(text) - int(held) < mmap.PAGESIZE
