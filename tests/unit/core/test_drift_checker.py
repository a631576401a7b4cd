"""The rounds after each sweep: engines that are away, that hang, or that answer with nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from collectors.history.rings import History
from collectors.sampling.frame import Frame, HostUsage, Usage
from runtime.errors import UnavailableError
from runtime.model import UNLIMITED, Capabilities, Container, ContainerRef, LimitName, Limits, Ref, State
from tui.core.drift.checker import DriftChecker
from tui.core.drift.detector import LAST_PAUSE_S, SETTLE_S, DriftDetector
from tui.core.subject import EngineRef, Subject
from tui.present import problem_text

GB, MB = 1 << 30, 1 << 20


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.core.drift.checker.RECORD_DELAY_S", 0.0)


class Keeper:
    """An engine of which only the record is asked.

    Attributes:
        failure: raised instead of an answer.
        hangs: no answer comes.
        asked: how often it was.
    """

    def __init__(self, record: Limits) -> None:
        self.record = record
        self.failure: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def recorded(self, key: str) -> Limits:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        return self.record


class Files:
    """What the kernel holds, by container."""

    def __init__(self) -> None:
        self.held: dict[Ref, Limits] = {}

    async def limits(self, subject: Subject, *, network: bool = True) -> Limits:
        return self.held[subject.ref]

    async def parent_cpusets(self, subject: Subject) -> Limits:
        return Limits()


class World:
    """A container with 1 GiB on record for each engine, and a clock that is turned by hand."""

    def __init__(self, *keys: str) -> None:
        self.now = 0.0
        self.engines = {key: Keeper(Limits(memory=GB)) for key in keys}
        self.refs = {key: ContainerRef(key, "a") for key in keys}
        containers = {ref: Container(ref, "web", "image", State.RUNNING, pid=7) for ref in self.refs.values()}
        self.files = Files()
        self.detector = DriftDetector(History(), lambda: self.now)
        self.detector.inventory(containers.values())
        self.told = 0
        self.checker = DriftChecker(
            self.detector,
            engines=cast("Mapping[EngineRef, Any]", {EngineRef("", key): each for key, each in self.engines.items()}),
            reader=lambda _: self.files,
            cgroup=lambda _: None,
            find=lambda ref: containers.get(cast("ContainerRef", ref)),
            capabilities=lambda _: Capabilities(),
            changed=self._tell,
        )
        self.now += SETTLE_S
        self.hold(GB)

    def _tell(self) -> None:
        self.told += 1

    def hold(self, memory: int) -> None:
        self.files.held = {ref: Limits(memory=memory) for ref in self.refs.values()}

    def frame(self) -> Frame:
        usages = {
            ref: Usage(0, cpu_limit=UNLIMITED, memory_limit=held.memory, pids_limit=UNLIMITED)
            for ref, held in self.files.held.items()
        }
        return Frame(1, 1, 1, 1, 1, HostUsage(ncpu=2), usages=usages)

    async def round(self, after: float = 1.0) -> None:
        self.now += after
        await self.checker.round(self.frame())

    def drift(self, key: str) -> dict[LimitName, tuple[object, object]]:
        return {d.name: (d.expected, d.kernel) for d in self.detector.drifts.get(self.refs[key], ())}


async def test_an_engine_that_was_away_is_asked_again_and_its_record_compared_then() -> None:
    world = World("x")
    world.hold(MB)
    world.engines["x"].failure = UnavailableError("away")
    await world.round()
    world.engines["x"].failure = None
    for _ in range(3):
        await world.round()
    assert world.drift("x") == {LimitName.MEMORY: (GB, MB)}


async def test_an_engine_that_stays_away_is_asked_ever_more_rarely_but_never_given_up() -> None:
    world = World("x")
    engine = world.engines["x"]
    engine.failure = UnavailableError("away")
    for _ in range(30):
        await world.round()
    assert 4 <= engine.asked <= 6
    asked = engine.asked
    for _ in range(10):
        await world.round(after=LAST_PAUSE_S)
    assert engine.asked == asked + 10


async def test_a_document_that_makes_no_sense_is_a_problem_and_hides_nothing_of_the_others() -> None:
    world = World("odd", "sound")
    world.engines["odd"].failure = ValueError("no number")
    running = asyncio.gather(*(run() for run in world.checker.loops().values()))
    try:
        world.now += 1
        world.checker.observe(None, world.frame())
        await _turns()
        (problem,) = world.checker.problems
        assert "web" in problem_text.line(problem)
        assert "no number" in problem_text.line(problem)
        assert world.told
        world.hold(MB)
        for _ in range(3):
            world.now += 1
            world.checker.observe(None, world.frame())
            await _turns()
        assert world.drift("sound") == {LimitName.MEMORY: (GB, MB)}
        assert not running.done()
        world.engines["odd"].failure = None
        world.now += LAST_PAUSE_S
        world.checker.observe(None, world.frame())
        await _turns()
        assert not world.checker.problems
    finally:
        running.cancel()


async def test_a_round_that_breaks_is_a_problem_until_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("x")
    with monkeypatch.context() as broken:
        broken.setattr(world.detector, "suspects", lambda engine, *_, **__: {}[f"no {engine.engine}"])
        await world.round()
    assert "comparing the limits of x failed: KeyError('no x')" in map(problem_text.line, world.checker.problems)
    await world.round()
    assert not world.checker.problems


async def test_an_engine_that_hangs_delays_nobody_else() -> None:
    world = World("hung", "sound")
    world.engines["hung"].hangs = True
    world.hold(MB)
    running = asyncio.gather(*(run() for run in world.checker.loops().values()))
    try:
        for _ in range(3):
            world.now += 1
            world.checker.observe(None, world.frame())
            await _turns()
        assert world.drift("sound") == {LimitName.MEMORY: (GB, MB)}
    finally:
        running.cancel()


async def test_records_of_one_engine_are_asked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("x")
    more = {
        ContainerRef("x", word): Container(ContainerRef("x", word), word, "image", State.RUNNING, pid=7)
        for word in "bcd"
    }
    world.refs.update({ref.id: ref for ref in more})
    world.detector.inventory(Container(ref, "web", "image", State.RUNNING, pid=7) for ref in world.refs.values())
    world.hold(GB)
    world.engines["x"].hangs = True
    monkeypatch.setattr("tui.core.drift.checker.ANSWER_TIMEOUT_S", 0.05)
    await world.round()
    assert world.engines["x"].asked == 4
    await world.round(after=0.0)
    assert world.engines["x"].asked == 4


async def _turns() -> None:
    """Let everything come to rest that waits for nothing but the loop."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_an_engine_records_just_after_it_has_written_it_is_no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("x")
    await world.round()
    monkeypatch.setattr("tui.core.drift.checker.RECORD_DELAY_S", 0.05)
    world.hold(2 * GB)
    comparing = asyncio.create_task(world.round())
    await asyncio.sleep(0.01)
    world.engines["x"].record = Limits(memory=2 * GB)
    await comparing
    assert world.drift("x") == {}
    world.hold(GB)
    await world.round()
    assert world.drift("x") == {LimitName.MEMORY: (2 * GB, GB)}


async def test_a_drift_is_told_while_the_engine_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.core.drift.checker.ANSWER_TIMEOUT_S", 0.05)
    world = World("x")
    await world.round()
    world.engines["x"].hangs = True
    world.hold(MB)
    await world.round()
    assert world.drift("x") == {LimitName.MEMORY: (GB, MB)}
