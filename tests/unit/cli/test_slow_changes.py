"""A command says what it waits for, once, when that takes long."""

from __future__ import annotations

import asyncio

import pytest

from tests.waiting import until
from tui.cli import slow_changes


async def test_what_takes_long_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slow_changes, "SLOW_S", 0.02)
    under_way = ["start web"]
    looks = 0

    def look() -> list[str]:
        nonlocal looks
        looks += 1
        return [*under_way, f"stop {looks}"]  # each look finds another one that is quick

    async with slow_changes.waiting_told(look):
        await until(lambda: looks > 5, 5, "it is looked at several times")
    assert capsys.readouterr().err == "pytop-containers: still waiting: start web\n"
    await asyncio.sleep(0)
    seen = looks
    await asyncio.sleep(0.1)
    assert looks == seen
