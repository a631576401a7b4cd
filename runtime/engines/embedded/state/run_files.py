"""A container's files in the run directory, allocated in full when they are made.

Writes to allocated blocks succeed on a full tmpfs or disk, so a container that exists can always be stopped, killed and
removed. The file `unsaved` holds the state of a container whose record could not be written, or is yet to be: what a
start changes is not synced to the disk before the program runs. It is never synced: a reboot ends the run and the file.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from runtime.engines.embedded.process.log_writer import make_pipes
from runtime.kernel.filesystems import naming

PAGE_BYTES: Final = 4096
_SIZES_BYTES: Final = {"lock": 0, "record.lock": 0, "shim.lock": 64, "position": PAGE_BYTES, "unsaved": PAGE_BYTES}
_MAX_ERROR_CHARS: Final = 512
_MAX_ATTEMPTS: Final = 5
_RETRY_PAUSE_S: Final = 0.001


def prepare(live: Path) -> None:
    """Make what is missing, after a reboot the run directory too. Raises `OSError` when there is no room."""
    make_private(live.parent)
    live.mkdir(mode=0o700, exist_ok=True)
    with naming(live):
        make_pipes(live)
    for name, size in _SIZES_BYTES.items():
        fd = os.open(live / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < size:
                with naming(live / name):
                    os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)


def make_private(directory: Path) -> None:
    """Make a directory that only its owner may open; one that earlier versions made open to others is closed.

    `Path.mkdir` gives its mode to the last directory only: those above have the umask's.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)


def keep_unsaved(live: Path, base: bytes, fields: dict[str, Any]) -> None:
    """Save the fields of a record that could not be written; `base` is the file's content. Raises `OSError`."""
    short = {**fields, "error": fields["error"][:_MAX_ERROR_CHARS]}
    body = json.dumps({"base": _digest(base), "fields": short}, separators=(",", ":")).encode()
    _overwrite(live, b"%08x" % zlib.crc32(body) + body)


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Fields of a record that could not be written; valid while its file has the digest `base`."""

    base: str
    fields: dict[str, Any]

    def newer_than(self, data: bytes) -> bool:
        """Whether the record's file is still the one that these fields replace."""
        return self.base == _digest(data)


def unsaved(live: Path) -> Unsaved | None:
    """The saved fields, None when there are none. Read them before the record's file, never after it."""
    for attempt in range(_MAX_ATTEMPTS):  # a read during an overwrite may be half old, half new
        if attempt > 1:
            time.sleep(_RETRY_PAUSE_S)  # its writer may wait for the CPU
        try:
            page = (live / "unsaved").read_bytes().rstrip(b"\0")
        except OSError:
            return None
        if not page:
            return None
        check, body = page[:8], page[8:]
        if check == b"%08x" % zlib.crc32(body):
            return Unsaved(**json.loads(body))
    return None


def drop_unsaved(live: Path) -> None:
    """Clear the saved fields. Where that cannot be written, the record's new digest makes them invalid."""
    with suppress(OSError):
        _overwrite(live, b"")


def note_inherited(live: Path, lines: Sequence[str]) -> None:
    """Keep what a start could not set to its default (`kernel.process_attributes`), for `inspect`.

    It is no part of the record, which versions read that know no such field. A full disk does not prevent the start.
    """
    with suppress(OSError):
        if lines or (live / "inherited").exists():
            (live / "inherited").write_text("".join(f"{line}\n" for line in lines))


def inherited(live: Path) -> list[str]:
    """The attributes that the container's processes have from whoever started the engine, with the reasons."""
    try:
        return (live / "inherited").read_text().splitlines()
    except OSError:
        return []


def _overwrite(live: Path, data: bytes) -> None:
    if len(data) > PAGE_BYTES:
        raise ValueError(f"{len(data)} bytes do not fit into a page of {PAGE_BYTES}")
    # Made here for a container of a version that did not have this file.
    fd = os.open(live / "unsaved", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with naming(live / "unsaved"):
            os.pwrite(fd, data.ljust(PAGE_BYTES, b"\0"), 0)
    finally:
        os.close(fd)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
