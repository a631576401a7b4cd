"""The session of the dashboard, the demo, the guard and `why`: everything, with who hurts whom and containment."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from collectors.attribution.attributor import Attributor
from collectors.attribution.evidence import Attribution
from collectors.sampling.sweep import Sweeper
from runtime.engines.protocol import Engine
from runtime.model import LimitOutcome
from tui.core.attribution import AttributionObserver
from tui.core.base_session import BaseSession, Changed, Drift, Group, Preview, Problem, Subject
from tui.core.containment.assembly import ContainmentOptions, assemble
from tui.core.hosts.host import Host
from tui.core.observers import FrameObserver

__all__ = ["Changed", "Drift", "Group", "Preview", "Problem", "Session", "Subject"]


class Session(BaseSession):
    """A session that says who hurts whom, and contains.

    Attributes:
        containment: contains whoever hurts a victim, by leases.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        hosts: Sequence[Host] = (),
        sweeper: Sweeper | None = None,
        interval: float = 1.0,
        read_only: bool = False,
        containment: ContainmentOptions = ContainmentOptions(),  # noqa: B008  (frozen)
        audited: bool = False,
    ) -> None:
        """As `BaseSession`."""
        self._options = containment
        self._attribution = AttributionObserver(Attributor)
        super().__init__(engines, hosts=hosts, sweeper=sweeper, interval=interval, read_only=read_only, audited=audited)

    @property
    def attribution(self) -> Attribution:
        """Who hurts whom, at the last frame."""
        return self._attribution.latest

    def _neighbour_observers(self) -> Sequence[FrameObserver]:
        changed = partial(self._notifier.tell, Changed.CONTAINMENT)
        self.containment = assemble(
            self._local, self._operations, self._attribution, self.undoing, changed, self._options
        )
        return self._attribution, self.containment

    def _neighbour_loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        return self.containment.loops()

    def _limits_changed(self, outcome: LimitOutcome) -> None:
        super()._limits_changed(outcome)
        self.containment.replaced(outcome)

    async def _close_neighbours(self) -> None:
        await self.containment.close()
