"""Sweeps of all hosts, merged into one frame, which is given to the observers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from collectors.sampling.frame import Frame
from collectors.sampling.target import Target
from runtime.model import Container, State
from tui.core.hosts.frames import FrameMerger
from tui.core.hosts.host import Host, Hosts
from tui.core.observers import FrameObservers
from tui.core.problem import Problem, ProblemKind

log = logging.getLogger(__name__)


def container_targets(containers: Iterable[Container]) -> Iterator[Target]:
    """Those that have processes, or may have: whose engine is away."""
    for each in containers:
        if each.pid is not None and (each.state.live or each.state is State.UNKNOWN):
            yield Target(each.ref, each.pid, each.cgroup)


def targets_of(targets: Iterable[Target], host: str) -> Sequence[Target]:
    """Those of one host."""
    return [target for target in targets if target.ref.host == host]


class Measurement:
    """Runs the sweeps of every host. A sweep that fails as a whole is a problem that is shown."""

    def __init__(
        self,
        hosts: Hosts,
        observers: FrameObservers,
        *,
        targets: Callable[[str], Sequence[Target]],
        problems_changed: Callable[[], None],
    ) -> None:
        """`targets` gives the targets of a host by its name."""
        self._hosts = hosts
        self._observers = observers
        self._targets = targets
        self._problems_changed = problems_changed
        self._merger = FrameMerger()
        self._failed_hosts: dict[str, Problem] = {}  # by host

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Hosts that cannot be measured, and observers that are paused."""
        return (*self._failed_hosts.values(), *self._observers.problems)

    @property
    def unmeasured(self) -> tuple[Problem, ...]:
        """Hosts whose last sweep failed."""
        return tuple(self._failed_hosts.values())

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What sweeps each host until cancelled, by name; none depends on another."""
        return {f"sweeps {host.name}".rstrip(): partial(self._sweep, host) for host in self._hosts.values()}

    async def _sweep(self, host: Host) -> None:
        name = host.name
        await host.measure(partial(self._targets, name), partial(self.take, name), partial(self._failed, name))

    def take(self, host: str, frame: Frame) -> None:
        """Take a frame of a host."""
        before = self.problems
        self._failed_hosts.pop(host, None)
        whole = self._merger.take(host, frame)
        if whole is not None:
            self._observers.take(whole)
        if self.problems != before:
            self._problems_changed()

    def _failed(self, host: str, error: Exception) -> None:
        log.error("a sweep failed", exc_info=error)
        problem = Problem(ProblemKind.MEASUREMENT, host=host, cause=str(error))
        if problem != self._failed_hosts.get(host):
            self._failed_hosts[host] = problem
            self._problems_changed()
