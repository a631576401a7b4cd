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
from runtime.model import Capabilities, Container, LimitName, Limits, Ref
from tui.core.drift.detector import SETTLE_S, DriftDetector
from tui.core.hosts.host import LimitReader
from tui.core.problem import Problem, ProblemKind
from tui.core.subject import EngineRef, Subject, engine_of

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S: Final = 5.0  # seconds for an engine's record
MAX_CONCURRENT: Final = 8  # containers that a command compares at the same time
RECORD_DELAY_S: Final = 0.2  # seconds from an engine's write of a limit to its record of it


class DriftChecker:
    """Asks engines for their records and the kernel for its files, where the `DriftDetector` wants to know them."""

    name = "drift"

    def __init__(
        self,
        detector: DriftDetector,
        *,
        engines: Mapping[EngineRef, Engine],
        reader: Callable[[Ref], LimitReader],
        find: Callable[[Ref], Subject | None],
        capabilities: Callable[[EngineRef], Capabilities | None],
        changed: Callable[[], None],
    ) -> None:
        """Collaborators.

        `reader` looks into the kernel that holds a ref's limits, `capabilities` gives an engine's, if known, and
        `changed` is called when a drift or a problem came or went.
        """
        self._detector = detector
        self._engines = engines
        self._reader = reader
        self._find = find
        self._changed = changed
        self._capabilities = capabilities
        self._frame: Frame | None = None
        groups = [EngineRef(host, "") for host in dict.fromkeys(engine.host for engine in engines)]
        self._fresh = {engine: asyncio.Event() for engine in (*engines, *groups)}
        self._broken: dict[tuple[str, EngineRef, Ref | None], Problem] = {}  # by what, engine and container

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What cannot be compared now, one of a kind for each engine."""
        return tuple({(what, engine): problem for (what, engine, _), problem in self._broken.items()}.values())

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """There is a new one; while a round is under way the newest waits."""
        self._frame = frame
        for fresh in self._fresh.values():
            fresh.set()

    async def run(self) -> None:
        """For each engine one round for each frame, until cancelled."""
        await asyncio.gather(*(self._follow(engine) for engine in self._fresh))

    async def round(self, frame: Frame) -> None:
        """Compare this frame; read what looks different."""
        await asyncio.gather(*(self._round(engine, frame) for engine in self._fresh))

    async def compare(self, containers: Iterable[Container]) -> None:
        """Compare these now, once, sweeps or none; those that have just started are left out."""
        slots = asyncio.Semaphore(MAX_CONCURRENT)
        settled = time.time_ns() - int(SETTLE_S * 1e9)

        async def one(ref: Ref) -> None:
            async with slots:
                generation = self._detector.generation(ref)
                await self._record(ref)
                await self._look(ref, generation, None, sure=True)

        await asyncio.gather(*(one(c.ref) for c in containers if c.pid is not None and (c.started_ns or 0) < settled))

    async def _follow(self, engine: EngineRef) -> None:
        fresh = self._fresh[engine]
        while True:
            await fresh.wait()
            fresh.clear()
            if self._frame is not None:
                await self._round(engine, self._frame)

    async def _round(self, engine: EngineRef, frame: Frame) -> None:
        try:
            await self._compare(engine, frame)
        except Exception as error:
            if self._fails("round", engine, None, error):
                log.exception("comparing the limits of %s", engine.engine)
        else:
            self._works("round", engine, None)

    async def _compare(self, engine: EngineRef, frame: Frame) -> None:
        """One round over the containers of one engine."""
        for what, of, ref in list(self._broken):
            if ref is not None and self._find(ref) is None:
                self._works(what, of, ref)
        await self._records(self._detector.unrecorded(engine, frame.usages))
        suspects = self._detector.suspects(engine, frame)
        usages = frame.usages
        doubted = [
            ref for ref, generation in suspects.items() if not await self._look(ref, generation, usages.get(ref))
        ]
        if doubted:
            await asyncio.sleep(RECORD_DELAY_S)
            while some := self._detector.unrecorded(engine, doubted):
                await self._records(some)
            for ref in doubted:
                await self._look(ref, suspects[ref], usages.get(ref), sure=True)

    async def _records(self, refs: Sequence[Ref]) -> None:
        """Ask for these at once: an engine that hangs is waited for once."""
        await asyncio.gather(*(self._record(ref) for ref in refs))

    async def _look(self, ref: Ref, generation: int, usage: Usage | None, *, sure: bool = False) -> bool:
        """Read the files of one container and judge; False when the engine is to be asked before."""
        subject = self._find(ref)
        if subject is None or subject.pid is None:
            return True
        try:
            held, above = await self._files(subject)
            if not sure and self._detector.doubts(ref, held, above):
                return False
            changed = self._detector.judge(ref, held, generation, usage, above)
        except PytopError as error:
            log.warning("%s", error)
        except Exception as error:
            if self._fails("files", engine_of(ref), ref, error):
                log.exception("comparing the limits of %s", ref.short)
        else:
            self._works("files", engine_of(ref), ref)
            if changed:
                self._changed()
        return True

    async def _files(self, subject: Subject) -> tuple[Limits, Limits]:
        """What the kernel holds, and what the parent has where that may be why."""
        reader = self._reader(subject.ref)
        held = await reader.limits(subject, network=self._detector.wants_network(subject.ref))
        parents = self._detector.wants_parent(subject.ref, held)
        return held, await reader.parent_cpusets(subject) if parents else Limits()

    async def _record(self, ref: Ref) -> None:
        """Ask for the engine's record; that of a group is empty."""
        keeper = engine_of(ref)
        engine = self._engines.get(keeper)
        if engine is None:
            self._detector.recorded(ref, Limits())
            return
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                record = await engine.recorded(ref.id)
            able = self._capabilities(keeper)
            self._detector.recorded(ref, record, able.unrecorded if able is not None else frozenset(LimitName))
            self._works("record", keeper, ref)
        except (UnavailableError, TimeoutError) as error:
            log.warning("the record of %s: %s", ref.short, error or "no answer")
            self._detector.away(keeper)
        except PytopError as error:
            log.warning("the record of %s: %s", ref.short, error)
            self._detector.unanswered(ref)
        except Exception as error:
            self._detector.unanswered(ref)
            if self._fails("record", keeper, ref, error):
                log.exception("the record of %s", ref.short)

    # what is broken

    def _fails(self, what: str, engine: EngineRef, ref: Ref | None, error: Exception) -> bool:
        """Show it; whether it is news."""
        subject = self._find(ref) if ref is not None else None
        name = subject.name if subject is not None else engine.engine
        problem = Problem(ProblemKind.COMPARISON, host=engine.host, subject=name, cause=repr(error))
        if self._broken.get((what, engine, ref)) == problem:
            return False
        self._broken[what, engine, ref] = problem
        self._changed()
        return True

    def _works(self, what: str, engine: EngineRef, ref: Ref | None) -> None:
        if self._broken.pop((what, engine, ref), None) is not None:
            self._changed()
