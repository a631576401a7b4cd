"""What a sweep of one machine measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collectors.sampling.target import Target
from runtime.model import Container, State


def targets_of(host: str, containers: Iterable[Container], groups: Iterable[Target]) -> Sequence[Target]:
    """Containers that have processes, or may have them while their engine is away, and groups with own cgroups."""
    return [
        *(
            Target(container.ref, container.pid, container.cgroup)
            for container in containers
            if container.pid is not None
            and (container.state.live or container.state is State.UNKNOWN)
            and container.ref.host == host
        ),
        *(target for target in groups if target.ref.host == host),
    ]
