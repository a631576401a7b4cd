"""Clients of this project change a container one after the other, by a lock on its cgroup's directory."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from runtime import limits
from runtime.errors import ConflictError
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import lock
from tests.waiting import until


@pytest.fixture
def cgroup(tmp_path: Path) -> Cgroup:
    """A container's own cgroup in one hierarchy; in the other it is with others."""
    (tmp_path / "pids/one").mkdir(parents=True)
    (tmp_path / "unified").mkdir()
    return Cgroup(v1={"pids": tmp_path / "pids/one"}, unified=tmp_path / "unified")


async def test_the_second_waits_for_the_first(cgroup: Cgroup) -> None:
    told: list[str] = []

    async def change(name: str) -> None:
        async with limits.change_lock(cgroup, "change it"):
            told.append(f"{name} begins")
            await asyncio.sleep(0.05)
            told.append(f"{name} ends")

    await asyncio.gather(change("one"), change("two"))
    assert [words.split()[1] for words in told] == ["begins", "ends"] * 2


async def test_who_waits_too_long_is_told_why(cgroup: Cgroup) -> None:
    async with limits.change_lock(cgroup, "change it"):
        with pytest.raises(ConflictError, match="another client"):
            async with limits.change_lock(cgroup, "change it", timeout_s=0.03):
                pytest.fail("both have it")
    async with limits.change_lock(cgroup, "change it", timeout_s=0):
        pass


async def test_two_containers_do_not_wait_for_each_other(cgroup: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "pids/two").mkdir()
    other = Cgroup(v1={"pids": tmp_path / "pids/two"}, unified=tmp_path / "unified")
    async with limits.change_lock(cgroup, "change it"), limits.change_lock(other, "change it", timeout_s=0):
        pass


async def test_what_has_no_cgroup_or_has_ended_is_not_waited_for(cgroup: Cgroup, tmp_path: Path) -> None:
    for nothing in (None, Cgroup(), Cgroup(v1={"pids": tmp_path / "gone"})):
        async with (
            limits.change_lock(nothing, "change it", timeout_s=0),
            limits.change_lock(nothing, "change it", timeout_s=0),
        ):
            pass


async def test_a_caller_that_is_cancelled_while_the_lock_is_opened_leaves_no_descriptor(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind was looked for wherever a thread opens or locks something: logs, an exit file, a sweeper, headroom."""
    opening, go, opened = threading.Event(), threading.Event(), list[int]()
    really_open = os.open

    def slow(*args: Any, **options: Any) -> int:
        opening.set()
        assert go.wait(10)
        opened.append(really_open(*args, **options))
        return opened[-1]

    monkeypatch.setattr(lock.os, "open", slow)

    async def change() -> None:
        async with limits.change_lock(cgroup, "change it"):
            pytest.fail("it was cancelled before it had the lock")

    task = asyncio.create_task(change())
    await until(opening.is_set, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await until(lambda: opened, 5)
    await until(lambda: not is_open(opened[0]), 5, "the descriptor is closed")


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
