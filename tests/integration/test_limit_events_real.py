"""Limits that another hand writes are learnt by events of the kernel, and one that writes without end costs little."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.engines.found.engine import FoundEngine
from runtime.kernel import syscalls
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import ContainerRef, LimitName
from tests.integration.place import Place, place
from tests.loops import cycles
from tests.waiting import until
from tui.core.session import Session

SLOW_S = 30.0  # between two sweeps, so that none of them is who has found it
WRITES_PER_S = 100_000
STORM_S = 4.0
STORM_BOUND = 0.02  # of a core
WRITER = """
import os, sys, time
rate, files = int(sys.argv[1]), [os.open(path, os.O_WRONLY) for path in sys.argv[2:]]
begun, number = time.monotonic(), 0
while True:
    for _ in range(max(1, rate // 1000)):
        os.pwrite(files[number % len(files)], b"1000", 0)
        number += 1
    time.sleep(max(0.0, begun + number / rate - time.monotonic()))
"""


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as made:
        yield made


def files(cgroup: Cgroup) -> tuple[Path, Path]:
    """Two limit files of one directory."""
    found = cgroup.where("memory")
    assert found is not None
    names = ("memory.low", "memory.high") if found[1] == 2 else ("memory.soft_limit_in_bytes", "memory.limit_in_bytes")
    return found[0] / names[0], found[0] / names[1]


def pids_file(cgroup: Cgroup) -> Path:
    found = cgroup.where("pids")
    assert found is not None
    return found[0] / "pids.max"


@asynccontextmanager
async def settled(here: Place, interval: float) -> AsyncIterator[tuple[Session, ContainerRef, Cgroup]]:
    """A session over one found container, when its limits were read."""
    identity = secrets.token_hex(32)
    cgroup, _ = here.enter(f"docker-{identity}.scope", "sleep", "1000")
    session = Session([FoundEngine()], interval=interval)
    ref = ContainerRef("found", identity)
    try:
        await session.start()
        await until(lambda: session.frame is not None and ref in session.containers, 20)
        await until(lambda: session.history.latest is not None, 20)
        await asyncio.sleep(3)
        await session.compare([session.containers[ref]])
        assert ref not in session.drift
        yield session, ref, cgroup
    finally:
        await session.close()


async def test_a_limit_that_another_hand_writes_is_drift_within_a_second_and_a_half(here: Place) -> None:
    async with settled(here, SLOW_S) as (session, ref, cgroup):
        begun = time.monotonic()
        pids_file(cgroup).write_text("77")
        await until(lambda: ref in session.drift, 5)
        assert time.monotonic() - begun < 1.5
        (drift,) = session.drift[ref]
        assert (drift.name, drift.kernel) == (LimitName.PIDS, 77)


async def test_without_an_inotify_instance_the_limit_is_found_by_sweeps(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(syscalls, "inotify_init", refused)
    async with settled(here, 0.5) as (session, ref, cgroup):
        pids_file(cgroup).write_text("77")
        await until(lambda: ref in session.drift, 5)


async def test_limits_that_are_written_without_end_cost_little(here: Place) -> None:
    """A tenth of 100,000 writes a second where time is short: the watch is dropped, and the limits are polled."""
    async with settled(here, 1.0) as (session, ref, cgroup):
        calm = await cpu_share()
        command = (sys.executable, "-c", WRITER, str(cycles(WRITES_PER_S)), *map(str, files(cgroup)))
        writer = here.run(*command)
        stormy = await cpu_share()
        assert writer.poll() is None
        assert stormy - calm < STORM_BOUND, f"{calm:.2%} of a core before, {stormy:.2%} now"
        pids_file(cgroup).write_text("77")
        await until(lambda: any(drift.name is LimitName.PIDS for drift in session.drift.get(ref, ())), 10)


async def cpu_share() -> float:
    """Of a core, that this program uses."""
    begun, used = time.monotonic(), time.process_time()
    await asyncio.sleep(STORM_S)
    return (time.process_time() - used) / (time.monotonic() - begun)
