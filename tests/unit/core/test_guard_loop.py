"""The guard on a scripted session: harm that comes and goes, budgets, bounds, failures, somebody else's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.attribution.evidence import Attribution, Confidence, Evidence, Suspect, SuspectKind
from collectors.sampling.frame import Frame, HostUsage, Usage
from runtime.containment.audit import NotOnDiskError
from runtime.containment.ladder import LADDERS
from runtime.containment.lease import Holder, Lease, LeaseState
from runtime.containment.rung import RungId, Whom
from runtime.errors import ConflictError, KernelError, PytopError, RefusedError
from runtime.kernel import run_directory
from runtime.model import (
    Container,
    ContainerRef,
    GroupRef,
    LimitChange,
    LimitName,
    LimitOutcome,
    Ref,
    Resource,
    State,
)
from tests.waiting import until
from tui.core.containment.state import ClimbOutcome, PlannedRung, TakenRung, VictimState
from tui.core.guard.executor import Executor
from tui.core.guard.guard import Guard
from tui.core.guard.latency import LatencyReader
from tui.core.guard.policy import Aim, Containable, P99Command, Policy, Protected, Selector
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import GuardAction, GuardReason
from tui.core.subject import Group, Subject
from tui.core.subscription import Changed

API, HOG = ContainerRef("docker", "api-id"), ContainerRef("docker", "hog-id")
SUSPECT = Suspect(SuspectKind.CONTAINER, HOG)
CHANGES = {
    RungId.PROTECT_CPU: LimitChange(cpu_shares=4096),
    RungId.CPU_WEIGHT: LimitChange(cpu_shares=102),
    RungId.CPU_IDLE: LimitChange(cpu_idle=True),
    RungId.CPU_QUOTA: LimitChange(cpus=0.5),
    RungId.FREEZE: LimitChange(),
    RungId.TASKS: LimitChange(pids=10),
}
POLICY = Policy(
    path="/etc/guard.toml",
    protect=(Protected(selector=Selector(names=("api",)), targets={Aim.CPU_WAIT: 0.2}),),
    contain=(Containable(selector=Selector(names=("hog",)), last_rung="limit", floors={}),),
)
A, R, K = GuardAction, GuardReason, GuardEventKind


class FakeContainment:
    """A ladder of one victim and one suspect; leases end by the test's clock."""

    def __init__(self, resource: Resource = Resource.CPU) -> None:
        self.resource = resource
        self.rungs: list[TakenRung] = []
        self.wrong = False
        self.now_s = 0.0
        self.calls: list[tuple[Any, ...]] = []
        self.changes = dict(CHANGES)
        self.climb_error: PytopError | None = None
        self.numbers = 0

    def expire(self) -> None:
        self.rungs = [each for each in self.rungs if each.lease.expires_ns > self.now_s * 1e9]

    def states(self) -> tuple[VictimState, ...]:
        if not self.rungs and not self.wrong:
            return ()
        evidence = found(self.resource)
        return (
            VictimState(
                victim=API,
                evidence=evidence,
                resource=self.resource,
                rungs=tuple(self.rungs),
                wait_before=0.8,
                wrong_suspect=self.wrong,
            ),
        )

    async def propose(
        self, victim: Ref, *, evidence: Evidence | None = None, rung: RungId | None = None
    ) -> PlannedRung | PytopError:
        assert victim == API
        assert evidence is not None
        taken = {each.id for each in self.rungs}
        for each in LADDERS[self.resource]:
            if each.id not in taken and rung in (None, each.id) and each.id in self.changes:
                target, name = (API, "api") if each.whom is Whom.VICTIM else (HOG, "hog")
                change = self.changes[each.id]
                return PlannedRung(
                    victim=victim, evidence=evidence, rung=each, target=target, target_name=name, change=change
                )
        return RefusedError("contain who hurts api", detail="no rung is left")

    async def climb(self, victim: Ref, *, seconds: float = 60.0, **given: Any) -> ClimbOutcome:
        options = {key: given.pop(key) for key in ("audited", "least_cores")}
        planned = await self.propose(victim, **given)
        assert isinstance(planned, PlannedRung)
        self.calls.append(("climb", planned.rung.id, seconds, options))
        if self.climb_error is not None:
            raise self.climb_error
        self.numbers += 1
        lease = Lease(
            id=str(self.numbers),
            ref=HOG,
            name="hog",
            target="container",
            boot="",
            change=planned.change,
            before=LimitChange(),
            created_ns=0,
            expires_ns=int((self.now_s + seconds) * 1e9),
            holder=Holder(pid=1, started=1, uid=0),
        )
        self.rungs.append(TakenRung(planned=planned, lease=lease, taken_ns=0))
        return ClimbOutcome(planned, lease, LimitOutcome(HOG, ()), self.states()[0])

    async def renew_lease(self, lease: Lease, seconds: float) -> Lease:
        self.calls.append(("renew", lease.id))
        renewed = replace(lease, expires_ns=int((self.now_s + seconds) * 1e9))
        self.rungs = [replace(each, lease=renewed) if each.lease.id == lease.id else each for each in self.rungs]
        return renewed

    async def end_lease(self, lease: Lease, reason: str) -> Lease:
        self.calls.append(("end", lease.id, reason))
        self.rungs = [each for each in self.rungs if each.lease.id != lease.id]
        return replace(lease, state=LeaseState.REVERTED)


def found(resource: Resource = Resource.CPU, suspect: Suspect = SUSPECT) -> Evidence:
    return Evidence(API, suspect, resource, 0.4, wait=0.8, share=0.5, confidence=Confidence.STRONG, since_ns=0)


class FakeSession:
    def __init__(self, containment: FakeContainment) -> None:
        self.read_only = False
        self.frame: Frame | None = None
        self.containers: Mapping[ContainerRef, Container] = {
            API: Container(API, "api", "i", State.RUNNING),
            HOG: Container(HOG, "hog", "i", State.RUNNING),
        }
        self.groups: Mapping[GroupRef, Group] = {}
        self.attribution = Attribution(0, {API: (found(containment.resource),)})
        self.containment = containment
        self.subscribers: list[Callable[[Changed], None]] = []

    def find(self, ref: Ref) -> Subject | None:
        return self.containers.get(ref) if isinstance(ref, ContainerRef) else None

    def subscribe(self, callback: Callable[[Changed], None]) -> Callable[[], None]:
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)

    def publish(self, frame: Frame) -> None:
        self.frame = frame
        for callback in self.subscribers:
            callback(Changed.FRAME)


class World:
    """A guard, a session, and a clock that both share."""

    def __init__(self, policy: Policy = POLICY, *, resource: Resource = Resource.CPU, disk: str = "") -> None:
        self.containment = FakeContainment(resource)
        self.session = FakeSession(self.containment)
        self.events: list[GuardEvent] = []
        self.disk = disk
        executor = Executor(
            self.containment,
            policy,
            boot_ns=lambda: int(self.containment.now_s * 1e9),
            why_not_on_disk=lambda: self.disk,
        )
        self.guard = Guard(self.session, policy, self.events.append, executor=executor)
        self.seq = 0

    def next_frame(self, wait: float) -> Frame:
        self.seq += 1
        self.containment.now_s += 1
        self.containment.expire()
        at_ns = int(self.containment.now_s * 1e9)
        usages = {API: Usage(at_ns, waiting=wait), HOG: Usage(at_ns, waiting=0.0)}
        return Frame(self.seq, at_ns, at_ns, 10**9, 0, HostUsage(ncpu=2), usages=usages)

    async def run(self, seconds: int, wait: float) -> list[str]:
        """So many frames; what the events say."""
        begun = len(self.events)
        for _ in range(seconds):
            await self.guard.step(self.next_frame(wait))
        return [self.words(event) for event in self.events[begun:]]

    @staticmethod
    def words(event: GuardEvent) -> str:
        decision = event.decision
        done = f" {decision.action.value}: {decision.reason.value.replace('_', ' ')}" if decision is not None else ""
        return f"{event.kind.value}{done}{f' [{event.rung.value}]' if event.rung else ''}"

    @property
    def climbed(self) -> list[RungId]:
        return [call[1] for call in self.containment.calls if call[0] == "climb"]


async def test_harm_is_answered_rung_by_rung_and_taken_back_when_it_is_over() -> None:
    world = World()
    said = await world.run(10, 0.8)
    assert said == ["done climb: harmed [protect_cpu]", "done climb: still harmed [cpu_weight]"]
    assert world.containment.calls[0][3] == {"audited": True, "least_cores": 0.2}
    first = world.events[0]
    assert (first.victim, first.suspect, first.target, first.seconds) == ("api", "hog", "api", 60.0)
    assert first.change == LimitChange(cpu_shares=4096)
    assert first.leases == ("1",)
    said = await world.run(80, 0.0)
    assert [line for line in said if not line.startswith("done renew")] == [
        "done release: trial [cpu_weight]",
        "done release: trial [protect_cpu]",
        "not done nothing: recovered",
        "not done nothing: within targets",
    ]
    assert not world.containment.rungs


async def test_benign_load_gives_no_action() -> None:
    world = World()
    for _ in range(200):
        await world.run(2, 0.9)
        await world.run(3, 0.15)
    assert world.containment.calls == []
    assert [World.words(event) for event in world.events] == ["not done nothing: within targets"]


async def test_harm_that_returns_brings_the_rung_back() -> None:
    world = World()
    await world.run(5, 0.8)
    await world.run(31, 0.0)
    said = await world.run(6, 0.8)
    assert "done climb: harm returned [protect_cpu]" in said


async def test_what_is_held_is_renewed_for_hours_and_ends_with_the_guard() -> None:
    world = World()
    await world.run(5, 0.8)
    world.containment.changes = {}
    await world.run(4000, 0.8)
    assert len(world.containment.rungs) == 1
    assert len([call for call in world.containment.calls if call[0] == "renew"]) > 100
    world.containment.now_s += 61  # nobody renews
    world.containment.expire()
    assert not world.containment.rungs


async def test_the_budget_of_an_hour_is_not_exceeded() -> None:
    policy = replace(POLICY, actions_per_hour=3, cool_down_s=1.0, calm_s=1.0, trial_s=1.0)
    world = World(policy)
    for _ in range(60):
        await world.run(8, 0.8)
        await world.run(20, 0.0)
    assert len(world.climbed) == 3
    assert any("budget spent" in World.words(event) for event in world.events)
    world.containment.now_s += 3600
    await world.run(8, 0.8)
    assert len(world.climbed) > 3


async def test_it_stops_at_the_last_rung_that_the_policy_allows() -> None:
    contain = replace(POLICY.contain[0], last_rung="idle")
    world = World(replace(POLICY, contain=(contain,)))
    said = await world.run(40, 0.8)
    assert world.climbed == [RungId.PROTECT_CPU, RungId.CPU_WEIGHT, RungId.CPU_IDLE]
    assert said[3] == "not done nothing: last rung"
    assert len([line for line in said if line.startswith("not done")]) == 1  # it is said once


async def test_a_milder_rung_behind_one_that_is_too_sharp_is_found() -> None:
    """The ladder of tasks begins with a limit of tasks, which is sharper than the weights behind it."""
    contain = replace(POLICY.contain[0], last_rung="idle")
    protect = replace(POLICY.protect[0], targets={Aim.P99_MS: 50.0}, p99=P99Command(argv=("/bin/true",)))
    world = World(replace(POLICY, contain=(contain,), protect=(protect,)), resource=Resource.TASKS)
    world.guard._latency = FixedLatency({API: 80.0})
    await world.run(20, 0.0)
    assert world.climbed == [RungId.CPU_WEIGHT, RungId.CPU_IDLE]


class FixedLatency(LatencyReader):
    def __init__(self, figures: Mapping[Ref, float]) -> None:
        super().__init__(lambda ref, error: None)
        self.fixed = figures

    def figures(self, wanted: Mapping[Ref, tuple[str, P99Command]], now_s: float) -> Mapping[Ref, float]:
        return self.fixed


async def test_a_floor_of_the_policy_is_kept() -> None:
    contain = replace(POLICY.contain[0], floors={LimitName.CPUS: 0.6})
    world = World(replace(POLICY, contain=(contain,)))
    said = await world.run(40, 0.8)
    assert RungId.CPU_QUOTA not in world.climbed
    assert "not done nothing: floor" in said
    world = World()
    await world.run(40, 0.8)
    assert RungId.CPU_QUOTA in world.climbed
    assert RungId.FREEZE not in world.climbed


async def test_a_rung_that_turns_out_to_be_beyond_the_bounds_is_taken_back_at_once() -> None:
    contain = replace(POLICY.contain[0], floors={LimitName.CPUS: 0.4})
    world = World(replace(POLICY, contain=(contain,)))
    world.containment.changes = {RungId.CPU_QUOTA: LimitChange(cpus=0.5)}
    plan, climb = world.containment.propose, world.containment.climb

    async def lower(victim: Ref, **given: Any) -> ClimbOutcome:
        world.containment.changes = {RungId.CPU_QUOTA: LimitChange(cpus=0.1)}
        return await climb(victim, **given)

    world.containment.climb = lower  # type: ignore[method-assign]
    said = await world.run(5, 0.8)
    assert said == ["not done nothing: floor"]
    assert [call[0] for call in world.containment.calls] == ["climb", "end"]
    assert plan is not None


async def test_a_dry_run_touches_nothing_and_says_what_it_would_do() -> None:
    world = World(replace(POLICY, dry_run=True))
    said = await world.run(20, 0.8)
    assert said == ["would do climb: harmed [protect_cpu]", "not done nothing: reported"]
    said = await world.run(90, 0.0)
    assert "would do release: trial" in said
    assert world.containment.calls == []


async def test_it_waits_while_the_audit_cannot_be_written() -> None:
    world = World(disk="No space left on device")
    said = await world.run(100, 0.8)
    assert said == ["not done nothing: audit not on disk"]  # once
    assert world.events[0].detail == "No space left on device"
    assert world.containment.calls == []
    world.disk = ""
    assert "done climb: harmed [protect_cpu]" in await world.run(20, 0.8)


async def test_a_disk_that_fails_at_the_last_moment_is_waited_for_too() -> None:
    world = World()
    world.containment.climb_error = NotOnDiskError("record the change of hog", detail="not on disk: I/O error")
    assert await world.run(100, 0.8) == ["not done nothing: audit not on disk"]
    world.containment.climb_error = None
    assert "done climb: harmed [protect_cpu]" in await world.run(20, 0.8)


async def test_a_climb_that_fails_is_told_and_the_next_rung_is_tried_after_the_cool_down() -> None:
    world = World()
    world.containment.climb_error = KernelError("limit hog", detail="Device or resource busy")
    said = await world.run(12, 0.8)
    assert said == ["failed climb: harmed [protect_cpu]"] * 2
    assert world.events[0].error is world.containment.climb_error
    world.containment.climb_error = None
    assert (await world.run(6, 0.8))[0].startswith("done climb")


async def test_a_wrong_suspect_is_left_alone_for_ten_minutes() -> None:
    world = World()
    await world.run(10, 0.8)
    world.containment.rungs, world.containment.wrong = [], True  # what the containment does by itself
    said = await world.run(3, 0.8)
    assert said == [
        "lost nothing: wrong suspect [protect_cpu]",
        "lost nothing: wrong suspect [cpu_weight]",
        "not done nothing: wrong suspect",
    ]
    world.containment.wrong = False
    before = len(world.climbed)
    await world.run(590, 0.8)
    assert len(world.climbed) == before
    await world.run(20, 0.8)
    assert len(world.climbed) > before


async def test_what_somebody_else_ends_is_not_taken_again() -> None:
    world = World()
    await world.run(5, 0.8)
    world.containment.rungs = []
    said = await world.run(300, 0.8)
    assert said == ["lost nothing: contested [protect_cpu]", "not done nothing: contested"]
    assert len(world.climbed) == 1


async def test_a_suspect_that_ends_takes_its_lease_with_it_and_blames_nobody() -> None:
    world = World()
    await world.run(5, 0.8)
    world.containment.rungs = []
    world.session.containers = {API: world.session.containers[API]}
    said = await world.run(3, 0.8)
    assert said[0] == "lost nothing: expired [protect_cpu]"
    assert len(world.climbed) == 1


async def test_a_rung_of_a_person_in_the_same_session_is_not_the_guards() -> None:
    world = World()
    planned = await world.containment.propose(API, evidence=found(), rung=RungId.CPU_IDLE)
    assert isinstance(planned, PlannedRung)
    await world.containment.climb(API, evidence=found(), rung=RungId.CPU_IDLE, audited=False, least_cores=0.05)
    await world.run(300, 0.0)
    assert [call[0] for call in world.containment.calls] == ["climb"]
    world.guard._started = True
    await world.guard.release()
    assert [call[0] for call in world.containment.calls] == ["climb"]


async def test_a_lease_that_is_replaced_is_still_the_guards() -> None:
    """The quota follows the waiting by taking another lease and ending the first."""
    world = World()
    await world.run(5, 0.8)
    (taken,) = world.containment.rungs
    world.containment.rungs = [replace(taken, lease=replace(taken.lease, id="another"))]
    await world.run(35, 0.8)
    assert ("renew", "another") in world.containment.calls


async def test_its_end_takes_everything_back() -> None:
    world = World()
    running = asyncio.create_task(world.guard.run())
    await until(lambda: world.session.subscribers, 5)
    await world.run(10, 0.8)
    await ended(running)
    await world.guard.release()
    assert [call[:2] for call in world.containment.calls if call[0] == "end"] == [("end", "2"), ("end", "1")]
    assert World.words(world.events[-1]) == "stopped"


async def test_a_victim_that_ends_frees_its_suspects() -> None:
    world = World()
    await world.run(10, 0.8)
    world.session.containers = {HOG: world.session.containers[HOG]}
    said = await world.run(1, 0.8)
    assert said == ["done release: victim gone [protect_cpu]"]
    assert not world.containment.rungs


# its loop


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run directory of the test's own."""
    monkeypatch.setattr(run_directory, "candidates", lambda uid: (tmp_path / "run",))


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_it_follows_frames_and_there_is_one_guard_at_a_time() -> None:
    world, second = World(), World()
    running = asyncio.create_task(world.guard.run())
    await until(lambda: world.session.subscribers, 5)
    for _ in range(6):
        world.session.publish(world.next_frame(0.8))
        await asyncio.sleep(0.01)
    await until(lambda: world.climbed, 5)
    with pytest.raises(ConflictError) as caught:
        await second.guard.run()
    assert "another guard runs: process" in caught.value.detail
    await ended(running)
    assert not world.session.subscribers
    again = asyncio.create_task(second.guard.run())
    await until(lambda: second.session.subscribers, 5)
    await ended(again)


async def test_a_read_only_session_has_no_guard_but_a_dry_one() -> None:
    world = World()
    world.session.read_only = True
    with pytest.raises(RefusedError):
        await world.guard.run()
    dry = World(replace(POLICY, dry_run=True))
    dry.session.read_only = True
    running = asyncio.create_task(dry.guard.run())
    await until(lambda: dry.session.subscribers, 5)
    await ended(running)
