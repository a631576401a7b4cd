"""Goes after limits that somebody else has changed, after each sweep.

Each engine's containers have rounds of their own, so one that hangs holds up nobody else. What goes wrong with one
container or with a whole round is a problem to be shown, and the rounds go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from collectors.frame import Frame
from runtime.engine import Engine
from runtime.errors import PytopError, UnavailableError
from runtime.model import Container, ContainerRef, Limits
from tui.drift import Drifts
from tui.grouping import GROUP
from tui.inventory import Problem
from tui.looking import Looking

log = logging.getLogger(__name__)

ANSWER_WITHIN: Final = 5.0  # seconds for an engine's record


class Patrol:
    """Asks engines for their records and the kernel for its files, where `Drifts` wants to know them."""

    def __init__(
        self,
        drifts: Drifts,
        engines: Mapping[str, Engine],
        looking: Looking,
        find: Callable[[ContainerRef], Container | None],
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when a drift or a problem has come or gone."""
        self._drifts = drifts
        self._engines = engines
        self._looking = looking
        self._find = find
        self._changed = changed
        self._frame: Frame | None = None
        self._fresh = {key: asyncio.Event() for key in (*engines, GROUP)}
        self._broken: dict[tuple[str, str, ContainerRef | None], Problem] = {}  # by what, engine and container

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What cannot be compared now, one of a kind for each engine."""
        return tuple({(what, engine): problem for (what, engine, _), problem in self._broken.items()}.values())

    def frame(self, frame: Frame) -> None:
        """There is a new one; while a round is under way the newest waits."""
        self._frame = frame
        for fresh in self._fresh.values():
            fresh.set()

    async def run(self) -> None:
        """For each engine one round for each frame, until cancelled."""
        await asyncio.gather(*(self._follow(key) for key in self._fresh))

    async def round(self, frame: Frame) -> None:
        """Compare this frame; read what looks different."""
        await asyncio.gather(*(self._round(key, frame) for key in self._fresh))

    async def _follow(self, key: str) -> None:
        fresh = self._fresh[key]
        while True:
            await fresh.wait()
            fresh.clear()
            if self._frame is not None:
                await self._round(key, self._frame)

    async def _round(self, key: str, frame: Frame) -> None:
        try:
            await self._compare(key, frame)
        except Exception as error:
            if self._fails("round", key, None, error):
                log.exception("comparing the limits of %s", key)
        else:
            self._works("round", key, None)

    async def _compare(self, key: str, frame: Frame) -> None:
        """One round over the containers of one engine."""
        for what, engine, ref in list(self._broken):
            if ref is not None and self._find(ref) is None:
                self._works(what, engine, ref)
        usages = [ref for ref in frame.usages if ref.engine == key]
        await asyncio.gather(*(self._record(ref) for ref in self._drifts.unrecorded(usages)))
        found = False
        for ref, generation in self._drifts.suspects(key, frame).items():
            container = self._find(ref)
            if container is None or container.pid is None:
                continue
            try:
                found = await self._look(container, generation, frame) or found
            except PytopError as error:
                log.warning("%s", error)
            except Exception as error:
                if self._fails("files", key, ref, error):
                    log.exception("comparing the limits of %s", ref.short)
            else:
                self._works("files", key, ref)
        if found:
            self._changed()

    async def _look(self, container: Container, generation: int, frame: Frame) -> bool:
        """Read the files of one container; whether anything about drift has changed by it."""
        ref = container.ref
        held = await self._looking.limits(container, network=self._drifts.wants_network(ref))
        if self._drifts.doubts(ref, held):
            await self._record(ref)  # an engine may have changed it, and its record, without an event
        return self._drifts.judge(ref, held, generation, frame.usages.get(ref))

    async def _record(self, ref: ContainerRef) -> None:
        """Ask for the engine's record; that of a group is empty."""
        engine = self._engines.get(ref.engine)
        if engine is None:
            self._drifts.recorded(ref, Limits())
            return
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                record = await engine.recorded(ref.id)
            self._drifts.recorded(ref, record)
            self._works("record", ref.engine, ref)
        except (UnavailableError, TimeoutError) as error:
            log.warning("the record of %s: %s", ref.short, error or "no answer")
            self._drifts.away(ref.engine)
        except PytopError as error:
            log.warning("the record of %s: %s", ref.short, error)
            self._drifts.unanswered(ref)
        except Exception as error:
            self._drifts.unanswered(ref)
            if self._fails("record", ref.engine, ref, error):
                log.exception("the record of %s", ref.short)

    # what is broken

    def _fails(self, what: str, engine: str, ref: ContainerRef | None, error: Exception) -> bool:
        """Show it; whether it is news."""
        container = self._find(ref) if ref is not None else None
        of = container.name if container is not None else engine
        problem = Problem("", f"comparing the limits of {of} failed: {error!r}")
        if self._broken.get((what, engine, ref)) == problem:
            return False
        self._broken[what, engine, ref] = problem
        self._changed()
        return True

    def _works(self, what: str, engine: str, ref: ContainerRef | None) -> None:
        if self._broken.pop((what, engine, ref), None) is not None:
            self._changed()
