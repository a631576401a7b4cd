"""The containers that a sweep reads."""

from __future__ import annotations

from typing import NamedTuple

from runtime.model import Ref


class Target(NamedTuple):
    """One live container: its ref and the host's pid of its init, from which cgroup and namespaces are found.

    `cgroup` is as in `Container`: the path of the container's own cgroup, where its init may be in one below it.
    """

    ref: Ref
    pid: int
    cgroup: str = ""
