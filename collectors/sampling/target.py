"""What a sweep is asked to read."""

from __future__ import annotations

from typing import NamedTuple

from runtime.model import ContainerRef


class Target(NamedTuple):
    """One live container: its ref and the host's pid of its init, from which cgroup and namespaces are found.

    `cgroup` is as in `Container`: the container's own, when its init may live in one below.
    """

    ref: ContainerRef
    pid: int
    cgroup: str = ""
