"""What a container has on the host beside its processes: cgroup, limits, devices, network."""

from __future__ import annotations

import os
from pathlib import Path

from runtime import limits
from runtime.engines.embedded import limits as limiting
from runtime.engines.embedded.config import NativeConfig
from runtime.engines.embedded.networks import bridge
from runtime.engines.embedded.sandbox import devices
from runtime.engines.embedded.sandbox.rootfs import CgroupView
from runtime.engines.embedded.state.record import KEY, Record
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode
from runtime.model import NETWORK_LIMITS, ContainerRef, LimitChange


def find(hierarchies: Hierarchies, path: str) -> Cgroup:
    """The directories that a container's cgroup has or would have."""
    inside = "/" + path.strip("/")
    bases = {name: (mount.root.rstrip("/") + inside) for name, mount in hierarchies.v1.items()}
    unified = hierarchies.unified
    return cgroupfs.at(hierarchies, bases, unified.root.rstrip("/") + inside if unified else None)


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


def apply(record: Record, cgroup: Cgroup) -> None:
    """Devices and the cgroup's limits, before the program runs. Raises the first limit's refusal as a `PytopError`."""
    devices.apply(cgroup)
    _hold(record, cgroup, limiting.wanted(record).without(NETWORK_LIMITS), None)


def shape(record: Record, cgroup: Cgroup, pid: int) -> None:
    """The network's limits, once it has its interface. Raises as `apply` does."""
    asked = record.spec.limits.only(NETWORK_LIMITS)
    if asked:
        _hold(record, cgroup, asked, pid)


def _hold(record: Record, cgroup: Cgroup, wanted: LimitChange, pid: int | None) -> None:
    outcome = limits.change(ContainerRef(KEY, record.id), cgroup, wanted, force=True, pid=pid)
    if not outcome.ok:
        bad = "; ".join(f"{f.name.value}: {f.verdict.value} {f.detail}".strip() for f in outcome.fields if f.detail)
        raise PytopError("set the container's limits", detail=outcome.error or bad)


def release(config: NativeConfig, hierarchies: Hierarchies, record: Record) -> None:
    """Kill what is left in the cgroup, remove it and the network interface. Idempotent."""
    cgroup = find(hierarchies, config.cgroup_of(record.id))
    if any(directory.is_dir() for directory in cgroup.directories):
        cgroups.kill_all(cgroup)
        cgroups.remove(cgroup)
    if (
        record.spec.network == "bridge"
        and (Path("/sys/class/net") / bridge.interface_name(config.bridge, record.id)).exists()
    ):
        bridge.detach(config.bridge, record.id)
