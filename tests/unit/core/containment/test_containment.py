"""Containing a hog on leases in memory: the next rung, climbing, stepping back, what came of it, the wrong suspect."""

from __future__ import annotations

import asyncio

import pytest

from collectors.attribution.evidence import Confidence, Suspect, SuspectKind
from runtime.containment.lease import LeaseState
from runtime.containment.rung import RungId
from runtime.errors import ConflictError, DeniedError, PytopError, RefusedError
from runtime.model import UNLIMITED, ContainerRef, LimitChange, Resource
from tests.unit.core.containment.conftest import HOG, SAINT, VICTIM, Stage, evidence, opened
from tests.waiting import until
from tui.core.containment.state import PlannedRung
from tui.core.session import Changed
from tui.present import containment_text

FIRST = [RungId.PROTECT_CPU, RungId.CPU_WEIGHT, RungId.CPU_IDLE, RungId.CPU_QUOTA]


async def planned(stage: Stage) -> PlannedRung:
    found = await stage.contain.propose(VICTIM.ref)
    assert isinstance(found, PlannedRung), found
    return found


async def why_not(stage: Stage) -> str:
    found = await stage.contain.propose(VICTIM.ref)
    assert isinstance(found, PytopError)
    return found.detail


async def test_the_mildest_rung_is_planned_with_what_it_does_and_costs(stage: Stage) -> None:
    step = await planned(stage)
    assert (step.rung.id, step.target, step.change) == (RungId.PROTECT_CPU, VICTIM.ref, LimitChange(cpu_shares=4096))
    text = containment_text.next_rung_text(step)
    assert text.startswith("Next: raise the CPU weight of api (")
    assert "its neighbours get less CPU" in text
    assert stage.leases.all == {}, "planning changes nothing"


async def test_a_rung_is_climbed_read_back_and_judged_by_the_frames_after_it(stage: Stage) -> None:
    told: list[Changed] = []
    stage.session.subscribe(told.append)
    outcome = await stage.contain.climb(VICTIM.ref)
    assert stage.held(VICTIM).cpu_shares == 4096
    assert [(each.name, each.kernel) for each in outcome.limits.fields] == [("cpu_shares", 4096)]
    assert [lease.ref for lease in stage.contain.leases] == [VICTIM.ref]
    assert outcome.state.wait_now is None, "nothing was measured after it yet"
    stage.frame(waiting=0.8)  # its interval had begun before
    state = stage.contain.state(VICTIM.ref)
    assert state is not None
    assert state.wait_now is None
    stage.frames(2, waiting=0.1, hog=1.2)
    state = stage.contain.state(VICTIM.ref)
    assert state is not None
    assert state.recovered
    assert (state.wait_before, state.wait_now) == pytest.approx((0.8, 0.1))
    assert state.kept == pytest.approx(0.8)
    await asyncio.sleep(0)
    assert any(Changed.CONTAINMENT in each for each in told)
    words = containment_text.state_text(state, "api", "batch", now_ns=outcome.lease.created_ns)
    assert words == "api waits 80% -> 10% of the time for CPU, batch keeps 80%, recovered, 60 s left"


async def test_rungs_are_climbed_and_stepped_back_in_turn(stage: Stage) -> None:
    for rung in FIRST:
        outcome = await stage.contain.climb(VICTIM.ref)
        assert outcome.planned.rung.id is rung
    held = stage.held()
    assert (held.cpu_shares, held.cpu_idle, held.cpus) == (102, True, pytest.approx(1.05))
    ends = [lease.expires_ns for lease in stage.contain.leases]
    assert ends == sorted(ends, reverse=True), "a later rung ends before an earlier one"
    for _ in FIRST:
        await stage.contain.step_back(VICTIM.ref)
    held = stage.held()
    assert (held.cpu_shares, held.cpu_idle, held.cpus) == (1024, False, UNLIMITED)
    assert stage.held(VICTIM).cpu_shares == 1024
    assert stage.contain.leases == ()
    with pytest.raises(ConflictError, match="no rung was climbed"):
        await stage.contain.step_back(VICTIM.ref)


async def test_a_wrong_suspect_is_put_back_after_two_rungs(stage: Stage) -> None:
    await stage.contain.climb(VICTIM.ref)
    stage.frames(4, waiting=0.79)
    assert stage.contain.leases, "one rung is no verdict"
    await stage.contain.climb(VICTIM.ref)
    stage.frames(2, waiting=0.79)
    assert stage.contain.leases, "a second of measuring is no verdict"
    stage.frames(2, waiting=0.79)
    await until(lambda: not stage.contain.leases, 3)
    assert stage.held().cpu_shares == stage.held(VICTIM).cpu_shares == 1024
    state = stage.contain.state(VICTIM.ref)
    assert state is not None
    assert state.wrong_suspect
    assert "batch was the wrong suspect" in containment_text.state_text(state, "api", "batch", now_ns=0)
    assert "wrong one" in await why_not(stage)
    stage.frames(65, waiting=0.79)
    assert stage.contain.state(VICTIM.ref) is None
    assert isinstance(await stage.contain.propose(VICTIM.ref), PlannedRung), "it may be tried again after a minute"


async def test_two_rungs_that_help_stay(stage: Stage) -> None:
    for _ in range(2):
        await stage.contain.climb(VICTIM.ref)
        stage.frames(4, waiting=0.5)
    await asyncio.sleep(0.05)
    assert len(stage.contain.leases) == 2


async def test_a_rung_that_fails_is_passed_over(stage: Stage) -> None:
    stage.leases.failure = DeniedError("write cpu.shares", detail="permission denied")
    with pytest.raises(DeniedError):
        await stage.contain.climb(VICTIM.ref)
    step = await planned(stage)
    assert step.rung.id is RungId.CPU_WEIGHT
    assert [(each.rung, each.reason) for each in step.skipped] == [(RungId.PROTECT_CPU, "permission denied")]
    assert containment_text.skipped_text(step.skipped[0]) == "not to be had: protect cpu: permission denied"


async def test_frames_that_come_while_a_rung_is_climbed(stage: Stage) -> None:
    stage.leases.hold.clear()
    climbing = asyncio.ensure_future(stage.contain.climb(VICTIM.ref))
    await asyncio.sleep(0.05)
    stage.frames(70, waiting=0.8)
    stage.leases.hold.set()
    assert (await climbing).state.rungs
    assert stage.contain.state(VICTIM.ref) is not None


async def test_a_rung_can_be_passed_over_or_asked_for(stage: Stage) -> None:
    stage.contain.skip(await planned(stage))
    assert (await planned(stage)).rung.id is RungId.CPU_WEIGHT
    outcome = await stage.contain.climb(VICTIM.ref, rung=RungId.CPU_IDLE)
    assert outcome.planned.rung.id is RungId.CPU_IDLE
    assert stage.held().cpu_idle is True


async def test_confirmed_rungs_are_told_to_the_engine_and_can_be_undone(stage: Stage) -> None:
    await stage.contain.climb(VICTIM.ref)
    await stage.contain.climb(VICTIM.ref)
    kept = await stage.contain.confirm(VICTIM.ref)
    assert [lease.state for lease in kept] == [LeaseState.CONFIRMED] * 2
    assert stage.engine.changes == [LimitChange(cpu_shares=4096), LimitChange(cpu_shares=102)]
    assert stage.contain.leases == ()
    state = stage.contain.state(VICTIM.ref)
    assert state is not None
    assert state.confirmed
    assert containment_text.countdown(state, now_ns=0) == "confirmed"
    with pytest.raises(ConflictError, match="confirmed"):
        await stage.contain.step_back(VICTIM.ref)
    preview = stage.session.undoing.next_undo
    assert preview is not None
    assert (preview.ref, preview.change) == (HOG.ref, LimitChange(cpu_shares=1024))
    await stage.session.undoing.undo()
    assert stage.held().cpu_shares == 1024
    state = stage.contain.state(VICTIM.ref)
    assert state is not None
    assert [each.planned.rung.id for each in state.rungs] == [RungId.PROTECT_CPU], "what was undone is not kept"
    await stage.session.undoing.undo()
    state = stage.contain.state(VICTIM.ref)
    assert state is None or not state.rungs


async def test_a_freeze_ends_always(stage: Stage) -> None:
    await stage.contain.climb(VICTIM.ref, rung=RungId.FREEZE)
    assert stage.leases.frozen == {HOG.ref}
    with pytest.raises(ConflictError, match="always ends"):
        await stage.contain.confirm(VICTIM.ref)
    await stage.contain.step_back(VICTIM.ref)
    assert stage.leases.frozen == set()


async def test_what_the_keeper_has_taken_back_is_stepped_back(stage: Stage) -> None:
    outcome = await stage.contain.climb(VICTIM.ref)
    stage.leases.expire(outcome.lease.id)
    await stage.contain.refresh()
    state = stage.contain.state(VICTIM.ref)
    assert state is not None
    assert state.rungs == ()
    assert (await planned(stage)).rung.id is RungId.PROTECT_CPU


async def test_a_lease_is_no_drift_and_neither_is_its_end(stage: Stage) -> None:
    session, detector = stage.session, stage.session._detector
    clock = [1000.0]
    detector._clock = lambda: clock[0]

    async def drifted() -> bool:
        clock[0] += 5.0
        detector.judge(HOG.ref, stage.held(), detector.generation(HOG.ref), None)
        return HOG.ref in session.drift

    assert not await drifted(), "the first read is what is expected"
    outcome = await stage.contain.climb(VICTIM.ref, rung=RungId.CPU_QUOTA)
    assert not await drifted()
    stage.leases.kernel[HOG.ref] = stage.held().merge({"pids": 7} | {"cpus": 0.9})
    assert await drifted(), "another's write is, beside a lease"
    stage.leases.kernel[HOG.ref] = stage.held().merge({"pids": UNLIMITED} | {"cpus": outcome.planned.change.cpus})
    assert not await drifted()
    stage.leases.expire(outcome.lease.id)
    assert not await drifted(), "taken back, and not yet known"
    await stage.contain.refresh()
    assert not await drifted()
    assert stage.held().cpus is UNLIMITED


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (SuspectKind.OWN_QUOTA, "its own limit"),
        (SuspectKind.ITSELF, "its own threads"),
        (SuspectKind.DIFFUSE, "nobody in particular"),
        (SuspectKind.HYPERVISOR, "other machines"),
        (SuspectKind.INVISIBLE, "no stall"),
    ],
)
async def test_nobody_is_contained_for_what_nobody_does(stage: Stage, kind: SuspectKind, words: str) -> None:
    stage.script.evidence = (evidence(Suspect(kind)),)
    stage.frame(waiting=0.8)
    assert words in await why_not(stage)


async def test_without_evidence_there_is_no_rung(stage: Stage) -> None:
    stage.script.evidence = ()
    stage.frame(waiting=0.8)
    assert "nothing shows" in await why_not(stage)


async def test_a_suspect_that_a_probe_has_cleared_is_left_alone(stage: Stage) -> None:
    stage.script.evidence = (evidence(confidence=Confidence.CLEARED),)
    stage.frame(waiting=0.8)
    assert "a probe has shown" in await why_not(stage)


async def test_the_untouchable_is_not_touched(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.script.evidence = (evidence(SAINT),)
    stage.frame(waiting=0.8)
    await stage.contain.climb(VICTIM.ref)  # protects the victim
    assert "marked as untouchable" in await why_not(stage)
    other = await opened(monkeypatch, untouchable=("batch",))
    other.script.evidence = (evidence(),)
    other.frame(waiting=0.8)
    await other.contain.climb(VICTIM.ref)
    assert "settings name it" in await why_not(other)
    await other.session.close()


async def test_a_read_only_session_contains_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await opened(monkeypatch, read_only=True)
    stage.script.evidence = (evidence(),)
    stage.frame(waiting=0.8)
    assert "--read-only" in await why_not(stage)
    for act in (stage.contain.climb, stage.contain.step_back, stage.contain.confirm, stage.contain.release):
        with pytest.raises(RefusedError):
            await act(VICTIM.ref)
    await stage.session.close()


async def test_another_machine_s_container_is_not_contained(stage: Stage) -> None:
    far = ContainerRef("fake", "x" * 64, "far")
    found = await stage.contain.propose(far)
    assert isinstance(found, PytopError)


async def test_a_quota_follows_the_waiting_by_one_lease(stage: Stage) -> None:
    await stage.contain.climb(VICTIM.ref, rung=RungId.CPU_QUOTA)
    assert stage.held().cpus == pytest.approx(1.05)
    stage.frames(4, waiting=0.4)
    await until(lambda: stage.held().cpus == pytest.approx(0.735), 3)
    await until(lambda: len(stage.contain.leases) == 1, 3)
    stage.frames(4, waiting=0.0)
    await until(lambda: stage.held().cpus > 0.74, 3)
    await until(lambda: len(stage.contain.leases) == 1, 3)
    await stage.contain.step_back(VICTIM.ref)
    assert stage.held().cpus is UNLIMITED


async def test_memory_is_contained_on_its_own_ladder(stage: Stage) -> None:
    stage.script.evidence = (evidence(resource=Resource.MEMORY),)
    stage.frame(waiting=0.8)
    outcome = await stage.contain.climb(VICTIM.ref)
    assert outcome.planned.rung.id is RungId.PROTECT_MEMORY
    outcome = await stage.contain.climb(VICTIM.ref)
    assert outcome.planned.change == LimitChange(memory_high=int((400 << 20) * 0.9))
    outcome = await stage.contain.climb(VICTIM.ref)
    assert outcome.planned.rung.id is RungId.MEMORY_HIGH, "in small steps"
    await stage.contain.release(VICTIM.ref)
    assert stage.held().memory_high is UNLIMITED
    assert stage.held(VICTIM).memory_reservation == 0


async def test_a_climb_whose_caller_leaves_is_known(stage: Stage) -> None:
    stage.leases.hold.clear()
    caller = asyncio.ensure_future(stage.contain.climb(VICTIM.ref))
    await asyncio.sleep(0.05)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    stage.leases.hold.set()
    await until(lambda: stage.contain.states() and stage.contain.states()[0].rungs, 3)
    await stage.contain.step_back(VICTIM.ref)
    assert stage.contain.leases == ()


async def test_two_climbs_at_once_are_two_rungs(stage: Stage) -> None:
    done = await asyncio.gather(stage.contain.climb(VICTIM.ref), stage.contain.climb(VICTIM.ref))
    assert [each.planned.rung.id for each in done] == [RungId.PROTECT_CPU, RungId.CPU_WEIGHT]


async def test_what_has_ended_just_now_keeps_nothing_from_being_put_back(stage: Stage) -> None:
    first = await stage.contain.climb(VICTIM.ref)
    second = await stage.contain.climb(VICTIM.ref)
    stage.leases.expire(second.lease.id)
    await stage.contain.release(VICTIM.ref)
    assert not stage.leases.all[first.lease.id].active
    assert stage.held().cpu_shares == stage.held(VICTIM).cpu_shares == 1024
