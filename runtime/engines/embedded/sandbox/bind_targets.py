"""Where in a container something may be bound, judged by where the path leads, symlinks followed, not by its text.

This is the look at create, for an early answer. Init looks again by descriptor (rootfs), since files change.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from runtime.errors import InvalidError

SYSTEM: Final = ("proc", "sys", "dev")
"""Directories below the root of which the engine mounts its own file systems."""
_MOST_LINKS: Final = 40  # as the kernel


def refusal(target: str) -> InvalidError:
    """The error for a target that may not be covered."""
    return InvalidError(
        f"Nothing can be bound to {target!r}",
        detail="it is, or leads to, the root or the container's own /proc, /sys or /dev",
        hint="an absolute path that is not /, nor in /proc, /sys or /dev",
    )


def check(target: str, read_link: Callable[[str], str | None]) -> str:
    """The target without ".." and the like, as Docker cleans it. Raises `InvalidError` if it may not be covered.

    `read_link` tells what a symlink of the container's root holds, by its absolute path; None where none is.
    """
    if not target.startswith("/") or "\0" in target:
        raise refusal(target)
    clean = "/" + os.path.normpath(target).lstrip("/")
    if resolve(clean, read_link).split("/")[1] in ("", *SYSTEM):
        raise refusal(target)
    return clean


def resolve(path: str, read_link: Callable[[str], str | None]) -> str:
    """Follow a path's symlinks without leaving the root they are in; what does not exist stays as it is written."""
    done: list[str] = []
    pending = path.split("/")[::-1]
    links = 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        link = read_link("/" + "/".join((*done, part)))
        if link is None:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise InvalidError(f"{path!r} has too many symlinks", hint="give the path without them")
        if link.startswith("/"):
            done = []
        pending += link.split("/")[::-1]
    return "/" + "/".join(done)
