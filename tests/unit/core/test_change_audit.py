"""The session records its changes of limits, and what it learns of those of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.containment import audit, leases
from runtime.errors import PytopError
from runtime.kernel import run_directory
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import (
    Container,
    ContainerRef,
    Event,
    EventKind,
    LimitChange,
    LimitName,
    Limits,
    Ref,
    State,
)
from tests.app.fakes import container as listed
from tests.fake_engine import FakeEngine
from tests.waiting import until
from tui.core.change_audit import ANOTHER, ChangeAudit
from tui.core.drift.detector import Drift
from tui.core.lease_restarts import LeaseRestarts
from tui.core.session import Session
from tui.core.subject import Subject

REF = ContainerRef("docker", "c" * 12)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "candidates", lambda *_: (tmp_path / "run",))
    monkeypatch.setenv("PYTOP_STATE_DIR", str(tmp_path / "state"))


def made() -> ChangeAudit:
    async def limits(ref: Ref) -> Limits:
        return Limits(pids=70)

    return ChangeAudit(limits, lambda _: None, lambda _: None, enabled=True)


async def test_what_others_have_changed_is_recorded_with_how_it_is_known() -> None:
    recorder = made()
    following = asyncio.create_task(recorder.follow())
    recorder.happened(Event(EventKind.UPDATED, REF, time.time_ns()))
    recorder.happened(Event(EventKind.STARTED, REF, time.time_ns()))
    drift = Drift(LimitName.PIDS, 50, 70, 0)
    recorder.drifted({REF: (drift,)})
    recorder.drifted({REF: (drift,)})
    await until(lambda: len(audit.read()) == 2, 5, "both are recorded, once each")
    event, other = audit.read()
    assert (event.by, event.action, event.read_back) == ("Docker (update event)", audit.ELSEWHERE, LimitChange(pids=70))
    assert (other.by, other.old, other.new) == (ANOTHER, LimitChange(pids=50), LimitChange(pids=70))
    following.cancel()


async def test_the_answer_to_a_change_from_here_is_no_change_by_others() -> None:
    recorder = made()
    following = asyncio.create_task(recorder.follow())
    entry = await recorder.begin(REF, LimitChange(pids=50))
    recorder.happened(Event(EventKind.UPDATED, REF, time.time_ns()))
    assert await recorder.end(entry, PytopError("no")) == ""
    recorder.happened(Event(EventKind.UPDATED, REF, time.time_ns()))
    await asyncio.sleep(0.1)
    (only,) = audit.read()
    assert (only.new, only.outcome) == (LimitChange(pids=50), "no")
    following.cancel()


async def test_one_that_is_not_enabled_does_nothing() -> None:
    async def limits(ref: Ref) -> Limits:
        raise AssertionError

    recorder = ChangeAudit(limits, lambda _: None, lambda _: None, enabled=False)
    recorder.happened(Event(EventKind.UPDATED, REF, time.time_ns()))
    recorder.drifted({REF: (Drift(LimitName.PIDS, 50, 70, 0),)})
    assert recorder.loops(read_only=False) == {}
    await recorder.close()
    assert audit.read() == []


@pytest.mark.parametrize("audited", [True, False])
async def test_a_session_records_its_changes(audited: bool) -> None:
    session = Session([FakeEngine([listed("web")])], audited=audited)
    try:
        await session.refresh()
        (container,) = session.containers.values()
        outcome = await session.update(container.ref, LimitChange(pids=50))
        assert outcome.ok
        found = audit.read()
        assert len(found) == audited
        for entry in found:
            assert (entry.name, entry.new, entry.outcome) == (container.name, LimitChange(pids=50), audit.OK)
            assert entry.read_back == LimitChange(pids=50)
    finally:
        await session.close()


async def test_a_container_that_restarts_gets_its_leases_again(monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[tuple[Ref, int | None]] = []
    cgroup = Cgroup()

    async def reapply(ref: Ref, found: Cgroup, pid: int | None) -> tuple[()]:
        assert found is cgroup
        again.append((ref, pid))
        return ()

    monkeypatch.setattr(leases, "reapply", reapply)
    monkeypatch.setattr(leases, "any_active", lambda: True)
    find: Callable[[Subject], Cgroup | None] = lambda _: cgroup  # noqa: E731
    restarts = LeaseRestarts(find)
    following = asyncio.create_task(restarts.follow())

    def container(pid: int | None) -> Container:
        return Container(REF, "c", "image", State.RUNNING if pid else State.EXITED, pid=pid)

    for pid in (7, 7, None, 8):
        restarts.inventory([container(pid)])
    await until(lambda: bool(again), 5, "it was given again")
    assert again == [(REF, 8)]
    following.cancel()
