"""The user of a container's program ("1000", "1000:1000", "daemon", "daemon:adm"), by the container's own /etc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from runtime.errors import InvalidError
from runtime.kernel import regular_file
from runtime.kernel.safe_open import open_inside

MAX_ID = (1 << 31) - 1
"""The greatest uid or gid, as in runc. Above it is (uid_t)-1, which tells the kernel to change nothing."""
MAX_FILE_BYTES = 1 << 20
"""As much of passwd and group is read; a longer file is cut after its last whole line."""
_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class User:
    """Numbers, and the home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def check(text: str) -> None:
    """Refuse what no image can make a user of: a number that is none. What is a name is looked up at the start."""
    for part in text.split(":", 1):
        _given(part)


def resolve(text: str) -> User:
    """Call it inside the container's root. Raises `InvalidError` for a name that is not known there."""
    if text in ("", "0", "root"):
        return User(0, 0, (), "/root")
    return find(text, _lines("/etc/passwd"), _lines("/etc/group"))


def find(text: str, passwd: list[list[str]], group: list[list[str]]) -> User:
    """Look a user up in the fields of passwd and group. A number is never taken for a name, as in Docker."""
    name, _, group_name = text.partition(":")
    number = _given(name)
    entry = next((e for e in passwd if len(e) >= 6 and _is(e, name, number)), None)
    if entry is None and number is None:
        raise InvalidError(
            f"There is no user {name!r} in the container", hint="give a number, or a name of its /etc/passwd"
        )
    uid, gid, home = number or 0, 0, "/"
    groups: tuple[int, ...] = ()
    if entry is not None:
        uid, gid, home = _listed(entry[2], "/etc/passwd"), _listed(entry[3], "/etc/passwd"), entry[5]
    if group_name:
        gid = _group(group_name, group)
    elif entry is not None:
        mine = (g for g in group if len(g) >= 4 and entry[0] in g[3].split(","))
        groups = tuple(_listed(g[2], "/etc/group") for g in mine)
    return User(uid, gid, groups, home)


def _group(name: str, group: list[list[str]]) -> int:
    number = _given(name)
    if number is not None:
        return number
    found = next((g for g in group if len(g) >= 3 and g[0] == name), None)
    if found is None:
        raise InvalidError(f"There is no group {name!r} in the container", hint="give a number")
    return _listed(found[2], "/etc/group")


def _is(entry: list[str], name: str, number: int | None) -> bool:
    """Whether a line of passwd is that of this name, or of this number."""
    if number is None:
        return bool(name) and entry[0] == name
    return _id(entry[2]) == number


def _given(part: str) -> int | None:
    """The number that somebody asks for; None if it is a name."""
    if not _NUMBER.fullmatch(part):
        return None
    number = _id(part)
    if number is None:
        raise InvalidError(f"{part!r} is not the number of a user or group", hint=f"0 to {MAX_ID}")
    return number


def _listed(field: str, path: str) -> int:
    """A number in a file of the image, which may say anything."""
    number = _id(field)
    if number is None:
        raise InvalidError(
            f"{field!r} is not the number of a user or group",
            detail="the container's own file says so",
            hint=f"0 to {MAX_ID}",
            path=path,
        )
    return number


def _id(text: str) -> int | None:
    """The one rule for uids and gids: decimal, 0 to MAX_ID."""
    if not _NUMBER.fullmatch(text) or len(text.lstrip("+-0")) > len(str(MAX_ID)):
        return None
    number = int(text)
    return number if 0 <= number <= MAX_ID else None


def _lines(path: str) -> list[list[str]]:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return fields(root, path) or []
    finally:
        os.close(root)


def fields(root: int, path: str) -> list[list[str]] | None:
    """The fields of each line of passwd or group below the directory `root`; None where there is no such file.

    A FIFO, a device or a directory is an `InvalidError`. Of a longer file than `MAX_FILE_BYTES` the line that is cut
    there is left out, with all that follow.
    """
    try:
        descriptor = open_inside(root, path, os.O_PATH)
    except OSError:
        return None
    try:
        data = regular_file.read_start(descriptor, path, limit=MAX_FILE_BYTES)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        data = data[: data.rfind(b"\n", 0, MAX_FILE_BYTES) + 1]
    return [line.split(":") for line in data.decode(errors="replace").splitlines()]
