"""Runs the phases of one story on a scene, without a screen, and measures each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from collectors.sampling.frame import Frame, Usage
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.errors import PytopError
from runtime.kernel import threads
from runtime.model import ContainerRef, LimitChange, LimitOutcome
from tui.demo.measures import outside_share
from tui.demo.naming import NamingClock
from tui.demo.phases import Phase, PhaseKind, StoryResult, pooled
from tui.demo.rungs import RungSwitch, Switched
from tui.demo.scene import Reports, Scene
from tui.demo.stories import StoryRung, playable
from tui.present import demo_text
from tui.present.messages import Message, say

FIRST_REPORT_TIMEOUT_S = 30.0  # a victim that makes a file first takes some seconds


class Pace(NamedTuple):
    """Seconds of a phase that are not measured, since the queue is worked off, and seconds that are."""

    settle: float
    measure: float


PACE = {
    PhaseKind.ALONE: Pace(1.5, 5),
    PhaseKind.NOISE: Pace(3, 5),
    PhaseKind.RUNG: Pace(2, 4),
    PhaseKind.RELEASED: Pace(2.5, 4),
}


class StoryRunner:
    """Runs one story; `show` takes a line about each step."""

    def __init__(self, scene: Scene, show: Callable[[str], None]) -> None:
        self._scene = scene
        self._show = show
        self._reports = Reports()
        self._sweeper = Sweeper()
        self._switch = RungSwitch(scene, self._update, self._freeze)
        story = scene.story
        hogs = tuple(member.name for member in story.noise)
        self._hogs = frozenset(scene.members[name] for name in hogs)
        self.result = StoryResult(story.name, story.resource, scene.engine.key, hogs)

    async def run(self) -> StoryResult:
        """Run all phases."""
        naming: asyncio.Task[None] | None = None
        follower = asyncio.create_task(self._reports.follow(self._scene.engine, self._scene.victim))
        try:
            self._show(say(Message.MEASURING_ALONE))
            await self._until_first_report(follower)
            await self._phase(PhaseKind.ALONE.value, PhaseKind.ALONE, Switched(), self._reports.count)
            self._show(say(Message.HOG_STARTS))
            started = self._reports.count
            await self._scene.start_noise()
            clock = NamingClock(self._scene.victim, self._hogs)
            naming = asyncio.create_task(clock.run(list((await self._targets()).values())))
            await self._phase(PhaseKind.NOISE.value, PhaseKind.NOISE, Switched(), started)
            naming.cancel()  # what is named under a rung was not named in time
            self.result.named_s, self.result.named_by = clock.named_s, clock.evidence
            refused = (await self._scene.engine.capabilities()).limits
            for rung, reason in playable(self._scene.story.rungs, refused):
                if reason:
                    self.result.refused[rung.id] = reason
                    self._show(demo_text.rung_refused(rung.id, reason))
                else:
                    await self._rung(rung)
            started = self._reports.count
            await self._phase(PhaseKind.RELEASED.value, PhaseKind.RELEASED, await self._switch.to(None), started)
            return self.result
        finally:
            tasks = [task for task in (follower, naming) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await threads.measuring(self._sweeper.close)

    async def _rung(self, rung: StoryRung) -> None:
        started = self._reports.count
        switched = await self._switch.to(rung)
        for outcome in switched.outcomes:
            for line in demo_text.outcome_lines(self._scene.names[outcome.ref], outcome):
                self._show(line)
        await self._phase(rung.id, PhaseKind.RUNG, switched, started)

    async def _update(self, ref: ContainerRef, change: LimitChange) -> LimitOutcome:
        return await self._scene.engine.update(ref.id, change)

    async def _freeze(self, ref: ContainerRef, frozen: bool) -> None:
        await (self._scene.engine.pause(ref.id) if frozen else self._scene.engine.unpause(ref.id))

    async def _until_first_report(self, follower: asyncio.Task[None]) -> None:
        for _ in range(round(FIRST_REPORT_TIMEOUT_S / 0.1)):
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

    async def _phase(self, name: str, kind: PhaseKind, switched: Switched, started: int) -> None:
        """Measure a phase whose first report is number `started`."""
        pace = PACE[kind]
        await asyncio.sleep(pace.settle)
        targets = await self._targets()
        await threads.measuring(self._sweeper.sweep, list(targets.values()))
        first = self._reports.count
        await asyncio.sleep(pace.measure)
        frame = await threads.measuring(self._sweeper.sweep, list(targets.values()))
        reports = self._reports.since(first)
        measured = pooled(reports)
        if measured is None:
            raise PytopError(
                f"measure the victim in phase '{name}'", detail=f"it answered nothing in {pace.measure:.0f} s"
            )
        usages = {member: frame.usages[target.ref] for member, target in targets.items() if target.ref in frame.usages}
        if kind is PhaseKind.ALONE:
            self.result.outside = _outside(frame, usages)
        settling = self._reports.since(started)[: first - started]
        self.result.phases.append(
            Phase(
                name=name,
                kind=kind,
                reports=reports,
                settling=settling,
                victim=measured,
                usages=usages,
                outcomes=switched.outcomes,
                readback_s=switched.seconds,
            )
        )
        self._show(say(Message.PHASE, phase=name, p50=measured.p50, p99=measured.p99))

    async def _targets(self) -> dict[str, Target]:
        """The running containers of the story, by their names."""
        found: dict[str, Target] = {}
        for name, ref in self._scene.members.items():
            container = await self._scene.engine.get(ref.id)
            if container.pid is not None and container.state.live:
                found[name] = Target(ref, container.pid, container.cgroup)
        return found


def _outside(frame: Frame, usages: dict[str, Usage]) -> float | None:
    return outside_share(frame.host.cpu, [usage.cpu for usage in usages.values()], frame.host.ncpu)
