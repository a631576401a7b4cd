"""Checks after each sweep, and after a write to a limit file, for limits that somebody else has changed.

Each engine's containers are checked in rounds of their own, so that an engine that hangs does not delay the others. A
failure for one container or in a whole round becomes a problem that is shown, and the rounds go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from collectors.sampling.frame import Frame, Usage
from runtime.engines.protocol import Engine
from runtime.errors import PytopError, UnavailableError
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Capabilities, Container, LimitName, Limits, Ref
from tui.core.drift.detector import SETTLE_S, DriftDetector
from tui.core.drift.file_watch import LimitFileWatch
from tui.core.hosts.host import LimitReader
from tui.core.problem import Problem, ProblemKind
from tui.core.subject import EngineRef, Subject, engine_of

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S: Final = 5.0  # to read an engine's record
MAX_CONCURRENT: Final = 8  # containers that a command compares at once
ROUND_PAUSE_S: Final = 0.2  # after a round without a new frame
RECORD_DELAY_S: Final = 0.2  # between an engine's write of a limit to the kernel and to its record


class DriftChecker:
    """Reads engines' records and the kernel's limit files for the `DriftDetector`."""

    name = "drift"

    def __init__(
        self,
        detector: DriftDetector,
        *,
        engines: Mapping[EngineRef, Engine],
        reader: Callable[[Ref], LimitReader],
        cgroup: Callable[[Subject], Cgroup | None],
        find: Callable[[Ref], Subject | None],
        capabilities: Callable[[EngineRef], Capabilities | None],
        changed: Callable[[], None],
    ) -> None:
        """Collaborators.

        `reader` gives the reader of the kernel that holds a ref's limits, `cgroup` finds that of a subject of this
        machine and blocks, `capabilities` those of an engine, if known,
        and `changed` is called when drifts or problems have changed.
        """
        self._detector = detector
        self._engines = engines
        self._reader = reader
        self._files_watch = LimitFileWatch(cgroup, self.written)
        self._find = find
        self._changed = changed
        self._capabilities = capabilities
        self._frame: Frame | None = None
        groups = [EngineRef(host, "") for host in dict.fromkeys(engine.host for engine in engines)]
        self._fresh = {engine: asyncio.Event() for engine in (*engines, *groups)}
        self._problems: dict[tuple[str, EngineRef, Ref | None], Problem] = {}  # by step, engine and container

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What cannot be compared now, one problem for each engine and step."""
        return tuple({(what, engine): problem for (what, engine, _), problem in self._problems.items()}.values())

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """Start a round for this frame; while one is under way, only the newest frame waits."""
        self._frame = frame
        for fresh in self._fresh.values():
            fresh.set()

    def inventory(self, subjects: Collection[Subject]) -> None:
        """Take a changed inventory."""
        self._detector.inventory(subjects)
        self._files_watch.inventory(subjects)

    def written(self, refs: Collection[Ref], watched: Collection[Ref]) -> None:
        """Somebody has written to their limit files: compare them soon, without waiting for the next frame."""
        self._detector.watched = watched
        self._detector.written(refs)
        for engine in {engine_of(ref) for ref in refs} & self._fresh.keys():
            self._fresh[engine].set()

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs until cancelled, by name: rounds of each engine, independent of others, and the watch of files."""
        rounds = {
            f"{self.name} {engine.engine} {engine.host}".rstrip(): partial(self._follow, engine)
            for engine in self._fresh
        }
        return {**rounds, self._files_watch.name: self._files_watch.follow}

    async def round(self, frame: Frame) -> None:
        """Run one round of every engine for this frame."""
        await asyncio.gather(*(self._round(engine, frame) for engine in self._fresh))

    async def compare(self, containers: Iterable[Container]) -> None:
        """Compare these containers once, also without sweeps; those that have just started are left out."""
        slots = asyncio.Semaphore(MAX_CONCURRENT)
        settled = time.time_ns() - int(SETTLE_S * 1e9)

        async def compare_now(ref: Ref) -> None:
            async with slots:
                generation = self._detector.generation(ref)
                await self._read_record(ref)
                await self._compare_one(ref, generation, None, sure=True)

        await asyncio.gather(
            *(compare_now(c.ref) for c in containers if c.pid is not None and (c.started_ns or 0) < settled)
        )

    async def _follow(self, engine: EngineRef) -> None:
        fresh = self._fresh[engine]
        last: Frame | None = None
        while True:
            await fresh.wait()
            fresh.clear()
            frame = self._frame
            if frame is None:
                continue
            taken, last = frame is last, frame
            await self._round(engine, frame, only_written=taken)
            if taken:
                await asyncio.sleep(ROUND_PAUSE_S)

    async def _round(self, engine: EngineRef, frame: Frame, *, only_written: bool = False) -> None:
        try:
            await self._compare(engine, frame, only_written=only_written)
        except Exception as error:
            if self._add_problem("round", engine, None, error):
                log.exception("comparing the limits of %s", engine.engine)
        else:
            self._clear_problem("round", engine, None)

    async def _compare(self, engine: EngineRef, frame: Frame, *, only_written: bool) -> None:
        """One round over the containers of one engine."""
        for what, of, ref in list(self._problems):
            if ref is not None and self._find(ref) is None:
                self._clear_problem(what, of, ref)
        await self._read_records(self._detector.unrecorded(engine, frame.usages))
        suspects = self._detector.suspects(engine, frame, only_written=only_written)
        usages = frame.usages
        doubted = [
            ref for ref, generation in suspects.items() if not await self._compare_one(ref, generation, usages.get(ref))
        ]
        if doubted:
            await asyncio.sleep(RECORD_DELAY_S)
            while refs := self._detector.unrecorded(engine, doubted):
                await self._read_records(refs)
            for ref in doubted:
                await self._compare_one(ref, suspects[ref], usages.get(ref), sure=True)

    async def _read_records(self, refs: Sequence[Ref]) -> None:
        """Read these records concurrently, so that an engine that hangs costs one timeout."""
        await asyncio.gather(*(self._read_record(ref) for ref in refs))

    async def _compare_one(self, ref: Ref, generation: int, usage: Usage | None, *, sure: bool = False) -> bool:
        """Read the files of one container and compare; False when the engine's record is to be read before."""
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
            self._detector.written((ref,))  # it is read again in the next round
        except Exception as error:
            self._detector.written((ref,))
            if self._add_problem("files", engine_of(ref), ref, error):
                log.exception("comparing the limits of %s", ref.short)
        else:
            self._clear_problem("files", engine_of(ref), ref)
            if changed:
                self._changed()
        return True

    async def _files(self, subject: Subject) -> tuple[Limits, Limits]:
        """The kernel's limits, and the parent's cpusets where they may explain a difference."""
        reader = self._reader(subject.ref)
        held = await reader.limits(subject, network=self._detector.wants_network(subject.ref))
        parents = self._detector.wants_parent(subject.ref, held)
        return held, await reader.parent_cpusets(subject) if parents else Limits()

    async def _read_record(self, ref: Ref) -> None:
        """Read the engine's record; that of a group is empty."""
        key = engine_of(ref)
        engine = self._engines.get(key)
        if engine is None:
            self._detector.recorded(ref, Limits())
            return
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                record = await engine.recorded(ref.id)
            capabilities = self._capabilities(key)
            unrecorded = capabilities.unrecorded if capabilities is not None else frozenset(LimitName)
            self._detector.recorded(ref, record, unrecorded)
            self._clear_problem("record", key, ref)
        except (UnavailableError, TimeoutError) as error:
            log.warning("the record of %s: %s", ref.short, error or "no answer")
            self._detector.engine_away(key)
        except PytopError as error:
            log.warning("the record of %s: %s", ref.short, error)
            self._detector.unanswered(ref)
        except Exception as error:
            self._detector.unanswered(ref)
            if self._add_problem("record", key, ref, error):
                log.exception("the record of %s", ref.short)

    # problems

    def _add_problem(self, what: str, engine: EngineRef, ref: Ref | None, error: Exception) -> bool:
        """Add the problem; whether it is new."""
        subject = self._find(ref) if ref is not None else None
        name = subject.name if subject is not None else engine.engine
        problem = Problem(ProblemKind.COMPARISON, host=engine.host, subject=name, cause=repr(error))
        if self._problems.get((what, engine, ref)) == problem:
            return False
        self._problems[what, engine, ref] = problem
        self._changed()
        return True

    def _clear_problem(self, what: str, engine: EngineRef, ref: Ref | None) -> None:
        if self._problems.pop((what, engine, ref), None) is not None:
            self._changed()
