"""A container's files in the run directory, made with all the room that they need later.

Writes in place to blocks that a file has already succeed on a full tmpfs or disk: so a container that was made can
always be stopped, killed and removed. `unsaved` holds the state of a container that its record could not take.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from runtime.engines.embedded.process.log_writer import make_pipes

PAGE: Final = 4096
_SIZES: Final = {"lock": 0, "record.lock": 0, "shim.lock": 64, "position": PAGE, "unsaved": PAGE}  # bytes
_LONGEST_ERROR: Final = 512  # characters
_ATTEMPTS: Final = 3


def prepare(live: Path) -> None:
    """Make what is missing. Raises `OSError` when there is no room."""
    live.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_pipes(live)
    for name, size in _SIZES.items():
        fd = os.open(live / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < size:
                os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)


def keep_unsaved(live: Path, base: bytes, fields: dict[str, Any]) -> None:
    """Note the fields of a record that its file could not take; `base` is what the file holds. Raises `OSError`."""
    short = {**fields, "error": fields["error"][:_LONGEST_ERROR]}
    body = json.dumps({"base": _digest(base), "fields": short}, separators=(",", ":")).encode()
    _overwrite(live, b"%08x" % zlib.crc32(body) + body)


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Fields of a record that its file could not take, while that file holds what has the digest `base`."""

    base: str
    fields: dict[str, Any]

    def newer_than(self, data: bytes) -> bool:
        """Whether the file still holds what it held then."""
        return self.base == _digest(data)


def unsaved(live: Path) -> Unsaved | None:
    """What was noted, None when nothing was. Read this first and the record's file after it, never the other way."""
    for _ in range(_ATTEMPTS):  # a page that is being overwritten may be read half old, half new
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
    """Forget what was noted. Where that cannot be written, the digest of the newer file makes it void."""
    with suppress(OSError):
        _overwrite(live, b"")


def _overwrite(live: Path, data: bytes) -> None:
    if len(data) > PAGE:
        raise ValueError(f"{len(data)} bytes do not fit into a page of {PAGE}")
    # A container that was made by a version without this file has none yet.
    fd = os.open(live / "unsaved", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, data.ljust(PAGE, b"\0"), 0)
    finally:
        os.close(fd)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
