"""One step of a change of limits. A controller turns a change into a list of steps in a safe order."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.kernel import files
from runtime.model import UNLIMITED, LimitName, Missing, Unlimited

UNLIMITED_V1 = 2**62  # v1 shows "no limit" as the largest multiple of a page: anything from here on


class Step(Protocol):
    """A write for one limit that can be reverted.

    Every method but `held` raises only `runtime.errors.PytopError`s; `held` raises nothing.
    """

    @property
    def name(self) -> LimitName: ...

    @property
    def title(self) -> str:
        """What is written to, for messages: the name of a file or of a queue."""
        ...

    def require(self) -> None:
        """Raise when `apply` would be denied or has no target; called for all steps before the first is applied."""
        ...

    def held(self) -> Hashable:
        """What the kernel holds now; compared after a roll-back with the value from before."""
        ...

    def apply(self) -> None: ...

    def revert(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FileWrite:
    """Writes `text` to the kernel file `path` for the limit `name`; `before` is the text that reverts it."""

    name: LimitName
    path: Path
    text: str
    before: str

    @property
    def title(self) -> str:
        return self.path.name

    def require(self) -> None:
        files.require_writable(self.path)

    def held(self) -> str | Missing:
        return files.try_read(self.path)

    def apply(self) -> None:
        files.write(self.path, self.text)

    def revert(self) -> None:
        files.write(self.path, self.before)


def write_step(name: LimitName, path: Path, text: str, before: str | None = None) -> FileWrite:
    """A write that is reverted to what the file holds now, or to `before` when that needs another text."""
    return FileWrite(name, path, text, files.read(path) if before is None else before)


def read_number(path: Path, *, unlimited_from: int | None = None) -> int | Unlimited | Missing:
    """A file with one number of at least 0; "max" is UNLIMITED, and so is a number from `unlimited_from` on (v1)."""
    text = files.try_read(path)
    if isinstance(text, Missing):
        return text
    if text == "max":
        return UNLIMITED
    try:
        value = int(text)
    except ValueError:
        return Missing.UNSUPPORTED
    if value < 0:
        return Missing.UNSUPPORTED
    return UNLIMITED if unlimited_from is not None and value >= unlimited_from else value
