"""Which paths of a container may be bind targets, decided by the path with its symlinks resolved.

This is the early check at `create`. Init checks again by descriptor (`rootfs`), since files may change meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from runtime.errors import InvalidError

SYSTEM: Final = ("proc", "sys", "dev")
"""Directories of the root on which the engine mounts its own file systems."""
_MAX_LINKS: Final = 40  # the kernel's MAXSYMLINKS


def refusal(target: str) -> InvalidError:
    """The error for a target that may not be covered."""
    return InvalidError(
        f"Nothing can be bound to {target!r}",
        detail="it is, or leads to, the root or the container's own /proc, /sys or /dev",
        hint="an absolute path that is not /, nor in /proc, /sys or /dev",
    )


def check(target: str, read_link: Callable[[str], str | None]) -> str:
    """The target normalised as Docker does it (no "..", no "//"). Raises `InvalidError` if it may not be covered.

    `read_link` returns the target of the symlink at an absolute path of the container, None where there is none.
    """
    if not target.startswith("/") or "\0" in target:
        raise refusal(target)
    clean = "/" + os.path.normpath(target).lstrip("/")
    if resolve(clean, read_link).split("/")[1] in ("", *SYSTEM):
        raise refusal(target)
    return clean


def resolve(path: str, read_link: Callable[[str], str | None]) -> str:
    """Resolve a path's symlinks inside its root; components that do not exist stay as they are."""
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
        if links > _MAX_LINKS:
            raise InvalidError(f"{path!r} has too many symlinks", hint="give the path without them")
        if link.startswith("/"):
            done = []
        pending += link.split("/")[::-1]
    return "/" + "/".join(done)
