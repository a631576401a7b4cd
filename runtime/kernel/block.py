"""Block devices by number and by name. An I/O limit is that of a whole disk: the kernel answers ENODEV to a partition.

Names are cached, so that formatting a limit costs no system call. Readers of limits refresh the names first
(`refresh_name`), since a number may belong to another disk by then.
Source: sysfs(5), Documentation/ABI/stable/sysfs-block.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.errors import InvalidError

SYS: Final = Path("/sys")
_NUMBER: Final = re.compile(r"[0-9]{1,8}:[0-9]{1,8}", re.ASCII)
_names: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Disks:
    """Block devices by "major:minor": whole disks with their names, and partitions with the name of their disk."""

    names: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, str] = field(default_factory=dict)


def disks(sys: Path = SYS) -> Disks:
    """Every block device of this host. Empty when sysfs is not mounted."""
    result = Disks()
    try:
        entries = sorted(os.listdir(sys / "class/block"))
    except OSError:
        return result
    for entry in entries:
        directory = sys / "class/block" / entry
        try:
            number = (directory / "dev").read_text().strip()
            disk = Path(os.path.realpath(directory)).parent.name if (directory / "partition").exists() else None
        except OSError:
            continue  # removed since the directory was listed
        if disk is None:
            result.names[number] = _device(entry)
        else:
            result.partitions[number] = _device(disk)
    for gone in set(_names) - set(result.names):
        _names.pop(gone, None)
    _names.update(result.names)
    return result


def _device(entry: str) -> str:
    return "/dev/" + entry.replace("!", "/")


def refresh_name(number: str, sys: Path = SYS) -> None:
    """Look up the name of a device as it is now, so that `name` knows it."""
    try:
        target = os.readlink(sys / "dev/block" / number)
    except OSError:
        _names.pop(number, None)
        return
    _names[number] = _device(target.rpartition("/")[2])


def name(number: str) -> str:
    """The cached name, "/dev/vda" for "254:0"; the number itself when it is not cached. Never blocks."""
    return _names.get(number, number)


def node(number: str) -> str:
    """A path of the device: its cached name, else the one below /dev/block that every device has."""
    known = name(number)
    return known if known.startswith("/") else f"/dev/block/{number}"


def number(text: str, sys: Path = SYS) -> str:
    """The current "major:minor" of a whole disk, given so or as a path. Raises `InvalidError` for anything else."""
    title = f"limit the I/O of {text}"
    if _NUMBER.fullmatch(text):
        device = text
    else:
        try:
            status = os.stat(text)
        except (OSError, ValueError) as error:
            unseen = _without_node(text, sys)
            if not unseen:
                raise InvalidError(title, detail="there is no such device", hint=_hint(sys)) from error
            device = unseen
        else:
            if not stat.S_ISBLK(status.st_mode):
                raise InvalidError(title, detail="it is not a block device", hint=_hint(sys))
            device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    if (sys / "dev/block" / device / "partition").exists():
        disk = _device(Path(os.path.realpath(sys / "dev/block" / device)).parent.name)
        raise InvalidError(title, detail=f"it is a partition of {disk}", hint=f"The kernel limits whole disks: {disk}")
    refresh_name(device, sys)
    return device


def _without_node(text: str, sys: Path) -> str:
    """The number of a disk without a node in /dev, as in a container; "" when sysfs does not have the disk either."""
    return next((number for number, path in disks(sys).names.items() if path == text), "")


def _hint(sys: Path) -> str:
    there = [name for name in disks(sys).names.values() if not name.startswith(("/dev/loop", "/dev/ram"))]
    return f"Disks here: {', '.join(there)}" if there else "Give a disk such as /dev/sda, or its number as 8:0"
