"""Which limits the cgroups of this host do not offer, and why; engines declare it in their capabilities."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime.kernel import delegation, files
from runtime.kernel.cgroupfs import Hierarchies, Mode
from runtime.limits.controllers.io import WEIGHTS
from runtime.model import LIMITS, LimitName, Missing

_FILES: Final[Mapping[LimitName, tuple[tuple[str, ...], tuple[str, ...], str]]] = {
    LimitName.CPU_BURST: (("cpu.cfs_burst_us",), ("cpu.max.burst",), "CPU burst needs Linux 5.14"),
    LimitName.CPU_IDLE: (("cpu.idle",), ("cpu.idle",), "the idle class needs Linux 5.15"),
    LimitName.SWAP: (
        ("memory.memsw.limit_in_bytes",),
        ("memory.swap.max",),
        "this kernel does not account for swap",
    ),
    LimitName.IO_WEIGHT: (*WEIGHTS, "this kernel has neither BFQ nor iocost for I/O weights"),
}
"""By limit: its files on v1 and on v2, of which one must exist, and the reason when none does."""


def unsupported_limits(hierarchies: Hierarchies) -> dict[LimitName, str]:
    """The limits that no cgroup of this host can have, with the reason. Network limits are not in cgroups."""
    found: dict[LimitName, str] = {}
    hindrance = delegation.why_no_controllers(hierarchies)
    for name, limit in LIMITS.items():
        controller = limit.controller
        if not controller:
            continue
        where = _where(hierarchies, controller)
        if where is None:
            found[name] = f"this host's cgroups have no {controller} controller"
            continue
        directory, version = where
        if version == 2 and hindrance is not None and controller not in _enabled(directory):
            found[name] = f"no cgroup here can have the {controller} controller: {hindrance}"
        elif name is LimitName.MEMORY_HIGH and version == 1:
            found[name] = "memory.high needs cgroup v2, and this host has v1 memory cgroups"
        elif name in _FILES:
            v1, v2, why = _FILES[name]
            if not _any(directory, version, controller, v1 if version == 1 else v2):
                found[name] = why
    return found


def _where(hierarchies: Hierarchies, controller: str) -> tuple[Path, int] | None:
    """The root of the hierarchy that has the controller, and the cgroup version."""
    mount = hierarchies.v1.get("blkio" if controller == "io" else controller)
    if mount is not None:
        return mount.path, 1
    if hierarchies.unified is None or hierarchies.mode is not Mode.V2:
        return None
    offered = files.try_read(hierarchies.unified.path / "cgroup.controllers")
    return (hierarchies.unified.path, 2) if isinstance(offered, str) and controller in offered.split() else None


def _enabled(top: Path) -> list[str]:
    """The controllers that are enabled for the children of the root."""
    text = files.try_read(top / "cgroup.subtree_control")
    return text.split() if isinstance(text, str) else []


def _any(top: Path, version: int, controller: str, names: tuple[str, ...]) -> bool:
    """Whether the kernel has one of these files. The root lacks some of them, so a child cgroup is checked too.

    Without a child that has the controller and may be searched this is unknown, and they are assumed to be there.
    """
    if any(files.exists(top / name) is True for name in names):
        return True
    for entry in _children(top):
        controllers = files.try_read(entry / "cgroup.controllers") if version == 2 else controller
        if isinstance(controllers, str) and controller in controllers.split():
            found = [files.exists(entry / name) for name in names]
            if Missing.DENIED not in found:
                return True in found
    return True


def _children(top: Path) -> list[Path]:
    """The cgroups below the top; none where they may not be listed."""
    try:
        with os.scandir(top) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
