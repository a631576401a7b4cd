"""What a sweep is asked to read."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.model import ContainerRef


@dataclass(frozen=True, slots=True)
class Target:
    """One live container: its ref and the host's pid of its init, from which cgroup and namespaces are found.

    `cgroup` is as in `Container`: the container's own, when its init may live in one below.
    """

    ref: ContainerRef
    pid: int
    cgroup: str = ""
