"""One container by one engine: refusals, and changes that end although their caller has left."""

from __future__ import annotations

import asyncio

import pytest

from runtime.errors import RefusedError, UnsupportedError
from runtime.model import Capabilities, ContainerRef, ContainerSpec, State, Verb
from tests.fake_engine import FakeEngine
from tui.core.launch import Launch

SPEC = ContainerSpec("host", ("true",), name="one")


class SlowEngine(FakeEngine):
    """Makes a container when it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        self.begun.set()
        await self.go.wait()
        return await super().create(spec)


async def test_a_container_is_made_started_and_removed() -> None:
    engine = FakeEngine()
    launch = Launch(engine)
    await launch.create(SPEC)
    await launch.start()
    assert (await engine.get("one")).state is State.RUNNING
    await launch.remove()
    assert await engine.containers() == []
    await launch.close()


async def test_nothing_is_made_when_nothing_may_be_changed() -> None:
    engine = FakeEngine()
    launch = Launch(engine, read_only=True)
    with pytest.raises(RefusedError):
        await launch.create(SPEC)
    assert await engine.containers() == []
    await launch.close()


async def test_what_the_engine_cannot_do_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()

    async def capabilities() -> Capabilities:
        return Capabilities({Verb.CREATE: "no root"})

    monkeypatch.setattr(engine, "capabilities", capabilities)
    with pytest.raises(UnsupportedError, match="no root"):
        await Launch(engine).create(SPEC)


async def test_a_change_ends_although_its_caller_is_cancelled_and_closing_waits_for_it() -> None:
    engine = SlowEngine()
    launch = Launch(engine)
    caller = asyncio.create_task(launch.create(SPEC))
    await engine.begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert launch.under_way
    closing = asyncio.create_task(launch.close())
    await asyncio.sleep(0)
    assert not closing.done()
    engine.go.set()
    await closing
    assert [container.name for container in engine.all.values()] == ["one"]
    assert launch.container_id
