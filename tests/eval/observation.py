"""One run of a scenario: its frames, what its services reported, and when the harm was done."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from collectors.sampling.frame import Frame
from collectors.sampling.sweep import Sweeper, Target
from runtime.engines.protocol import Engine
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import threads
from runtime.model import ContainerRef
from tests.eval.metrics import Second
from tests.eval.scenario import Actor, Cast, Scenario
from tests.eval.stage import EvalStage
from tui.demo.story import Report, parse_report

INTERVAL_S: Final = 1.0  # between two sweeps, the dashboard's own
BASE_S: Final = 3.5  # and up to an interval more
AFTER_S: Final = 1.0
READY_TIMEOUT_S: Final = 30.0  # until every victim has reported; one that reads a file makes it first
REPORT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Told:
    """A report of a service, and CLOCK_MONOTONIC in ns when it came."""

    at_ns: int
    report: Report


@dataclass(slots=True)
class Observation:
    """What was seen of one run. Times are CLOCK_MONOTONIC in ns."""

    scenario: Scenario
    repeat: int
    names: dict[ContainerRef, str]
    outside: bool
    began_ns: int = 0
    harm_ns: int = 0
    end_ns: int = 0
    frames: list[Frame] = field(default_factory=list)
    reports: dict[str, list[Told]] = field(default_factory=dict)

    def seconds(self, victim: str, start_ns: int, end_ns: int) -> list[Second]:
        """The reports of a victim in that time, each as it came; a report covers half a second."""
        return [
            Second(len(told.report.latency_ms), told.report.shed, told.report.latency_ms)
            for told in self.reports.get(victim, ())
            if start_ns < told.at_ns <= end_ns
        ]


class Observer:
    """Sweeps the containers of a run at the interval, and hands each frame on."""

    def __init__(self, targets: Callable[[], list[Target]], taken: Callable[[Frame], None]) -> None:
        self._targets = targets
        self._taken = taken
        self._sweeper = Sweeper()

    async def run(self) -> None:
        """Until it is cancelled."""
        due = time.monotonic()
        try:
            while True:
                self._taken(await threads.measuring(self._sweeper.sweep, self._targets()))
                due = max(due + INTERVAL_S, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
        finally:
            await threads.measuring(self._sweeper.close)


async def follow_reports(engine: Engine, ref: ContainerRef, kept: list[Told]) -> None:
    """Read a service's reports until its container ends."""
    pending = b""
    with contextlib.suppress(NotFoundError):
        async for line in engine.logs(ref.id, follow=True):
            pending += line.data
            if line.partial:
                continue
            report, pending = parse_report(pending), b""
            if report is not None:
                kept.append(Told(time.monotonic_ns(), report))


async def observe(stage: EvalStage, scenario: Scenario, repeat: int, seed: int) -> Observation:
    """Run a scenario once, from its quiet phase to the end of the harm; everything of it is removed afterwards."""
    rng = Random(f"{seed}/{scenario.name}/{repeat}")
    run = _Run(stage, scenario, scenario.cast(rng), repeat)
    try:
        return await run.run(base_s=BASE_S + rng.uniform(0, INTERVAL_S))  # harm begins at no fixed phase of the sweeps
    finally:
        await asyncio.shield(_clear(stage))


async def _clear(stage: EvalStage) -> None:
    stage.bound_memory(None)
    await stage.remove_all()
    await stage.close_uplink()


class _Run:
    def __init__(self, stage: EvalStage, scenario: Scenario, cast: Cast, repeat: int) -> None:
        self._stage = stage
        self._cast = cast
        self._observation = Observation(scenario, repeat, {}, bool(cast.outside))
        self._refs: dict[str, ContainerRef] = {}
        self._targets: dict[ContainerRef, Target] = {}
        self._followers: list[asyncio.Task[None]] = []

    async def run(self, *, base_s: float) -> Observation:
        seen, scenario = self._observation, self._observation.scenario
        await self._prepare()
        observer = asyncio.create_task(
            Observer(lambda: list(self._targets.values()), seen.frames.append).run(), name="observer"
        )
        try:
            seen.began_ns = time.monotonic_ns()
            await asyncio.sleep(base_s)
            seen.harm_ns = time.monotonic_ns()
            await asyncio.gather(*(self._start(actor) for actor in self._cast.actors if actor.at_s is not None))
            for load in self._cast.outside:
                self._stage.start_outside(load)
            await asyncio.sleep(scenario.noise_s - (time.monotonic_ns() - seen.harm_ns) / 1e9)
            seen.end_ns = time.monotonic_ns()
            await asyncio.sleep(AFTER_S)
        finally:
            observer.cancel()
            await asyncio.gather(observer, return_exceptions=True)
            for follower in self._followers:
                follower.cancel()
            await asyncio.gather(*self._followers, return_exceptions=True)
        if observer.done() and not observer.cancelled() and observer.exception() is not None:
            raise PytopError(f"sweep the containers of {scenario.name}") from observer.exception()
        return seen

    async def _prepare(self) -> None:
        """Create all, start those that are there from the beginning, and wait until the victims serve."""
        if self._cast.uplink_mbit is not None:
            await self._stage.open_uplink(self._cast.uplink_mbit)
        for actor in self._cast.actors:
            ref = await self._stage.create(actor)
            self._refs[actor.name] = ref
            self._observation.names[ref] = actor.name
        for actor in self._cast.actors:
            if actor.at_s is None:
                await self._start(actor)
        for victim in self._observation.scenario.victims:
            await self._serving(victim)
        if self._cast.memory_mb is not None:
            self._stage.bound_memory(self._cast.memory_mb << 20)

    async def _start(self, actor: Actor) -> None:
        if actor.at_s:
            await asyncio.sleep(actor.at_s)
        ref = self._refs[actor.name]
        await self._stage.engine.start(ref.id)
        container = await self._stage.engine.get(ref.id)
        if container.pid is None:
            raise PytopError(f"start {actor.name}", detail=f"it is {container.state}; {container.error}")
        self._targets[ref] = Target(ref, container.pid, container.cgroup)
        if actor.program == "service":
            kept = self._observation.reports.setdefault(actor.name, [])
            self._followers.append(asyncio.create_task(follow_reports(self._stage.engine, ref, kept)))

    async def _serving(self, victim: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if len(self._observation.reports.get(victim, ())) >= 2:
                return
            await asyncio.sleep(0.1)
        container = await self._stage.engine.get(self._refs[victim].id)
        raise PytopError(
            f"start the service {victim} of {self._observation.scenario.name}",
            detail=f"it is {container.state} and has reported nothing in {READY_TIMEOUT_S:.0f} s; {container.error}",
        )
