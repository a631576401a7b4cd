"""Removes found containers that an engine lists too, so that none is shown twice."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import Container, ContainerRef


def unclaimed(containers: Mapping[ContainerRef, Container], *, wait: bool = False) -> dict[ContainerRef, Container]:
    """All containers except found ones that an engine lists too, by their id, first process or cgroup.

    Ids are compared only with those of trusted engines, since an engine can list any id. An untrusted engine hides only
    the process or the cgroup with which its container was placed. Containers of an engine that is away stay listed, so
    they still hide found ones. With `wait` no found container is listed, because an engine has not answered yet.
    """
    known = [container for container in containers.values() if not container.found]
    ids = {container.ref.id.rpartition("/")[2] for container in known if container.trusted}
    pids = {container.pid for container in known if container.pid is not None}
    own = {container.cgroup for container in known if container.pid is not None} - {"", NO_OWN}

    def claimed(found: Container) -> bool:
        return wait or found.ref.id in ids or found.pid in pids or found.cgroup in own

    return {ref: container for ref, container in containers.items() if not container.found or not claimed(container)}
