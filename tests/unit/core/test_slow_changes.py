"""Whoever waits for a change that takes long is told what it is, once."""

from __future__ import annotations

import asyncio

import pytest

from tests.waiting import until
from tui.core import slow_changes


async def test_what_takes_long_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_changes, "SLOW_S", 0.02)
    told: list[str] = []
    looks = 0

    def look() -> list[str]:
        nonlocal looks
        looks += 1
        return ["start web", f"stop {looks}"]  # each look finds another one that is quick

    async with slow_changes.waiting_told(look, told.append):
        await until(lambda: looks > 5, 5, "it is looked at several times")
    assert told == ["start web"]
    await asyncio.sleep(0)
    seen = looks
    await asyncio.sleep(0.1)
    assert looks == seen
