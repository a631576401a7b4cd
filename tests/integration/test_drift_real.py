"""The dashboard on real containers: a limit that is changed behind its back, and a group that has a cgroup."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from runtime.kernel import cgroupfs
from runtime.model import GroupKind, LimitChange, LimitName, State
from runtime.native import NativeEngine
from tests.integration.native import instance, sh, until
from tui.app import PytopApp
from tui.screens.limits import LimitEditor
from tui.session import Session
from tui.settings import Settings

IDLE = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
MB = 1024 * 1024


async def wait(true: Callable[[], object], within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  (looked at from outside)
            await asyncio.sleep(0.02)


def pids_file(pid: int) -> Path:
    where = cgroupfs.locate(cgroupfs.detect(), pid).where("pids")
    assert where is not None
    return where[0] / "pids.max"


async def test_a_limit_changed_behind_our_back_is_told_and_a_key_sets_it_again(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        ref = await sh(engine, IDLE, name="idle", limits=LimitChange(pids=77))
        await until(engine, ref, State.RUNNING)
        session = Session([NativeEngine(engine.config)], interval=0.5)
        app = PytopApp(session, chosen=Settings())
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await wait(lambda: session.frame is not None and ref in session.frame.usages)
            await asyncio.sleep(3.0)  # it has settled
            assert not session.drift
            pid = session.containers[ref].pid
            assert pid is not None
            file = pids_file(pid)
            file.write_text("55")
            sweeps = session.frame.seq if session.frame is not None else 0
            await wait(lambda: session.drift)
            assert session.frame is not None
            assert session.frame.seq - sweeps <= 3
            (drift,) = session.drift[ref]
            assert (drift.name, drift.expected, drift.kernel) == (LimitName.PIDS, 77, 55)
            assert "by somebody else" in session.history.marks(ref)[-1].text
            await pilot.press("l")
            await wait(lambda: isinstance(app.screen, LimitEditor))
            await pilot.pause()
            await pilot.press("f6")
            await wait(lambda: file.read_text().strip() == "77")
            await wait(lambda: not session.drift)


async def test_a_slice_is_measured_and_limited_as_a_whole(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        refs = [await sh(engine, IDLE, name=name) for name in ("one", "two")]
        for ref in refs:
            await until(engine, ref, State.RUNNING)
        session = Session([NativeEngine(engine.config)], interval=0.3)
        await session.start()
        try:
            await wait(lambda: any(group.cgroup for group in session.groups.values()))
            (group,) = session.groups.values()
            assert group.ref.kind is GroupKind.SLICE
            assert set(group.members) == set(refs)
            await wait(lambda: session.frame is not None and group.row in session.frame.usages)
            outcome = await session.update(group.row, LimitChange(memory=300 * MB))
            assert outcome.ok
            await wait(lambda: _memory_limit(session, group.row) == 300 * MB)
            await limited_members(engine, session)
        finally:
            await session.close()


def _memory_limit(session: Session, row: object) -> object:
    assert session.frame is not None
    return session.frame.usages[row].memory_limit  # type: ignore[index]


async def limited_members(engine: NativeEngine, session: Session) -> None:
    """A limit of the group holds for its members too, and is no drift of theirs."""
    await asyncio.sleep(2.5)
    assert not session.drift
    for container in await engine.containers():
        held = await session.limits(container.ref)
        assert held.memory != 300 * MB
