"""A victim and a CPU hog on one core, in containers of the embedded engine: contained, verified, given back, kept.

The kernel's files are read past the code under test. What is measured is judged against the same run before the rung.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors.attribution.evidence import Confidence, Evidence, Suspect, SuspectKind
from runtime.containment import keeper_lock
from runtime.containment.rung import RungId
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.kernel import cgroupfs, own_cgroup, run_directory
from runtime.model import ContainerRef, Resource, Verb
from tests import lease_crashes
from tests.integration.embedded import instance
from tests.waiting import until, wait_until
from tui.core.containment.state import ClimbOutcome, VictimState
from tui.core.session import Session
from tui.demo import scene as demo
from tui.demo import stories
from tui.demo.scene import Scene, Setting


@dataclass(slots=True)
class Host:
    """The victim and the hog on one core, and a session that watches them."""

    session: Session
    scene: Scene
    since_ns: int = 0  # CLOCK_MONOTONIC at which the hog had begun

    @property
    def victim(self) -> ContainerRef:
        return self.scene.victim

    @property
    def hog(self) -> ContainerRef:
        return self.scene.hog

    def file(self, ref: ContainerRef, v1: str, v2: str) -> str:
        pid = self.session.containers[ref].pid
        assert pid is not None
        where = own_cgroup.locate(cgroupfs.detect(), pid).where("cpu")
        assert where is not None
        return (where[0] / (v1 if where[1] == 1 else v2)).read_text().strip()

    def put_first(self) -> None:
        """All containers of the test before what else runs on this machine, so that it is about the three alone."""
        pid = self.session.containers[self.victim].pid
        assert pid is not None
        where = own_cgroup.locate(cgroupfs.detect(), pid).where("cpu")
        assert where is not None
        file, most = ("cpu.shares", "262144") if where[1] == 1 else ("cpu.weight", "10000")
        (where[0].parent / file).write_text(most)

    def idle(self) -> str:
        return self.file(self.hog, "cpu.idle", "cpu.idle")

    def weight(self, ref: ContainerRef) -> str:
        return self.file(ref, "cpu.shares", "cpu.weight")

    def state(self) -> VictimState:
        found = self.session.containment.state(self.victim)
        assert found is not None
        return found

    def evidence(self, suspect: ContainerRef | None = None) -> Evidence:
        """That this one hurts the victim since the hog began; by default the hog."""
        who = Suspect(SuspectKind.CONTAINER, suspect or self.hog)
        sure = Confidence.STRONG
        return Evidence(
            self.victim, who, Resource.CPU, 0.4, wait=0.5, share=0.8, confidence=sure, since_ns=self.since_ns
        )

    async def climb(self, rung: RungId, *, seconds: float = 60.0) -> ClimbOutcome:
        """The hog is contained by this rung."""
        return await self.session.containment.climb(self.victim, evidence=self.evidence(), rung=rung, seconds=seconds)

    async def measured(self) -> VictimState:
        await until(lambda: self.state().wait_now is not None, 10)
        await asyncio.sleep(2)
        return self.state()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run directory, and so a keeper, of this test's own."""
    place = tmp_path / "leases"
    place.mkdir(0o700)
    monkeypatch.setattr(run_directory, "candidates", lambda *_: (place,))
    monkeypatch.setenv("PYTOP_STATE_DIR", str(tmp_path / "audit"))
    yield place
    lease_crashes.end_keeper(place)
    wait_until(lambda: not keeper_lock.is_held(), 5, "the keeper has ended")
    lease_crashes.remove_cgroup_of_keepers()


async def nothing() -> None:
    """The story's containers have nothing together that would have to be bounded."""


@asynccontextmanager
async def contended(tmp_path: Path) -> AsyncIterator[Host]:
    async with instance(tmp_path) as engine:
        made = await demo.build(
            engine, Setting(image="host"), stories.story(stories.StoryName.CPU, stories.Site()), nothing
        )
        session = Session([EmbeddedEngine(engine.config)], interval=0.5, audited=True)
        try:
            await session.start()
            await until(lambda: session.frame is not None and made.victim in session.frame.usages, 20)
            await asyncio.sleep(2)
            await made.start_noise()
            await until(lambda: made.hog in session.containers and session.containers[made.hog].pid is not None, 10)
            host = Host(session, made)
            host.put_first()
            await asyncio.sleep(1)
            host.since_ns = time.monotonic_ns()
            await asyncio.sleep(3)
            yield host
        finally:
            for lease in session.containment.leases:
                await session.containment._book.revert(lease)
            await session.close()


async def test_a_hog_is_contained_in_steps_and_given_back(tmp_path: Path, run: Path) -> None:
    async with contended(tmp_path) as host:
        contain = host.session.containment
        before = host.weight(host.victim), host.weight(host.hog), host.idle()
        await host.climb(RungId.CPU_WEIGHT)
        assert host.weight(host.hog) != before[1]
        outcome = await host.climb(RungId.CPU_IDLE)
        assert outcome.limits.ok
        assert host.idle() == "1"
        state = await host.measured()
        assert state.wait_now is not None
        assert state.wait_before > 0.2, "the hog hurts"
        assert state.wait_now < 0.5 * state.wait_before, state
        assert state.kept is not None
        assert state.kept > 0.05, "the idle class leaves it what the victim does not want"
        assert host.hog not in host.session.drift
        await contain.step_back(host.victim)
        await contain.step_back(host.victim)
        assert (host.weight(host.victim), host.weight(host.hog), host.idle()) == before
        assert contain.leases == ()


async def test_what_nobody_confirms_ends_by_itself(tmp_path: Path, run: Path) -> None:
    async with contended(tmp_path) as host:
        before = host.weight(host.hog)
        await host.climb(RungId.CPU_WEIGHT, seconds=2.0)
        await host.climb(RungId.CPU_IDLE, seconds=2.0)
        assert host.idle() == "1"
        await asyncio.sleep(1.0)
        assert host.idle() == "1"
        await until(lambda: host.idle() == "0" and host.weight(host.hog) == before, 3)
        await until(lambda: host.state().rungs == (), 3)
        await asyncio.sleep(2.0)
        assert host.hog not in host.session.drift


async def test_what_is_confirmed_holds_after_a_restart(tmp_path: Path, run: Path) -> None:
    async with contended(tmp_path) as host:
        contain = host.session.containment
        await host.climb(RungId.CPU_WEIGHT)
        leased = host.weight(host.hog)
        first = host.session.containers[host.hog].pid
        await host.session.perform(host.hog, Verb.RESTART)
        assert host.session.containers[host.hog].pid != first
        await until(lambda: host.weight(host.hog) == leased, 5, "a leased container that restarts gets it again")
        await contain.confirm(host.victim)
        await host.session.perform(host.hog, Verb.RESTART)
        assert host.weight(host.hog) == leased
        await host.session.undoing.undo()
        assert host.weight(host.hog) != leased


async def test_a_wrong_suspect_is_put_back(tmp_path: Path, run: Path) -> None:
    async with contended(tmp_path) as host:
        quiet = host.scene.members["neighbour"]
        before = host.weight(quiet), host.file(quiet, "cpu.idle", "cpu.idle")
        wrong = host.evidence(quiet)
        contain = host.session.containment
        await contain.climb(host.victim, evidence=wrong, rung=RungId.CPU_WEIGHT)
        await contain.climb(host.victim, evidence=wrong, rung=RungId.CPU_IDLE)
        assert host.file(quiet, "cpu.idle", "cpu.idle") == "1"
        await until(lambda: host.state().wrong_suspect, 10)
        await until(lambda: not contain.leases, 5)
        assert (host.weight(quiet), host.file(quiet, "cpu.idle", "cpu.idle")) == before


async def test_a_probe_confirms_the_hog_and_clears_an_innocent(tmp_path: Path, run: Path) -> None:
    async with contended(tmp_path) as host:
        contain, quiet = host.session.containment, host.scene.members["neighbour"]
        outcome = await contain.probe(host.victim, evidence=host.evidence())
        assert outcome.confirmed, outcome
        assert host.idle() == "0"
        outcome = await contain.probe(host.victim, evidence=host.evidence(quiet))
        assert not outcome.confirmed, outcome
        assert host.file(quiet, "cpu.idle", "cpu.idle") == "0"
        assert contain.leases == ()
