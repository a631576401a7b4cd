"""The directory in which programs of this project of one user meet until the next boot: a lock file, and notes.

Only its owner may open anything in it: mode 0700, no symbolic link, the owner's uid. It is not in any file system that
a container has, and what others have put there first is not used. Root's is in /run, a user's in the runtime directory
of that user, where there is one, else in /tmp. Source: file-hierarchy(7), XDG Base Directory Specification.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

NAME: Final = "pytop-containers-limits"
RUN: Final = Path("/run")
TEMPORARY: Final = Path("/tmp")
MODE: Final = 0o700


_chosen: list[Path] = []


def use(place: Path) -> None:
    """Let this process use that directory alone: it was started by another one, to work in the directory of that."""
    _chosen[:] = [place]


def candidates(
    uid: int, environ: Mapping[str, str] = os.environ, *, run: Path = RUN, temporary: Path = TEMPORARY
) -> tuple[Path, ...]:
    """Where the directory of a user may be, best first. The runtime directory of another user is left out."""
    if uid == 0:
        parents = [run]
    else:
        given = environ.get("XDG_RUNTIME_DIR", "")
        parents = [Path(given)] if given.startswith("/") else []
        parents.append(run / f"user/{uid}")
    own = [parent / NAME for parent in parents if _owner(parent) == uid]
    return tuple(dict.fromkeys((*own, temporary / f"{NAME}-{uid}")))


def open_directory(places: tuple[Path, ...] | None = None, *, make: bool = True) -> int:
    """A descriptor of the first of `places` that is there and ours, or can be made.

    `places` are those of this process's user unless they are given. Raises `OSError` for the last one that is neither:
    `FileNotFoundError` where there is none and `make` is false.
    """
    uid = os.geteuid()
    failure: OSError | None = None
    for place in (tuple(_chosen) or candidates(uid)) if places is None else places:
        try:
            return _open(place, uid, make=make)
        except OSError as error:
            failure = error
    raise failure if failure is not None else FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), NAME)


def path() -> Path:
    """Where the directory is. Raises as `open_directory`."""
    descriptor = open_directory()
    try:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)


def contains(prefix: str) -> bool:
    """Whether a file in it has a name that begins so; it is not made."""
    try:
        descriptor = open_directory(make=False)
    except OSError:
        return False
    try:
        return any(name.startswith(prefix) for name in os.listdir(descriptor))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def open_file(directory: int, name: str, flags: int) -> int:
    """Open a regular file in it, by its name alone; one that is made has mode 0600. Raises `OSError`."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "it is no regular file", name)
    return descriptor


def _owner(path: Path) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _open(place: Path, uid: int, *, make: bool) -> int:
    if make:
        with suppress(FileExistsError):
            place.mkdir(MODE)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        what = f"it belongs to user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}"
        raise PermissionError(errno.EPERM, what, str(place))
    return descriptor
