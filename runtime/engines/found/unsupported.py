"""What cannot be done to a container without an engine, and the reason for screens and errors. Pure."""

from __future__ import annotations

from typing import Final

from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import NETWORK_LIMITS, Container, ContainerKind, LimitName, Verb

SHARES: Final = "it has no cgroup of its own: what is done to that is done to the others in it too"
_OF_CGROUP: Final = frozenset({Verb.PAUSE, Verb.UNPAUSE})
_NO_STOP: Final = {
    ContainerKind.VM: (
        "ending its emulator is a power cut: shut it down from inside or with its manager (virsh shutdown)"
    ),
    ContainerKind.SERVICE: "systemd may start it again: systemctl stop",
}


def why_not(container: Container, what: Verb | LimitName) -> str | None:
    """The reason why it cannot be done to this container; None for any container that an engine lists."""
    if not container.found:
        return None
    if what is Verb.STOP:
        return _NO_STOP.get(container.kind)
    of_cgroup = what in _OF_CGROUP or (isinstance(what, LimitName) and what not in NETWORK_LIMITS)
    return SHARES if container.cgroup == NO_OWN and of_cgroup else None
