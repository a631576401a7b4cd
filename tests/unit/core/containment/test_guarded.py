"""The guard on a whole session, with leases in memory: what it asks of the containment, and what it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from runtime.containment.aimd import FLOOR_CORES
from runtime.containment.audit import NotOnDiskError
from runtime.containment.rung import RungId
from runtime.model import UNLIMITED, LimitName
from tests.unit.core.containment.conftest import HOG, SAINT, VICTIM, Stage, evidence
from tests.waiting import until
from tui.core.guard.executor import Executor
from tui.core.guard.guard import Guard
from tui.core.guard.policy import Aim, Containable, Policy, Protected, Selector
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import GuardReason

POLICY = Policy(
    path="/etc/guard.toml",
    protect=(Protected(selector=Selector(names=("api",)), targets={Aim.CPU_WAIT: 0.2}),),
    contain=(
        Containable(selector=Selector(names=("batch", "saint")), last_rung="limit", floors={LimitName.CPUS: 0.8}),
    ),
)


def guarded(stage: Stage, policy: Policy = POLICY) -> tuple[Guard, list[GuardEvent], Callable[..., object]]:
    """A guard, what it says, and a function that gives it frames."""
    said: list[GuardEvent] = []
    executor = Executor(stage.contain, policy, why_not_on_disk=lambda: "")
    guard = Guard(stage.session, policy, said.append, executor=executor)

    async def frames(count: int, waiting: float) -> None:
        for _ in range(count):
            stage.frame(waiting=waiting)
            assert stage.session.frame is not None
            await guard.step(stage.session.frame)

    return guard, said, frames


def climbed(said: list[GuardEvent]) -> list[RungId | None]:
    return [each.rung for each in said if each.kind is GuardEventKind.DONE and each.rung is not None]


async def test_it_contains_by_leases_that_nobody_needs_to_watch(stage: Stage) -> None:
    _, said, frames = guarded(stage)
    await frames(4, 0.8)
    assert climbed(said) == [RungId.PROTECT_CPU]
    (lease,) = stage.contain.leases
    assert (lease.ref, lease.id) == (VICTIM.ref, said[-1].leases[0])
    assert stage.leases.unattended == [True]
    await frames(5, 0.6)
    assert climbed(said) == [RungId.PROTECT_CPU, RungId.CPU_WEIGHT]
    assert stage.held().cpu_shares == 102


async def test_a_person_who_climbs_needs_no_audit_on_the_disk(stage: Stage) -> None:
    await stage.contain.climb(VICTIM.ref)
    assert stage.leases.unattended == [False]


async def test_the_quota_that_follows_the_waiting_stays_above_the_floor_of_the_policy(stage: Stage) -> None:
    await stage.contain.climb(VICTIM.ref, rung=RungId.CPU_QUOTA, audited=True, least_cores=0.8)
    assert stage.held().cpus == pytest.approx(1.05)
    stage.frames(4, waiting=0.4)
    await until(lambda: stage.held().cpus == pytest.approx(0.8), 3)
    await until(lambda: len(stage.contain.leases) == 1, 3)
    assert stage.leases.unattended == [True, True]
    assert FLOOR_CORES < 0.8


async def test_a_rung_is_not_passed_over_because_the_disk_did_not_take_the_audit(stage: Stage) -> None:
    stage.leases.failure = NotOnDiskError("record the change of api", detail="not on disk: No space left on device")
    _, said, frames = guarded(stage)
    await frames(4, 0.8)
    assert climbed(said) == []
    await frames(6, 0.8)
    assert climbed(said) == [RungId.PROTECT_CPU]


async def test_it_takes_back_what_is_its_own_and_leaves_a_persons(stage: Stage) -> None:
    await stage.contain.climb(VICTIM.ref, rung=RungId.CPU_IDLE)
    guard, said, frames = guarded(stage)
    await frames(4, 0.8)
    (own,) = [each for each in said if each.kind is GuardEventKind.DONE]
    assert own.rung is RungId.CPU_QUOTA
    assert isinstance(stage.held().cpus, float)
    guard._started = True
    await guard.release()
    assert stage.held().cpus is UNLIMITED
    assert stage.held().cpu_idle is True
    assert len(stage.contain.leases) == 1


async def test_what_is_untouchable_for_the_session_is_so_for_the_guard(stage: Stage) -> None:
    stage.script.evidence = (evidence(SAINT),)
    policy = replace(POLICY, contain=(replace(POLICY.contain[0], last_rung="freeze"),))
    _, said, frames = guarded(stage, policy)
    await frames(60, 0.8)
    assert all(lease.ref != SAINT.ref for lease in stage.contain.leases)
    assert said[-1].kind is GuardEventKind.NOT_DONE
    assert said[-1].decision is not None
    assert said[-1].decision.reason is GuardReason.LADDER_ENDS


async def test_a_wrong_suspect_is_put_back_by_the_containment_and_left_alone(stage: Stage) -> None:
    _, said, frames = guarded(stage)
    await frames(10, 0.8)
    assert len(climbed(said)) == 2
    await frames(4, 0.8)
    await until(lambda: not stage.contain.leases, 3)
    await frames(100, 0.8)
    assert not stage.contain.leases
    assert said[-1].decision is not None
    assert said[-1].decision.reason is GuardReason.WRONG_SUSPECT
    assert HOG.name == "batch"
