"""One write to a kernel file, and what it is for. A controller turns a change into a list of these, in a safe order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.kernel import files
from runtime.model import UNLIMITED, LimitName, Missing, Unlimited

UNLIMITED_V1 = 2**62  # v1 shows "no limit" as the largest multiple of a page: anything from here on


@dataclass(frozen=True, slots=True)
class Write:
    """`text` goes to `path` for the sake of `name`; `undo` is what the file held before."""

    name: LimitName
    path: Path
    text: str
    undo: str


def step(name: LimitName, path: Path, text: str, undo: str | None = None) -> Write:
    """A write whose undo is what the file holds now, unless it must be said in another way."""
    return Write(name, path, text, files.read(path) if undo is None else undo)


def number(path: Path, *, unlimited_from: int | None = None) -> int | Unlimited | Missing:
    """A file that holds one number of at least 0; "max" is UNLIMITED, and so are v1's huge ones."""
    text = files.look(path)
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
