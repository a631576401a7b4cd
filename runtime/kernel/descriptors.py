"""File descriptors that are kept free, so that what was begun can also be undone when no other is left."""

from __future__ import annotations

import os
from typing import Final

from runtime.errors import PytopError

RESERVED_FDS: Final = 12
"""As many as removing a container takes at once: its record, four locks, a temporary file, a pidfd, directories."""


class Reserve:
    """Descriptors held for later. Raises `PytopError` where so many cannot be opened."""

    def __init__(self, count: int = RESERVED_FDS) -> None:
        self._held: list[int] = []
        try:
            for _ in range(count):
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self.release()
            raise PytopError.from_os(f"keep {count} file descriptors free for cleaning up", error) from error

    def __enter__(self) -> Reserve:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()

    def release(self) -> None:
        """Make them available. Harmless when done twice."""
        while self._held:
            os.close(self._held.pop())
