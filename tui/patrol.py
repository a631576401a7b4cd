"""Goes after limits that somebody else has changed, once after each sweep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from collectors.frame import Frame
from runtime.engine import Engine
from runtime.errors import PytopError
from runtime.model import Container, ContainerRef, Limits
from tui.drift import Drifts
from tui.looking import Looking

log = logging.getLogger(__name__)

ANSWER_WITHIN = 5.0  # seconds for an engine's record


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
        self._drifts = drifts
        self._engines = engines
        self._looking = looking
        self._find = find
        self._changed = changed
        self._frame: Frame | None = None
        self._fresh = asyncio.Event()

    def frame(self, frame: Frame) -> None:
        """There is a new one; while a round is under way the newest waits."""
        self._frame = frame
        self._fresh.set()

    async def run(self) -> None:
        """One round for each frame, until cancelled."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            if self._frame is not None:
                await self.round(self._frame)

    async def round(self, frame: Frame) -> None:
        """Compare this frame; read what looks different."""
        for ref in self._drifts.unrecorded(frame.usages):
            await self._record(ref)
        found = False
        for ref, generation in self._drifts.suspects(frame).items():
            container = self._find(ref)
            if container is None or container.pid is None:
                continue
            try:
                held = await self._looking.limits(container, network=self._drifts.wants_network(ref))
            except PytopError as error:
                log.warning("%s", error)
                continue
            if self._drifts.doubts(ref, held):
                await self._record(ref)  # an engine may have changed it, and its record, without an event
            found = self._drifts.judge(ref, held, generation, frame.usages.get(ref)) or found
        if found:
            self._changed()

    async def _record(self, ref: ContainerRef) -> None:
        """Ask for the engine's record; that of a group is empty."""
        engine = self._engines.get(ref.engine)
        if engine is None:
            self._drifts.recorded(ref, Limits())
            return
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                record = await engine.recorded(ref.id)
        except (PytopError, TimeoutError) as error:
            log.warning("the record of %s: %s", ref.short, error or "no answer")
            self._drifts.unanswered(ref)
        else:
            self._drifts.recorded(ref, record)
