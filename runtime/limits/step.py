"""One step of a change of limits. Each controller translates a change into a list of steps in a safe order."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.kernel import files
from runtime.model import UNLIMITED, LimitName, Missing, Unlimited

UNLIMITED_V1_BYTES = 2**62  # v1 shows "no limit" as the largest multiple of a page: every size from here on


class Step(Protocol):
    """A write for one limit that can be reverted.

    Every method raises only `runtime.errors.PytopError`s; `current_value` raises nothing.
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

    def current_value(self) -> Hashable:
        """What the kernel holds now; after a roll-back it is compared with the value before the change."""
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

    def current_value(self) -> str | Missing:
        return files.try_read(self.path)

    def apply(self) -> None:
        files.write(self.path, self.text)

    def revert(self) -> None:
        files.write(self.path, self.before)


def write_step(name: LimitName, path: Path, text: str, before: str | None = None) -> FileWrite:
    """A write that is reverted to the file's current text, or to `before` when the kernel needs another one."""
    return FileWrite(name, path, text, files.read(path) if before is None else before)


def read_number(path: Path, *, unlimited_from: int | None = None) -> int | Unlimited | Missing:
    """A file with one number of at least 0. "max" and numbers from `unlimited_from` on (v1) are UNLIMITED."""
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
