"""Goes after limits that somebody else has changed, after each sweep.

Each engine's containers have rounds of their own, so one that hangs holds up nobody else. What goes wrong with one
container or with a whole round is a problem to be shown, and the rounds go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from collectors.sampling.frame import Frame, Usage
from runtime.engines.protocol import Engine
from runtime.errors import PytopError, UnavailableError
from runtime.model import Capabilities, Container, ContainerRef, LimitName, Limits
from tui.core.drift.detector import SETTLE, Drifts
from tui.core.groups import GROUP
from tui.core.inspector import Looking
from tui.core.inventory import Problem

log = logging.getLogger(__name__)

ANSWER_WITHIN: Final = 5.0  # seconds for an engine's record
AT_ONCE: Final = 8  # containers that a command compares at the same time
WRITTEN_WITHIN: Final = 0.2  # seconds from an engine's write of a limit to its record of it


class Patrol:
    """Asks engines for their records and the kernel for its files, where `Drifts` wants to know them."""

    def __init__(
        self,
        drifts: Drifts,
        engines: Mapping[str, Engine],
        looking: Looking,
        find: Callable[[ContainerRef], Container | None],
        changed: Callable[[], None],
        capabilities: Callable[[str], Capabilities | None],
    ) -> None:
        """`changed` is called when a drift or a problem came or went; `capabilities` gives an engine's, if known."""
        self._drifts = drifts
        self._engines = engines
        self._looking = looking
        self._find = find
        self._changed = changed
        self._capabilities = capabilities
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

    async def compare(self, containers: Iterable[Container]) -> None:
        """Compare these now, once, sweeps or none; those that have just started are left out."""
        turn = asyncio.Semaphore(AT_ONCE)
        settled = time.time_ns() - int(SETTLE * 1e9)

        async def one(ref: ContainerRef) -> None:
            async with turn:
                generation = self._drifts.generation(ref)
                await self._record(ref)
                await self._look(ref, generation, None, sure=True)

        await asyncio.gather(*(one(c.ref) for c in containers if c.pid is not None and (c.started_ns or 0) < settled))

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
        await self._records(self._drifts.unrecorded(ref for ref in frame.usages if ref.engine == key))
        suspects = self._drifts.suspects(key, frame)
        usages = frame.usages
        doubted = [
            ref for ref, generation in suspects.items() if not await self._look(ref, generation, usages.get(ref))
        ]
        if doubted:
            await asyncio.sleep(WRITTEN_WITHIN)
            while some := self._drifts.unrecorded(doubted):
                await self._records(some)
            for ref in doubted:
                await self._look(ref, suspects[ref], usages.get(ref), sure=True)

    async def _records(self, refs: Sequence[ContainerRef]) -> None:
        """Ask for these at once: an engine that hangs is waited for once."""
        await asyncio.gather(*(self._record(ref) for ref in refs))

    async def _look(self, ref: ContainerRef, generation: int, usage: Usage | None, *, sure: bool = False) -> bool:
        """Read the files of one container and judge; False when the engine is to be asked before."""
        container = self._find(ref)
        if container is None or container.pid is None:
            return True
        try:
            held, above = await self._files(container)
            if not sure and self._drifts.doubts(ref, held, above):
                return False
            changed = self._drifts.judge(ref, held, generation, usage, above)
        except PytopError as error:
            log.warning("%s", error)
        except Exception as error:
            if self._fails("files", ref.engine, ref, error):
                log.exception("comparing the limits of %s", ref.short)
        else:
            self._works("files", ref.engine, ref)
            if changed:
                self._changed()
        return True

    async def _files(self, container: Container) -> tuple[Limits, Limits]:
        """What the kernel holds, and what the parent has where that may be why."""
        held = await self._looking.limits(container, network=self._drifts.wants_network(container.ref))
        parents = self._drifts.wants_parent(container.ref, held)
        return held, await self._looking.above(container) if parents else Limits()

    async def _record(self, ref: ContainerRef) -> None:
        """Ask for the engine's record; that of a group is empty."""
        engine = self._engines.get(ref.engine)
        if engine is None:
            self._drifts.recorded(ref, Limits())
            return
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                record = await engine.recorded(ref.id)
            able = self._capabilities(ref.engine)
            self._drifts.recorded(ref, record, able.unrecorded if able is not None else frozenset(LimitName))
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
