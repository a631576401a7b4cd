"""What must not be frozen, limited or killed, because whoever asks for it would be hit by it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from runtime.errors import RefusedError
from runtime.kernel import procfs


def keep_off(title: str, pids: Collection[int], *, proc: Path = procfs.PROC) -> None:
    """Raise `RefusedError` when process 1, this program or what started it is among those that would be hit."""
    if 1 in pids:
        raise RefusedError(title, detail="process 1 of this machine runs in there")
    if any(pid in pids for pid in _ancestry(proc)):
        raise RefusedError(title, detail="this program runs in there, or what it was started from")


def _ancestry(proc: Path) -> Iterator[int]:
    """This process and those above it: a shell, a terminal, a login."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        pid = procfs.parent(pid, proc=proc)
