"""Load that hurts nobody, for an hour: how often would somebody be contained?

Services with room to spare, each on its own share of a core, batch jobs in the idle class and on other cores, short
bursts, a page cache writer. An action is each time at which the ladder would climb: a victim of which a container is
named with strong evidence. Nothing is changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Final

from collectors.attribution.attributor import Attributor
from collectors.attribution.evidence import Confidence, SuspectKind
from collectors.sampling.frame import Frame
from collectors.sampling.target import Target
from runtime.model import ContainerRef, LimitChange
from tests.eval.loads import disk_user, hog, quiet, service
from tests.eval.observation import Observer
from tests.eval.results import Results
from tests.eval.scenario import Actor, Cpus
from tests.eval.stage import PROGRAM_LIMIT_S, EvalStage

SHOWN_S: Final = 300.0
ROUND_S: Final = PROGRAM_LIMIT_S - 20  # before its programs end by themselves


def load(rng: Random) -> tuple[Actor, ...]:
    """The containers of one round."""
    calm = service(rng, cores=0.2)
    idle = LimitChange(cpu_idle=True)
    period = rng.uniform(5, 8)
    burst = ("--duty", f"{rng.uniform(0.1, 0.25) / period:.3f}", "--period", f"{period:.1f}")
    return (
        calm,
        quiet(rng),
        hog("batch", "--processes", "2", limits=idle),
        hog("elsewhere", cpus=Cpus.OTHER, limits=LimitChange(cpus=0.5)),
        hog("bursts", *burst),
        disk_user(
            *("--write", "--cached", "--size-mb", "32", "--rate-mb", f"{rng.uniform(5, 20):.0f}"),
            name="writer",
            limits=LimitChange(memory=96 << 20),
        ),
    )


async def watch(stage: EvalStage, results: Results, show: Callable[[str], None], *, seconds: float, seed: int) -> None:
    """Rounds of benign load until the time is over; what would have been done is in the results."""
    rng = Random(f"{seed}/benign")
    end = time.monotonic() + seconds
    shown = time.monotonic()
    while (left := end - time.monotonic()) > 0:
        try:
            await _round(stage, load(rng), results, min(ROUND_S, left))
        finally:
            await asyncio.shield(stage.remove_all())
        if time.monotonic() - shown >= SHOWN_S or time.monotonic() >= end:
            shown = time.monotonic()
            show(f"benign: {results.benign_s:.0f} s, {len(results.benign_actions)} actions")


async def _round(stage: EvalStage, actors: tuple[Actor, ...], results: Results, seconds: float) -> None:
    names: dict[ContainerRef, str] = {}
    targets: list[Target] = []
    for actor in actors:
        ref = await stage.create(actor)
        await stage.engine.start(ref.id)
        container = await stage.engine.get(ref.id)
        assert container.pid is not None
        names[ref] = actor.name
        targets.append(Target(ref, container.pid, container.cgroup))
    attributor = Attributor()
    acting: set[tuple[str, str]] = set()

    def taken(frame: Frame) -> None:
        found = {
            (names[victim], names[each.suspect.ref])
            for victim, evidence in attributor.take(frame).by_victim.items()
            for each in evidence
            if each.suspect.kind is SuspectKind.CONTAINER
            and each.suspect.ref in names
            and victim in names
            and each.confidence in (Confidence.STRONG, Confidence.CONFIRMED)
        }
        results.benign_actions.extend(f"{suspect} for {victim}" for victim, suspect in sorted(found - acting))
        acting.clear()
        acting.update(found)

    observer = asyncio.create_task(Observer(lambda: targets, taken).run())
    begun = time.monotonic()
    try:
        await asyncio.wait({observer}, timeout=seconds)
        if observer.done():
            observer.result()
    finally:
        observer.cancel()
        await asyncio.gather(observer, return_exceptions=True)
        results.benign_s += time.monotonic() - begun
