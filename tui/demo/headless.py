"""The demo without a screen: four measured phases (alone, hog, contained, reverted), and a table of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from collectors.sampling.frame import Usage
from collectors.sampling.sweep import Sweeper, Target
from runtime.engines.protocol import Engine
from runtime.errors import PytopError
from runtime.kernel import threads
from runtime.limits.units import format_cpus
from runtime.model import UNLIMITED, LimitChange, LimitName, LimitOutcome, Missing
from tui.demo.scene import Reports, Scene, Setting, build, remove_all
from tui.demo.story import Service, isolation, latency_impact, recovery
from tui.present.messages import Message, say

CAP_CORES = 0.2  # the hog's CPU limit while it is contained
MIN_RECOVERY = 0.5  # share of the added p99 that the limit must take away to have helped
MIN_DAMAGE_RATIO = 2.0  # p99 beside the hog against p99 alone, above which the hog did harm


@dataclass(frozen=True, slots=True)
class Phase:
    """One measured phase; `hog` is the hog's use during it, None while it does not run."""

    name: str
    victim: Service
    hog: Usage | None


def _share(value: float | Missing) -> str:
    return "-" if isinstance(value, Missing) else f"{value:.2f}"


def table(phases: list[Phase]) -> list[str]:
    """The phases as an aligned table; the first phase is the baseline."""
    head = ("phase", "victim p50", "victim p99", "answered", "shed", "isolation", "latency", "hog CPU", "hog throttled")
    rows = [head]
    alone = phases[0].victim
    for phase in phases:
        now = phase.victim
        rows.append(
            (
                phase.name,
                f"{now.p50:.1f} ms",
                f"{now.p99:.1f} ms",
                f"{now.answered:.1f}/s",
                f"{now.shed:.1f}/s",
                f"{isolation(now, alone):.2f}",
                f"+{latency_impact(now, alone):.1f}x",
                f"{_share(phase.hog.cpu)} cores" if phase.hog else "-",
                f"{_share(phase.hog.throttled)} s/s" if phase.hog else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _limit_text(outcome: LimitOutcome) -> str:
    field = next(entry for entry in outcome.fields if entry.name is LimitName.CPUS)

    def cores(value: object) -> str:
        return format_cpus(value) if isinstance(value, int | float) else str(value)

    return say(
        Message.HOG_LIMIT,
        requested=cores(field.requested),
        engine=cores(field.engine),
        kernel=cores(field.kernel),
        verdict=field.verdict,
        detail=field.detail,
    ).rstrip()


class StoryRunner:
    """Runs the phases on a scene and measures each."""

    def __init__(self, scene: Scene, show: Callable[[str], None]) -> None:
        self._scene = scene
        self._show = show
        self._reports = Reports()
        self._sweeper = Sweeper()
        self.phases: list[Phase] = []

    async def run(self) -> list[LimitOutcome]:
        """Run all phases; the outcomes of setting and of lifting the limit."""
        follower = asyncio.create_task(self._reports.follow(self._scene.engine, self._scene.victim))
        try:
            self._show(say(Message.MEASURING_ALONE))
            await self._until_first_report(follower)
            await self._phase("alone", settle=1.5, seconds=6)
            self._show(say(Message.HOG_STARTS))
            await self._scene.start_hog()
            await self._phase("hog", settle=3, seconds=7)
            capped = await self._limit(LimitChange(cpus=CAP_CORES))
            await self._phase("contained", settle=4, seconds=7)
            lifted = await self._limit(LimitChange(cpus=UNLIMITED))
            await self._phase("reverted", settle=3, seconds=6)
            return [capped, lifted]
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
            await threads.measuring(self._sweeper.close)

    async def _until_first_report(self, follower: asyncio.Task[None]) -> None:
        for _ in range(100):
            if self._reports.count:
                return
            if follower.done():
                break
            await asyncio.sleep(0.1)
        container = await self._scene.engine.get(self._scene.victim.id)
        raise PytopError(
            "start the demo's victim",
            detail=f"it is {container.state} and has reported nothing; {container.error}".rstrip("; "),
            hint="Look at `pytop-containers doctor`",
        )

    async def _limit(self, change: LimitChange) -> LimitOutcome:
        outcome = await self._scene.engine.update(self._scene.hog.id, change)
        self._show(_limit_text(outcome))
        return outcome

    async def _phase(self, name: str, *, settle: float, seconds: float) -> None:
        await asyncio.sleep(settle)
        targets: list[Target] = []
        if self._scene.hog_started:
            container = await self._scene.engine.get(self._scene.hog.id)
            if container.pid is not None:
                targets.append(Target(self._scene.hog, container.pid))
        await threads.measuring(self._sweeper.sweep, targets)
        start = self._reports.count
        await asyncio.sleep(seconds)
        frame = await threads.measuring(self._sweeper.sweep, targets)
        measured = self._reports.since(start)
        if measured is None:
            raise PytopError(f"measure the victim in phase '{name}'", detail=f"it answered nothing in {seconds:.0f} s")
        self.phases.append(Phase(name, measured, frame.usages.get(self._scene.hog)))
        self._show(say(Message.PHASE, phase=name, p50=measured.p50, p99=measured.p99))


def verdict(phases: list[Phase], outcomes: list[LimitOutcome]) -> tuple[bool, str]:
    """Whether containment helped, and the reason."""
    alone, hurt, contained = (phase.victim for phase in phases[:3])
    if not all(outcome.ok for outcome in outcomes):
        return False, say(Message.LIMIT_NOT_HELD)
    if hurt.p99 < MIN_DAMAGE_RATIO * alone.p99:
        return False, say(Message.NOT_HURT, now=hurt.p99, alone=alone.p99)
    share = recovery(hurt, contained, alone)
    if share < MIN_RECOVERY:
        return False, say(Message.HARDLY_HELPED, share=share)
    return True, say(Message.TOOK_AWAY, share=share)


async def run_story(engine: Engine, setting: Setting, show: Callable[[str], None]) -> int:
    """Run the demo on an engine; 0 only if containment helped. The three containers are removed at the end."""
    scene = await build(engine, setting)
    try:
        runner = StoryRunner(scene, show)
        outcomes = await runner.run()
    finally:
        await remove_all(engine, (scene.hog, scene.victim, scene.quiet))
    show("")
    for line in table(runner.phases):
        show(line)
    helped, why = verdict(runner.phases, outcomes)
    show("")
    show(say(Message.HELPED if helped else Message.DID_NOT_HELP, why=why))
    return 0 if helped else 1
