"""Climbing the ladder on real containers, as an operator would who has a key for it and looks at the service.

A rung is climbed as soon as attribution names a container, the next one when the service has not come back after
`WATCH_S`. Leases revert when the containers are removed.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from collectors.attribution.evidence import Evidence, SuspectKind
from collectors.sampling.frame import Frame
from runtime.errors import PytopError
from runtime.model import ContainerRef, Missing
from tests.eval import metrics
from tests.eval.judged import SCENARIOS
from tests.eval.loads import hog, quiet, service
from tests.eval.metrics import Second
from tests.eval.observation import INTERVAL_S, READY_TIMEOUT_S, REPORT_S, Told, follow_reports
from tests.eval.results import Containment, Results
from tests.eval.running import interleaved
from tests.eval.scenario import Actor, Cast, Scenario
from tests.eval.stage import EvalStage
from tui.core.session import Changed, Session

BASE_S: Final = 5.0  # and up to an interval more
GIVE_UP_S: Final = 20.0  # after the harm has begun
WATCH_S: Final = 2.0  # between two rungs
HOLD_S: Final = 7.0  # for which the last rung is measured
BACK_SHARE: Final = 0.2  # of what the harm added to the p99, that may be left of it in a service that is back
STEADY: Final = 3  # reports in a row


def _spare(rng: Random) -> Cast:
    processes = str(rng.choice((1, 2, 4)))
    return Cast(actors=(service(rng, cores=rng.uniform(0.3, 0.4)), quiet(rng), hog("hog", "--processes", processes)))


SPARE: Final = "cpu-spare"
CONTAINED: Final = (
    Scenario(name=SPARE, says="a CPU hog beside a service that leaves most of the core unused", cast=_spare),
    *(scenario for scenario in SCENARIOS if scenario.name in ("io-heavy-writer", "net-streams")),
)


async def evaluate(stage: EvalStage, results: Results, show: Callable[[str], None], *, repeats: int, seed: int) -> None:
    """Climb in each of these scenarios and add what came of it to the results."""
    for repeat, scenario in interleaved(CONTAINED, repeats, seed):
        rng = Random(f"{seed}/containment/{scenario.name}/{repeat}")
        climb = _Climb(stage, scenario.name, scenario.cast(rng), repeat)
        try:
            found = await climb.run(base_s=BASE_S + rng.uniform(0, INTERVAL_S))
        except PytopError as error:
            results.failures.append(f"containment of {scenario.name} {repeat + 1}: {error}")
            show(f"containment {scenario.name}: FAILED {error}")
            continue
        finally:
            await asyncio.shield(_clear(stage))
        results.containments.append(found)
        back = "never" if found.recovered_s is None else f"after {found.recovered_s:.1f} s"
        rungs = ", ".join(f"{rung} at {at:.1f} s" for rung, at in zip(found.rungs, found.rung_s, strict=True))
        show(f"containment {scenario.name}: {rungs or found.trouble}; back {back}")


async def _clear(stage: EvalStage) -> None:
    await stage.remove_all()
    await stage.close_uplink()


class _Climb:
    def __init__(self, stage: EvalStage, name: str, cast: Cast, repeat: int) -> None:
        self._stage = stage
        self._name = name
        self._cast = cast
        self._repeat = repeat
        self._session = Session([stage.engine])
        self._refs: dict[str, ContainerRef] = {}
        self._told: list[Told] = []
        self._frames: list[Frame] = []
        self._harm_ns = 0
        self._rungs: list[str] = []
        self._rung_s: list[float] = []
        self._trouble = ""

    async def run(self, *, base_s: float) -> Containment:
        if self._cast.uplink_mbit is not None:
            await self._stage.open_uplink(self._cast.uplink_mbit)
        for actor in self._cast.actors:
            self._refs[actor.name] = await self._stage.create(actor)
        unsubscribe = self._session.subscribe(self._changed)
        await self._session.start()
        follower: asyncio.Task[None] | None = None
        try:
            for actor in self._cast.actors:
                if actor.at_s is None:
                    await self._start(actor)
            follower = asyncio.create_task(
                follow_reports(self._stage.engine, self._refs["victim"], self._told), name="reports"
            )
            await self._serving()
            began_ns = time.monotonic_ns()
            await asyncio.sleep(base_s)
            self._harm_ns = time.monotonic_ns()
            await asyncio.gather(*(self._start(actor) for actor in self._cast.actors if actor.at_s is not None))
            named_s = await self._climb_until_back(began_ns)
            held_ns = time.monotonic_ns()
            await asyncio.sleep(HOLD_S)
            return self._found(began_ns, held_ns, named_s)
        finally:
            unsubscribe()
            if follower is not None:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)
            await self._put_back()
            await self._session.close()

    def _changed(self, what: Changed) -> None:
        frame = self._session.frame
        if Changed.FRAME in what and frame is not None and (not self._frames or self._frames[-1].seq != frame.seq):
            self._frames.append(frame)

    async def _start(self, actor: Actor) -> None:
        await self._stage.engine.start(self._refs[actor.name].id)

    async def _serving(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while len(self._told) < 2:
            if time.monotonic() > deadline:
                raise PytopError(f"start the service of {self._name}", detail="it has reported nothing")
            await asyncio.sleep(0.1)

    # climbing

    def _since_harm_s(self) -> float:
        return (time.monotonic_ns() - self._harm_ns) / 1e9

    async def _climb_until_back(self, began_ns: int) -> float | None:
        """When the culprit was named. Climbs until the service is back, there is no further rung, or it is too late."""
        named_s: float | None = None
        alone = metrics.p99(self._seconds(began_ns, self._harm_ns))
        while self._since_harm_s() < GIVE_UP_S:
            await asyncio.sleep(0.1)
            if self._rung_s:
                if self._since_harm_s() < self._rung_s[-1] + WATCH_S:
                    continue
                if self._is_back(alone):
                    break
            elif self._evidence() is None:
                continue
            if named_s is None:
                named_s = self._since_harm_s()
            try:
                outcome = await self._session.containment.climb(self._refs["victim"])
            except PytopError as error:
                self._trouble = str(error)
                if self._rungs:
                    break
                continue
            self._rungs.append(str(outcome.planned.rung.id))
            self._rung_s.append(self._since_harm_s())
        await asyncio.sleep(max(0.0, GIVE_UP_S - self._since_harm_s()) if not self._is_back(alone) else 0.0)
        return named_s

    def _evidence(self) -> Evidence | None:
        """What is shown about the victim, where a container is to blame."""
        found = self._session.attribution.by_victim.get(self._refs["victim"], ())
        return next((each for each in found if each.suspect.kind is SuspectKind.CONTAINER), None)

    def _is_back(self, alone: float) -> bool:
        """The last reports are near those of the quiet phase."""
        if not self._rung_s:
            return False
        last = [told for told in self._told if told.at_ns > self._rung_ns()][-STEADY:]
        bound = self._bound(alone)
        return len(last) == STEADY and all(_report_p99(told) <= bound for told in last)

    def _rung_ns(self) -> int:
        """When the first rung was read back."""
        return self._harm_ns + int(self._rung_s[0] * 1e9)

    def _bound(self, alone: float) -> float:
        harmed = metrics.p99(self._seconds(self._harm_ns, self._rung_ns()))
        return alone + BACK_SHARE * max(0.0, harmed - alone) if not math.isnan(harmed) else alone

    async def _put_back(self) -> None:
        """Step back from every rung, so that no lease outlives its run."""
        for _ in self._rungs:
            try:
                await self._session.containment.step_back(self._refs["victim"])
            except PytopError:  # everything was put back already
                return

    # what came of it

    def _seconds(self, start_ns: int, end_ns: int) -> list[Second]:
        """Whole seconds of the service in that time, each of two reports."""
        reports = [told.report for told in self._told if start_ns < told.at_ns <= end_ns]
        per = round(1 / REPORT_S)
        grouped = [reports[at : at + per] for at in range(0, len(reports) - per + 1, per)]
        return [
            Second(
                answered=sum(len(report.latency_ms) for report in group),
                shed=sum(report.shed for report in group),
                latency_ms=tuple(value for report in group for value in report.latency_ms),
            )
            for group in grouped
        ]

    def _found(self, began_ns: int, held_ns: int, named_s: float | None) -> Containment:
        alone = self._seconds(began_ns, self._harm_ns)
        first_ns = self._rung_ns() if self._rung_s else held_ns
        held = self._seconds(held_ns, time.monotonic_ns())
        alone_p99 = metrics.p99(alone)
        base_per_s = statistics.fmean(second.answered for second in alone)
        median_ms = statistics.median(value for second in alone for value in second.latency_ms)
        return Containment(
            scenario=self._name,
            repeat=self._repeat,
            named_s=named_s,
            rungs=tuple(self._rungs),
            rung_s=tuple(self._rung_s),
            recovered_s=self._recovered_s(alone_p99, first_ns) if self._rung_s else None,
            alone_p99=alone_p99,
            harmed_p99=metrics.p99(self._seconds(self._harm_ns, first_ns)),
            contained_p99=metrics.p99(held),
            isolation=tuple(metrics.isolation(held, base_per_s)),
            alone_isolation=tuple(metrics.isolation(alone, base_per_s)),
            latency_impact=tuple(metrics.latency_impact(held, median_ms)),
            hog_kept=self._kept(first_ns, held_ns),
            spare=self._name == SPARE,
            trouble=self._trouble,
        )

    def _recovered_s(self, alone: float, first_ns: int) -> float | None:
        after = [told for told in self._told if told.at_ns > first_ns]
        at_s = [(told.at_ns - self._harm_ns) / 1e9 for told in after]
        return metrics.recovery_s(at_s, list(map(_report_p99, after)), bound_ms=self._bound(alone), steady=STEADY)

    def _kept(self, first_ns: int, held_ns: int) -> float:
        """What the hog uses while contained, of its use before: of CPU by the frames, else as the ladder has it."""
        if self._name != SPARE:
            state = self._session.containment.state(self._refs["victim"])
            return math.nan if state is None or state.kept is None else state.kept
        before = self._hog_cpu(self._harm_ns + int(1e9), first_ns)
        after = self._hog_cpu(held_ns + int(1e9), time.monotonic_ns())
        return min(1.0, statistics.fmean(after) / statistics.fmean(before)) if before and after else math.nan

    def _hog_cpu(self, start_ns: int, end_ns: int) -> Sequence[float]:
        usages = [
            frame.usages[self._refs["hog"]].cpu
            for frame in self._frames
            if start_ns < frame.at_ns <= end_ns and self._refs["hog"] in frame.usages
        ]
        return [value for value in usages if not isinstance(value, Missing)]


def _report_p99(told: Told) -> float:
    """Infinite where nothing was answered."""
    return metrics.percentile(told.report.latency_ms, 0.99) if told.report.latency_ms else math.inf
