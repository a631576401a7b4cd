"""Hogs that are no containers: a unit climbs through its cgroup, a process gets nice and the idle policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collectors.attribution.evidence import Suspect, SuspectKind
from collectors.sampling.frame import HostProgram
from runtime import limits
from runtime.containment.rung import RungId
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import RecentUse
from runtime.model import LimitChange
from tests.app import fakes
from tests.fake_leases import V2
from tests.unit.core.containment import conftest
from tests.unit.core.containment.conftest import VICTIM, Stage, evidence
from tui.core.containment.state import PlannedRung

UNIT = "/system.slice/backup.service"
MAKE = HostProgram(pid=4242, name="make", unit="", cpu=1.5, cpus=frozenset({0, 1}))
BACKUP = HostProgram(pid=4343, name="tar", unit="backup.service", cpu=1.2, cpus=frozenset({0, 1}))


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Frames with two programs of the host, of which one is a unit's."""
    monkeypatch.setattr(conftest, "HOST", replace(fakes.HOST, programs=(MAKE, BACKUP)))
    (tmp_path / "4343").mkdir()
    (tmp_path / "4343/cgroup").write_text(f"0::{UNIT}\n")
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    unit = Cgroup(unified=tmp_path / "cg/system.slice/backup.service", controllers=frozenset({"cpu", "io"}))
    monkeypatch.setattr(own_cgroup, "at_path", lambda path, hierarchies: unit if path == UNIT else None)
    monkeypatch.setattr(limits, "read", lambda cgroup, pid=None: V2)
    monkeypatch.setattr(limits, "recent_use", lambda cgroup: RecentUse(memory=1 << 30, pids=3))


def accuse(stage: Stage, kind: SuspectKind, name: str, pid: int | None = None) -> None:
    stage.script.evidence = (evidence(Suspect(kind, name=name, pid=pid)),)
    stage.frame(waiting=0.8)


async def test_a_unit_climbs_through_its_cgroup(stage: Stage) -> None:
    accuse(stage, SuspectKind.UNIT, "backup.service")
    await stage.contain.climb(VICTIM.ref)
    step = await stage.contain.propose(VICTIM.ref)
    assert isinstance(step, PlannedRung)
    assert (step.rung.id, step.target, step.target_name) == (RungId.CPU_WEIGHT, None, "backup.service")
    outcome = await stage.contain.climb(VICTIM.ref, rung=RungId.CPU_QUOTA)
    assert stage.leases.units == [(UNIT, LimitChange(cpus=0.84))]
    await stage.contain.step_back(VICTIM.ref)
    assert not stage.leases.all[outcome.lease.id].active


async def test_a_process_gets_nice_and_then_the_idle_policy(stage: Stage) -> None:
    accuse(stage, SuspectKind.PROCESS, "make", 4242)
    rungs = [(await stage.contain.climb(VICTIM.ref)).planned.rung.id for _ in range(3)]
    assert rungs == [RungId.PROTECT_CPU, RungId.CPU_WEIGHT, RungId.CPU_IDLE]
    assert stage.leases.processes == [(4242, 19), (4242, None)]
    assert len([lease for lease in stage.contain.leases if lease.target == "process"]) == 1
    end = await stage.contain.propose(VICTIM.ref)
    assert isinstance(end, PytopError)
    assert "a process of the host has no cgroup" in end.detail


async def test_a_program_that_has_ended_is_not_contained(stage: Stage) -> None:
    accuse(stage, SuspectKind.PROCESS, "gone", 9999)
    found = await stage.contain.propose(VICTIM.ref)
    assert isinstance(found, NotFoundError)


async def test_a_unit_is_not_frozen(stage: Stage) -> None:
    accuse(stage, SuspectKind.UNIT, "backup.service")
    found = await stage.contain.propose(VICTIM.ref, rung=RungId.FREEZE)
    assert isinstance(found, PytopError)
    assert "is not frozen" in found.detail
