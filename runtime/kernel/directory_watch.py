"""Changes of a directory, for a caller that looks again after a while anyway: by inotify(7) where that can be had.

A user's inotify instances are few (fs.inotify.max_user_instances, often 128). Without one a wait takes its whole time,
and nothing else is lost.
"""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Final

from runtime.errors import KernelError
from runtime.kernel.inotify import DirectoryWatch

_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM})
_HINT: Final = "Raise fs.inotify.max_user_instances or fs.inotify.max_user_watches (sysctl), or ulimit -n"


class NoWatch:
    """In the place of a `DirectoryWatch`: it sees no change."""

    async def changed(self, timeout: float) -> set[str]:
        await asyncio.sleep(timeout)
        return set()

    def close(self) -> None:
        """There is nothing to close."""


def watch_or_wait(directory: Path, mask: int, *more: tuple[Path, int]) -> DirectoryWatch | NoWatch:
    """A watch, or what waits instead; `more` are further directories.

    Raises `KernelError` where the directory cannot be watched for another reason.
    """
    try:
        return require_watch(directory, mask, *more)
    except KernelError as error:
        if error.errno not in _SCARCE:
            raise
        return NoWatch()


def require_watch(directory: Path, mask: int, *more: tuple[Path, int]) -> DirectoryWatch:
    """A watch, for a caller that needs the names of what changed. Raises `KernelError`."""
    try:
        return DirectoryWatch(directory, mask, *more)
    except OSError as error:
        refused = KernelError.from_os("watch a directory for changes", error, path=str(directory))
        if error.errno in _SCARCE:  # EMFILE is of inotify instances here, before descriptors
            refused.hint = _HINT
        raise refused from error
