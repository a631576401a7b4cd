"""Attribution of every frame: who hurts whom, on each machine by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from collectors.attribution.evidence import NO_ATTRIBUTION, Attribution, Suspect
from collectors.sampling.frame import Frame, HostUsage
from runtime.model import Ref, Resource
from tui.core.hosts.frames import LOCAL


class FrameAttributor(Protocol):
    """Says who hurts whom on one machine; `collectors.attribution.attributor.Attributor` is that."""

    def take(self, frame: Frame) -> Attribution:
        """Take up the next frame."""
        ...

    def probed(self, victim: Ref, suspect: Suspect, resource: Resource, confirmed: bool) -> None:
        """Note what a probe has shown."""
        ...


class AttributionObserver:
    """Gives each frame to an attributor of its own for each machine, so that nobody is blamed across machines.

    Attributes:
        latest: all evidence at the last frame.
    """

    name = "attribution"

    def __init__(self, make: Callable[[], FrameAttributor]) -> None:
        """`make` makes the attributor of a machine."""
        self.latest: Attribution = NO_ATTRIBUTION
        self._make = make
        self._by_host: dict[str, FrameAttributor] = {}

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """Take a frame of all machines."""
        hosts = {LOCAL, *(ref.host for ref in frame.usages), *self._by_host}
        parts = [self._attributor(host).take(_part(frame, host, alone=len(hosts) == 1)) for host in sorted(hosts)]
        self.latest = parts[0] if len(parts) == 1 else _joined(frame, parts)

    def probed(self, victim: Ref, suspect: Suspect, resource: Resource, confirmed: bool) -> None:
        """Note what a probe has shown, on the victim's machine."""
        self._attributor(victim.host).probed(victim, suspect, resource, confirmed)

    def _attributor(self, host: str) -> FrameAttributor:
        if host not in self._by_host:
            self._by_host[host] = self._make()
        return self._by_host[host]


def _part(frame: Frame, host: str, *, alone: bool) -> Frame:
    """What is of one machine. Another's use of the host is not in a frame of all: what it would say is left out."""
    if alone:
        return frame
    own = {ref: usage for ref, usage in frame.usages.items() if ref.host == host}
    host_usage = frame.host if host == LOCAL else HostUsage(ncpu=frame.host.ncpu)
    return replace(frame, usages=own, host=host_usage)


def _joined(frame: Frame, parts: list[Attribution]) -> Attribution:
    return Attribution(frame.at_ns, {ref: found for part in parts for ref, found in part.by_victim.items()})
