"""The comparison that a command asks for, without sweeps: what the record says, what the kernel holds, and in JSON."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from runtime.errors import DeniedError
from runtime.model import UNLIMITED, Container, LimitName, Limits
from tests.app.fakes import FakeSweeper, container
from tests.fake_engine import FakeEngine
from tui.cli import output
from tui.core.inspector import Inspector
from tui.core.session import Session


class Recorded(FakeEngine):
    """An engine that remembers limits."""

    async def recorded(self, key: str) -> Limits:
        await self.get(key)
        return Limits(cpus=0.5, memory=UNLIMITED)


async def compared(monkeypatch: pytest.MonkeyPatch, there: Container, held: Limits | DeniedError) -> Session:
    async def limits(*_: object, **__: object) -> Limits:
        if isinstance(held, DeniedError):
            raise held
        return held

    monkeypatch.setattr(Inspector, "limits", limits)
    session = Session([Recorded([there])], sweeper=FakeSweeper(lambda *_: {}))  # type: ignore[arg-type]
    try:
        await session.refresh()
        await session.compare(session.containers.values())
    finally:
        await session.close()
    return session


async def test_what_differs_from_the_record_is_found_once_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    web = container("web")
    session = await compared(monkeypatch, web, Limits(cpus=1.5, memory=UNLIMITED))
    (found,) = session.drift[web.ref]
    assert (found.name, found.expected, found.kernel) == (LimitName.CPUS, 0.5, 1.5)
    (told,) = output.drift(session.drift[web.ref])
    assert {**told, "since": ""} == {"limit": "cpus", "expected": 0.5, "kernel": 1.5, "since": ""}


async def test_what_is_as_recorded_is_no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not (await compared(monkeypatch, container("web"), Limits(cpus=0.5, memory=UNLIMITED))).drift


async def test_what_has_just_started_or_may_not_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Limits(cpus=1.5)
    young = replace(container("web"), started_ns=time.time_ns())
    assert not (await compared(monkeypatch, young, other)).drift
    assert not (await compared(monkeypatch, container("web"), DeniedError("read it"))).drift
