"""What a container has on the host beside its processes: cgroup, limits, devices, network."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from runtime import limits
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode
from runtime.model import ContainerRef, LimitChange
from runtime.native import devices, network
from runtime.native.config import DEFAULT_PIDS, NativeConfig
from runtime.native.record import KEY, Record
from runtime.native.rootfs import CgroupView


def find(hierarchies: Hierarchies, path: str) -> Cgroup:
    """The directories that a container's cgroup has or would have."""
    inside = "/" + path.strip("/")
    bases = {name: (mount.root.rstrip("/") + inside) for name, mount in hierarchies.v1.items()}
    unified = hierarchies.unified
    return cgroupfs.at(hierarchies, bases, unified.root.rstrip("/") + inside if unified else None)


def directories(cgroup: Cgroup) -> set[Path]:
    """Each once; controllers may be mounted together."""
    return {*cgroup.v1.values(), *({cgroup.unified} if cgroup.unified else set())}


def birthplace(hierarchies: Hierarchies, path: str) -> int | None:
    """The v2 cgroup, open to be born in; made in full on a pure v2 host, and alone beside v1. None without v2."""
    unified = hierarchies.unified
    if unified is None:
        return None
    if hierarchies.mode is Mode.V2:
        cgroups.create(hierarchies, path)
    else:
        (unified.path / path).mkdir(parents=True, exist_ok=True)
    return os.open(unified.path / path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def tasks(cgroup: Cgroup) -> tuple[Path, ...]:
    """The v1 files by which a process of one thread enters; into the v2 cgroup it is born."""
    return tuple(sorted({directory / "tasks" for directory in cgroup.v1.values()}))


def view(hierarchies: Hierarchies) -> CgroupView:
    """What a container's /sys/fs/cgroup shows: the host's layout."""
    if hierarchies.mode is Mode.V2:
        return CgroupView(unified="")
    by_mount: dict[Path, list[str]] = {}
    for name, mount in hierarchies.v1.items():
        by_mount.setdefault(mount.path, []).append(name)
    v1 = tuple((path.name, tuple(names)) for path, names in by_mount.items())
    return CgroupView(v1, hierarchies.unified.path.name if hierarchies.unified else None)


def wanted_limits(record: Record) -> LimitChange:
    """The limits of the spec, and the default bound on tasks."""
    asked = record.spec.limits
    return asked if asked.pids is not None else replace(asked, pids=DEFAULT_PIDS)


def apply(record: Record, cgroup: Cgroup) -> None:
    """Devices and limits, before the program runs. Raises the first limit's refusal as a `PytopError`."""
    devices.apply(cgroup)
    outcome = limits.change(ContainerRef(KEY, record.id), cgroup, wanted_limits(record), force=True)
    if not outcome.ok:
        bad = "; ".join(f"{f.name.value}: {f.verdict.value} {f.detail}".strip() for f in outcome.fields if f.detail)
        raise PytopError("set the container's limits", detail=outcome.error or bad)


def oom_kills(cgroup: Cgroup) -> int:
    """How often the kernel has killed a process of this cgroup for lack of memory; 0 where it does not tell."""
    where = cgroup.where("memory")
    if where is None:
        return 0
    path, version = where
    try:
        text = (path / ("memory.events" if version == 2 else "memory.oom_control")).read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


def release(config: NativeConfig, hierarchies: Hierarchies, record: Record) -> None:
    """Kill what is left in the cgroup, remove it and the network interface. Idempotent."""
    cgroup = find(hierarchies, config.cgroup_of(record.id))
    if any(directory.is_dir() for directory in directories(cgroup)):
        cgroups.kill_all(cgroup)
        cgroups.remove(cgroup)
    if (
        record.spec.network == "bridge"
        and (Path("/sys/class/net") / network.interface_name(config.bridge, record.id)).exists()
    ):
        network.detach(config.bridge, record.id)
