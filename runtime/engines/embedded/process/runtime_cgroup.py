"""The cgroup of the engine's own processes, zygotes and shims, in every hierarchy.

It is a leaf beside the containers' cgroups. It is removed with the instance.
"""

from __future__ import annotations

from contextlib import suppress

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.kernel import cgroups
from runtime.kernel.cgroupfs import Cgroup, Hierarchies


def remove(hierarchies: Hierarchies, config: EmbeddedConfig) -> None:
    """End what is left in it, and remove it with the instance's cgroup; the containers' are gone already."""
    cgroup = sandbox_cgroup.find(hierarchies, config.runtime_cgroup)
    if cgroups.exists(cgroup):
        cgroups.kill_all(cgroup)
    cgroups.remove(sandbox_cgroup.find(hierarchies, config.cgroup))
    for mount in hierarchies.others:
        with suppress(FileNotFoundError):
            cgroups.remove(Cgroup({"": mount.path / config.cgroup}))
