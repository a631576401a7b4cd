"""A container's cgroup on the host: creates, limits and removes it, with device rules and network interface."""

from __future__ import annotations

import os
from pathlib import Path

from runtime import limits
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.limits import wanted
from runtime.engines.embedded.networks import bridge
from runtime.engines.embedded.sandbox import devices
from runtime.engines.embedded.sandbox.rootfs import CgroupView
from runtime.engines.embedded.state import storage
from runtime.engines.embedded.state.record import KEY, ContainerRecord
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode
from runtime.model import NETWORK_LIMITS, ContainerRef, LimitChange


def find(hierarchies: Hierarchies, path: str) -> Cgroup:
    """The container's cgroup, whether it exists or not."""
    inside = "/" + path.strip("/")
    bases = {name: (mount.root.rstrip("/") + inside) for name, mount in hierarchies.v1.items()}
    unified = hierarchies.unified
    return cgroupfs.at(hierarchies, bases, unified.root.rstrip("/") + inside if unified else None)


def open_for_clone(hierarchies: Hierarchies, path: str) -> int | None:
    """Create and open the v2 cgroup for clone3(CLONE_INTO_CGROUP), also on a hybrid host. None without v2."""
    unified = hierarchies.unified
    if unified is None:
        return None
    if hierarchies.mode is Mode.V2:
        cgroups.create(hierarchies, path)
    else:
        (unified.path / path).mkdir(parents=True, exist_ok=True)
    return os.open(unified.path / path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def tasks(cgroup: Cgroup) -> tuple[Path, ...]:
    """The v1 files to which init, which has one thread, writes its pid; it is cloned into the v2 cgroup."""
    return tuple(sorted({directory / "tasks" for directory in cgroup.v1.values()}))


def view(hierarchies: Hierarchies) -> CgroupView:
    """The mounts of a container's /sys/fs/cgroup, with the host's layout."""
    if hierarchies.mode is Mode.V2:
        return CgroupView(unified="")
    by_mount: dict[Path, list[str]] = {}
    for name, mount in hierarchies.v1.items():
        by_mount.setdefault(mount.path, []).append(name)
    v1 = tuple((path.name, tuple(names)) for path, names in by_mount.items())
    return CgroupView(v1, hierarchies.unified.path.name if hierarchies.unified else None)


def apply(record: ContainerRecord, cgroup: Cgroup) -> None:
    """Set device rules and limits before the program runs. Raises `PytopError` with the limits that were refused."""
    devices.apply(cgroup)
    _set(record, cgroup, wanted(record).without(NETWORK_LIMITS), None)


def shape(record: ContainerRecord, cgroup: Cgroup, pid: int) -> None:
    """Set the network limits; the interface must exist. Raises as `apply` does."""
    asked = record.spec.limits.only(NETWORK_LIMITS)
    if asked:
        _set(record, cgroup, asked, pid)


def _set(record: ContainerRecord, cgroup: Cgroup, change: LimitChange, pid: int | None) -> None:
    outcome = limits.change(ContainerRef(KEY, record.id), cgroup, change, force=True, pid=pid)
    if not outcome.ok:
        bad = "; ".join(f"{f.name.value}: {f.verdict.value} {f.detail}".strip() for f in outcome.fields if f.detail)
        raise PytopError("set the container's limits", detail=outcome.error or bad)


def release(config: EmbeddedConfig, hierarchies: Hierarchies, record: ContainerRecord) -> None:
    """Kill what is left in the cgroup, remove it, the network interface and the layer's mount. Idempotent."""
    cgroup = find(hierarchies, config.cgroup_of(record.id))
    if any(directory.is_dir() for directory in cgroup.directories):
        cgroups.kill_all(cgroup)
        cgroups.remove(cgroup)
    if (
        record.spec.network == "bridge"
        and (Path("/sys/class/net") / bridge.interface_name(config.bridge, record.id)).exists()
    ):
        bridge.detach(config.bridge, record.id)
    storage.detach(config, record.id)
