"""The cgroup of the engine's own processes, zygotes and shims, in every hierarchy.

In the caller's cgroup they would end with the caller's session or unit: systemd kills what is left in a unit's cgroup,
which it knows by its own named v1 hierarchy or by the unified tree. It is a leaf beside the containers' cgroups, since
on v2 a cgroup that gives controllers to others may have no processes. It is removed with the instance.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.errors import PytopError
from runtime.kernel import cgroups, files, syscalls
from runtime.kernel.cgroupfs import Cgroup, Hierarchies


def fork_into(hierarchies: Hierarchies, config: EmbeddedConfig) -> tuple[int, tuple[str, ...]]:
    """Fork this process of one thread into the cgroup, which is made. Returns the pid as os.fork() does.

    In the child also what could not be done, with the reason: there it stays in the caller's cgroup.
    """
    failed: list[str] = []
    born_in: int | None = None
    try:
        cgroups.create(hierarchies, config.runtime_cgroup)
        if hierarchies.unified is not None:
            unified = hierarchies.unified.path / config.runtime_cgroup
            born_in = os.open(unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, PytopError) as error:
        failed.append(f"a cgroup of the engine's own: {error}")
    try:
        pid = syscalls.clone(0, born_in)
    except OSError as error:
        failed.append(f"a cgroup of the engine's own: {error.strerror}")
        pid = os.fork()
    if born_in is not None:
        os.close(born_in)
    return pid, (*failed, *_enter_v1(hierarchies, config)) if pid == 0 else ()


def _enter_v1(hierarchies: Hierarchies, config: EmbeddedConfig) -> Iterator[str]:
    """Move this one thread by the file `tasks`: a write to cgroup.procs would wait for an RCU grace period."""
    for directory in _v1_directories(hierarchies, config):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            files.write(directory / "tasks", "0")
        except (OSError, PytopError) as error:
            yield f"a cgroup of the engine's own: {error}"


def _v1_directories(hierarchies: Hierarchies, config: EmbeddedConfig) -> list[Path]:
    mounts = dict.fromkeys((*hierarchies.v1.values(), *hierarchies.others))
    return [mount.path / config.runtime_cgroup for mount in mounts]


def remove(hierarchies: Hierarchies, config: EmbeddedConfig) -> None:
    """End what is left in it, and remove it with the instance's cgroup; the containers' are gone already."""
    cgroup = sandbox_cgroup.find(hierarchies, config.runtime_cgroup)
    if cgroups.exists(cgroup):
        cgroups.kill_all(cgroup)
    cgroups.remove(sandbox_cgroup.find(hierarchies, config.cgroup))
    for mount in hierarchies.others:
        with suppress(FileNotFoundError):
            cgroups.remove(Cgroup({"": mount.path / config.cgroup}))
