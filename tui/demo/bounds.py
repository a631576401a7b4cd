"""The bound of what all containers of the demo have together, in the demo's own cgroup: memory and tasks.

A bound is what they compete for in the stories of memory and of tasks, so that the host itself is never short of
either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runtime.kernel import cgroupfs, files
from runtime.model import LimitChange, LimitName, Missing

_FILES: Final = {  # by controller: limit and present use, v2 then v1
    LimitName.MEMORY: ("memory", ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    LimitName.PIDS: ("pids", ("pids.max", "pids.current"), ("pids.max", "pids.current")),
}
_NO_LIMIT: Final = {"memory.limit_in_bytes": "-1"}  # "max" for the others


def _paths(cgroup: str, name: LimitName, hierarchies: cgroupfs.Hierarchies) -> tuple[Path, Path] | None:
    """The files of the limit and of the present use; None where there is no such controller or cgroup."""
    controller, v2, v1 = _FILES[name]
    if controller in hierarchies.v1:
        directory, (limit, use) = hierarchies.v1[controller].path / cgroup, v1
    elif hierarchies.unified is not None:
        directory, (limit, use) = hierarchies.unified.path / cgroup, v2
    else:
        return None
    return (directory / limit, directory / use) if files.exists(directory / limit) is True else None


def set_room(cgroup: str, room: LimitChange) -> None:
    """Bound each limit that `room` names to what is used now and the room; lift what it does not name. Blocking."""
    lift(cgroup)
    hierarchies = cgroupfs.detect()
    for name, value in room.items():
        paths = _paths(cgroup, name, hierarchies)
        if paths is not None and isinstance(value, int):
            limit, use = paths
            files.write(limit, str(int(files.read(use)) + value))


def lift(cgroup: str) -> None:
    """Lift both bounds; a cgroup that is gone has none. Blocking."""
    hierarchies = cgroupfs.detect()
    for name in _FILES:
        paths = _paths(cgroup, name, hierarchies)
        if paths is not None and not isinstance(files.try_read(paths[0]), Missing):
            files.write(paths[0], _NO_LIMIT.get(paths[0].name, "max"))
