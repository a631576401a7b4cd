"""Which user a container's program runs as: "1000", "1000:1000", "daemon", "daemon:adm"; by its own /etc."""

from __future__ import annotations

import os
from dataclasses import dataclass

from runtime.errors import InvalidError
from runtime.native.rootfs import open_inside

_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class User:
    """Numbers, and the home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(text: str) -> User:
    """Call it inside the container's root. Raises `InvalidError` for a name that is not known there."""
    if text in ("", "0", "root"):
        return User(0, 0, (), "/root")
    return find(text, _lines("/etc/passwd"), _lines("/etc/group"))


def find(text: str, passwd: list[list[str]], group: list[list[str]]) -> User:
    """Look a user up in the fields of passwd and group."""
    name, _, group_name = text.partition(":")
    entry = next((e for e in passwd if len(e) >= 6 and name in (e[0], e[2])), None)
    if entry is None and not name.isdecimal():
        raise InvalidError(
            f"There is no user {name!r} in the container", hint="give a number, or a name of its /etc/passwd"
        )
    uid, gid, home = (int(entry[2]), int(entry[3]), entry[5]) if entry else (int(name), 0, "/")
    groups = tuple(int(g[2]) for g in group if entry and len(g) >= 4 and entry[0] in g[3].split(","))
    if group_name:
        found = next((g for g in group if len(g) >= 3 and group_name in (g[0], g[2])), None)
        if found is None and not group_name.isdecimal():
            raise InvalidError(f"There is no group {group_name!r} in the container", hint="give a number")
        gid, groups = int(found[2]) if found else int(group_name), ()
    if not (0 <= uid < 1 << 32 and 0 <= gid < 1 << 32):
        raise InvalidError(f"{text!r} is not a user")
    return User(uid, gid, groups, home)


def _lines(path: str) -> list[list[str]]:
    try:
        fd = open_inside(path, os.O_RDONLY)
    except OSError:
        return []
    try:
        return [line.split(":") for line in os.read(fd, _MOST).decode(errors="replace").splitlines()]
    finally:
        os.close(fd)
