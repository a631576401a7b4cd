"""A cgroup of this process's own with a high CPU weight, so that it acts in time on a machine that is overloaded.

Only the CPU controller's hierarchy is used: on v1 the process stays where it is in every other one, so that whatever
started it still finds it. Source: cgroup-v2.rst, "CPU Interface Files"; sched-design-CFS.rst for cpu.shares.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.errors import PytopError, UnsupportedError
from runtime.kernel import cgroupfs, cgroups, files, own_cgroup
from runtime.kernel.cgroupfs import Cgroup, Hierarchies

V1_WEIGHT: Final = 10_240  # cpu.shares of v1, 1024 being normal
V2_WEIGHT: Final = 1000  # cpu.weight of v2, 100 being normal


class PriorityCgroup:
    """The cgroup that this process is in until `leave`."""

    def __init__(self, cgroup: Cgroup, before: Path | None) -> None:
        """`before` is the directory in which the process was."""
        self._cgroup = cgroup
        self._before = before

    @classmethod
    def enter(cls, path: str, hierarchies: Hierarchies | None = None) -> PriorityCgroup:
        """Make the cgroup and move this process into it. Raises `PytopError`: it is then where it was. Blocking."""
        found = _cpu_hierarchy(cgroupfs.detect() if hierarchies is None else hierarchies)
        where = own_cgroup.cgroup_of_process(found, os.getpid())
        before = where.where("cpu") or ((where.unified, 2) if where.unified is not None else None)
        mount = found.unified or next(iter(found.v1.values()))
        cgroup = cgroups.create(found, path)
        entered = cls(cgroup, before[0] if before is not None else mount.path)
        try:
            held = cgroup.where("cpu")
            if held is None:
                raise UnsupportedError("give this process a CPU weight", detail="the controller cpu is not to be had")
            directory, version = held
            files.write(
                directory / ("cpu.shares" if version == 1 else "cpu.weight"),
                str(V1_WEIGHT if version == 1 else V2_WEIGHT),
            )
            cgroups.attach(cgroup, os.getpid())
        except PytopError:
            entered.leave()
            raise
        return entered

    def leave(self) -> None:
        """Move this process back, and remove the cgroup; what cannot be done is left, and used the next time."""
        with suppress(PytopError):
            if self._before is not None:
                files.write(self._before / "cgroup.procs", str(os.getpid()))
            cgroups.remove(self._cgroup)


def _cpu_hierarchy(hierarchies: Hierarchies) -> Hierarchies:
    """The one that has the CPU controller."""
    v1 = {name: mount for name, mount in hierarchies.v1.items() if name == "cpu"}
    if not v1 and hierarchies.unified is None:
        raise UnsupportedError("give this process a CPU weight", detail="no cgroup hierarchy has the controller cpu")
    return replace(hierarchies, v1=v1, unified=None if v1 else hierarchies.unified, others=())
