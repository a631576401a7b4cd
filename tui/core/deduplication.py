"""No container is shown twice: one that was found without an engine gives way to the engine that lists it."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import Container, ContainerRef


def unclaimed(containers: Mapping[ContainerRef, Container], *, wait: bool = False) -> dict[ContainerRef, Container]:
    """Everything except what was only found and is listed by an engine too, by its id or by its first process.

    The id is an engine's word alone, so an untrusted one hides only what is seen to be its user's: the process or the
    cgroup with which its container was placed.
    The containers of an engine that is away stay listed, so what they claim stays away as well. With `wait` nothing
    that was found is shown: an engine has not answered yet, and may claim it.
    """
    known = [container for container in containers.values() if not container.found]
    ids = {container.ref.id.rpartition("/")[2] for container in known if container.trusted}
    pids = {container.pid for container in known if container.pid is not None}
    own = {container.cgroup for container in known if container.pid is not None} - {"", NO_OWN}

    def claimed(found: Container) -> bool:
        return wait or found.ref.id in ids or found.pid in pids or found.cgroup in own

    return {ref: container for ref, container in containers.items() if not container.found or not claimed(container)}
