"""Which systemd unit a cgroup belongs to, and whether systemd runs. `systemd_dbus` connects to it.

Source: sd_booted(3), systemd.unit(5), CGROUP_DELEGATION.md, systemd's bus_path_escape().
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.kernel.cgroupfs import Hierarchies

BOOTED: Final = Path("/run/systemd/system")
TREE: Final = Path("/sys/fs/cgroup")
NAME: Final = "org.freedesktop.systemd1"
PATH: Final = "/org/freedesktop/systemd1"
KINDS: Final = {".scope": "Scope", ".slice": "Slice", ".service": "Service"}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of this host's systemd, or of one user's (`uid`); `cgroup` is its path, the same in every hierarchy."""

    name: str
    cgroup: str
    uid: int | None = None

    @property
    def interface(self) -> str:
        return f"{NAME}.{KINDS[Path(self.name).suffix]}"

    @property
    def path(self) -> str:
        """The D-Bus object path: every character but letters and digits is escaped as hexadecimal."""
        plain = (chr(byte) if chr(byte).isalnum() and byte < 128 else f"_{byte:02x}" for byte in os.fsencode(self.name))
        text = "".join(plain)
        return f"{PATH}/unit/" + (f"_{ord(text[0]):02x}{text[1:]}" if text[:1].isdigit() else text)


def booted(where: Path | None = None) -> bool:
    """Whether the host was booted with systemd (sd_booted(3))."""
    return (where or BOOTED).is_dir()


def all_unified(hierarchies: Hierarchies) -> bool:
    """Whether systemd manages limits in the v2 tree: only where that is mounted at `TREE` itself (cg_all_unified()).

    On a hybrid host it writes to the v1 controllers, whatever the unified tree offers.
    """
    return hierarchies.unified is not None and hierarchies.unified.path == TREE


def unit_of(cgroup: str) -> Unit | None:
    """The unit with this cgroup path, by its name; None for a cgroup that is no unit's or is delegated.

    Units are below slices. Cgroups below a scope or a service are delegated, even when they are named like a unit, as
    in a container that runs systemd. A user's own manager is the service user@UID.
    """
    *above, last = cgroup.strip("/").split("/")
    uid = None
    for part in above:
        if uid is None and part.startswith("user@") and part.endswith(".service"):
            number = part.removeprefix("user@").removesuffix(".service")
            if not (number.isascii() and number.isdigit()):
                return None
            uid = int(number)
        elif not part.endswith(".slice"):
            return None
    name = last.removeprefix("_")
    stem, dot, kind = name.rpartition(".")
    if not stem or f"{dot}{kind}" not in KINDS:
        return None
    return Unit(name, cgroup, uid)
