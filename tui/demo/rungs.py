"""Takes the rungs of a story, one in place of the other, and times each change until it was read back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field

from runtime.model import ContainerRef, LimitChange, LimitOutcome
from tui.demo.scene import Scene
from tui.demo.stories import StoryChange, StoryRung


@dataclass(frozen=True, slots=True)
class Switched:
    """What came of taking a rung: the outcomes of its changes, and how long each took until it was read back."""

    outcomes: tuple[LimitOutcome, ...] = ()
    seconds: tuple[float, ...] = ()

    @property
    def ok(self) -> bool:
        """The kernel holds all that was asked for."""
        return all(outcome.ok for outcome in self.outcomes)


@dataclass(slots=True)
class RungSwitch:
    """Holds at most one rung of a scene at a time.

    `update` changes limits of a container, `freeze` freezes or thaws one; both return when it was read back.
    """

    scene: Scene
    update: Callable[[ContainerRef, LimitChange], Awaitable[LimitOutcome]]
    freeze: Callable[[ContainerRef, bool], Awaitable[None]]
    _: KW_ONLY
    held: StoryRung | None = None
    seconds: list[float] = field(default_factory=list)  # of every change so far

    async def to(self, rung: StoryRung | None) -> Switched:
        """Take back what the present rung did and this one does not, then do what is new. None: no rung."""
        old = self.held.changes if self.held is not None else ()
        new = rung.changes if rung is not None else ()
        outcomes: list[LimitOutcome] = []
        started = len(self.seconds)
        for change in reversed(old):
            if change not in new:
                outcomes += await self._do(change, back=True)
        self.held = None
        for change in new:
            if change not in old:
                outcomes += await self._do(change, back=False)
        self.held = rung
        return Switched(tuple(outcomes), tuple(self.seconds[started:]))

    async def _do(self, change: StoryChange, *, back: bool) -> list[LimitOutcome]:
        ref = self.scene.members[change.target]
        start = time.monotonic()
        if change.freeze:
            await self.freeze(ref, not back)
            found = []
        else:
            found = [await self.update(ref, change.undo if back else change.change)]
        self.seconds.append(time.monotonic() - start)
        return found
