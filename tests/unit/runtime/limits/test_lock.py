# ruff: noqa: ASYNC220, ASYNC240  (nothing else is going on)
"""Clients of this project change a container one after the other, by a lock that only their own user can take."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.kernel import run_directory
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import lock, lock_file
from runtime.model import ContainerRef, FieldOutcome, LimitName, LimitOutcome, Verdict
from tests.waiting import until

HOLD = """
import asyncio, sys
from pathlib import Path
from runtime.kernel import run_directory
from runtime.limits import lock

async def hold():
    async with lock.change_lock(Path(sys.argv[1]), "change it") as unlocked:
        print(unlocked or "held", flush=True)
        sys.stdin.readline()

run_directory.candidates = lambda *_: (Path(sys.argv[2]),)
asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lock file is."""
    place = tmp_path / "locks"
    monkeypatch.setattr(run_directory, "candidates", lambda *_: (place,))
    return place


@pytest.fixture
def cgroup(tmp_path: Path) -> Cgroup:
    """A container's own cgroup in one hierarchy; in the other it is with others."""
    (tmp_path / "pids/one").mkdir(parents=True)
    (tmp_path / "unified").mkdir()
    return Cgroup(v1={"pids": tmp_path / "pids/one"}, unified=tmp_path / "unified")


async def test_the_second_waits_for_the_first(cgroup: Cgroup) -> None:
    told: list[str] = []

    async def change(name: str) -> None:
        async with lock.change_lock(cgroup, "change it") as unlocked:
            assert unlocked == ""
            told.append(f"{name} begins")
            await asyncio.sleep(0.05)
            told.append(f"{name} ends")

    await asyncio.gather(change("one"), change("two"))
    assert [words.split()[1] for words in told] == ["begins", "ends"] * 2


async def test_another_process_is_waited_for_and_its_death_releases_the_lock(
    cgroup: Cgroup, tmp_path: Path, place: Path
) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "pids/one"), str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert await asyncio.to_thread(other.stdout.readline) == "held\n"
        async with lock.change_lock(cgroup, "change it", timeout_s=0.03) as unlocked:
            assert unlocked
        other.kill()
    async with lock.change_lock(cgroup, "change it", timeout_s=0) as unlocked:
        assert unlocked == ""


async def test_who_waits_too_long_goes_on_and_says_so(cgroup: Cgroup, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        lock.change_lock(cgroup, "change it"),
        lock.change_lock(cgroup, "change it", timeout_s=0.03) as unlocked,
    ):
        assert "another client was still changing it after 0.03 s" in unlocked
        assert unlocked in caplog.text
    async with lock.change_lock(cgroup, "change it", timeout_s=0) as unlocked:
        assert unlocked == ""


async def test_whoever_locks_the_cgroups_directory_or_a_file_in_it_delays_nobody(cgroup: Cgroup) -> None:
    """Root of a container can open those read-only, which is enough for flock(2)."""
    held = [os.open(directory, os.O_RDONLY) for directory in cgroup.directories]
    try:
        for descriptor in held:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        async with lock.change_lock(cgroup, "change it", timeout_s=0) as unlocked:
            assert unlocked == ""
    finally:
        for descriptor in held:
            os.close(descriptor)


async def test_two_containers_do_not_wait_for_each_other(cgroup: Cgroup, tmp_path: Path) -> None:
    (tmp_path / "pids/two").mkdir()
    other = Cgroup(v1={"pids": tmp_path / "pids/two"}, unified=tmp_path / "unified")
    async with lock.change_lock(cgroup, "change it"), lock.change_lock(other, "change it", timeout_s=0) as unlocked:
        assert unlocked == ""


async def test_a_container_without_a_cgroup_is_not_locked(cgroup: Cgroup, tmp_path: Path) -> None:
    for nothing in (None, Cgroup(), Cgroup(v1={"pids": tmp_path / "gone"})):
        async with (
            lock.change_lock(nothing, "change it", timeout_s=0) as first,
            lock.change_lock(nothing, "change it", timeout_s=0) as second,
        ):
            assert (first, second) == ("", "")


async def test_a_lock_file_that_cannot_be_had_stops_no_change(
    cgroup: Cgroup, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Made by somebody else, open to others, or where nothing can be made: at once, with the reason in the outcome."""
    place.mkdir()
    place.chmod(0o755)
    began = time.monotonic()
    async with lock.change_lock(cgroup, "change it") as unlocked:
        assert "without a lock against other clients" in unlocked
        assert "mode 0755" in unlocked
    assert time.monotonic() - began < lock.LOCK_TIMEOUT_S / 2
    assert unlocked in caplog.text
    field = FieldOutcome(LimitName.PIDS, 9, 8, 9, 9, Verdict.APPLIED, detail="pids.max")
    outcome = LimitOutcome(ContainerRef("test", "1"), (field,))
    assert lock.with_warning(outcome, unlocked).fields[0].detail == f"pids.max; {unlocked}"
    assert lock.with_warning(outcome, unlocked).ok
    assert lock.with_warning(outcome, "") is outcome


async def test_nothing_is_left_behind_for_each_container_that_was_changed(tmp_path: Path, place: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}").mkdir()
        async with lock.change_lock(tmp_path / f"{number}", "change it"):
            pass
    assert [path.name for path in place.iterdir()] == [lock_file.LOCK_FILE]
    assert (place / lock_file.LOCK_FILE).stat().st_size == 0


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
        async with lock.change_lock(cgroup, "change it"):
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
