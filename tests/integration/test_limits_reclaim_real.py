"""Taking memory away from real processes: their cache goes, what they hold stays, and nobody is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from runtime import limits
from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import ReclaimProgress
from runtime.limits.controllers import memory
from runtime.model import UNLIMITED, ContainerRef, LimitChange, LimitName
from tests.conftest import missing, need_root

MB = 1024 * 1024
REF = ContainerRef("test", "0" * 64)
HELD, CACHED = 32 * MB, 200 * MB
USER = """
import os, sys
sys.stdin.readline()
held = bytearray(b"x") * {held}
with open({file!r}, "wb") as file:
    for _ in range({cached} >> 20):
        file.write(b"y" * (1 << 20))
    file.flush()
    os.fsync(file.fileno())
print("ready", flush=True)
{then}
"""
STAYS = "sys.stdin.readline()"
GROWS = """
more = []
while len(more) < 48:
    more.append(bytearray(b"z") * (1 << 20))
    os.sched_yield()
print("grown", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    need_root("embedded")
    hierarchies = cgroupfs.detect()
    reason = limits.unsupported_limits(hierarchies).get(LimitName.MEMORY)
    if reason is not None:
        missing("memory", reason)
    made = cgroups.create(hierarchies, f"pytop-test-reclaim-{os.getpid()}")
    try:
        yield made
    finally:
        cgroups.kill_all(made)
        cgroups.remove(made)


def user(cgroup: Cgroup, folder: Path, then: str) -> subprocess.Popen[str]:
    """A process of the cgroup that holds 32 MiB, has 200 MiB of files in its cache, and goes on as told."""
    code = USER.format(held=HELD, file=str(folder / "big"), cached=CACHED, then=then)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    cgroups.attach(cgroup, process.pid)
    assert process.stdin
    assert process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def holder(cgroup: Cgroup, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = user(cgroup, tmp_path, STAYS)
    use = memory.read_use(cgroup)
    if use is None or use.file < CACHED / 2 or use.shared > CACHED / 4:  # tmpfs, or a loop device on it
        cgroups.kill_all(cgroup)
        process.communicate()
        missing("page cache", f"what is written to {tmp_path} is not kept in a cache that could be dropped")
    yield process
    cgroups.kill_all(cgroup)
    process.communicate()
    (tmp_path / "big").unlink()


def shrink(cgroup: Cgroup, target: int) -> tuple[ReclaimProgress, list[ReclaimProgress]]:
    told: list[ReclaimProgress] = []
    return limits.shrink(cgroup, target, progress=told.append, stop=Event()), told


def test_cache_is_given_back_until_the_limit_fits(cgroup: Cgroup, holder: subprocess.Popen[str]) -> None:
    used = limits.recent_use(cgroup).memory
    assert used is not None
    assert used > HELD + CACHED / 2
    before = limits.raw_files(cgroup)
    target = HELD + CACHED // 2
    last, told = shrink(cgroup, target)
    assert last.done, last
    assert len(told) > 3
    assert last.current > target - 64 * MB, "no further than it must"
    assert limits.raw_files(cgroup) == before, "no limit was left changed"
    assert limits.change(REF, cgroup, LimitChange(memory=target)).ok
    assert (holder.poll(), memory.oom_kills(cgroup)) == (None, 0)


def test_what_a_process_holds_stays_and_is_named(cgroup: Cgroup, holder: subprocess.Popen[str]) -> None:
    if limits.host_facts().swap_free:
        missing("no swap", "this machine would put it there")
    before = limits.raw_files(cgroup)
    last, _ = shrink(cgroup, HELD // 2)
    assert not last.done
    assert last.current >= HELD
    assert last.reclaimed > CACHED / 2, "all of the cache"
    assert "anonymous memory that has no swap to go to" in last.reason
    assert limits.raw_files(cgroup) == before
    assert (holder.poll(), memory.oom_kills(cgroup)) == (None, 0)
    assert limits.read(cgroup).memory is UNLIMITED


def test_a_limit_below_the_page_cache_is_held_and_kills_no_process(
    cgroup: Cgroup, holder: subprocess.Popen[str]
) -> None:
    outcome = limits.change(REF, cgroup, LimitChange(memory=HELD + 48 * MB))
    assert outcome.ok, outcome
    assert limits.read(cgroup).memory_high in (UNLIMITED, limits.read(Cgroup()).memory_high)
    assert (holder.poll(), memory.oom_kills(cgroup)) == (None, 0)


def test_a_process_that_grows_meanwhile_is_not_killed(cgroup: Cgroup, tmp_path: Path) -> None:
    process = user(cgroup, tmp_path, GROWS)
    assert process.stdout
    grown = threading.Thread(target=process.stdout.readline)
    grown.start()
    while grown.is_alive():
        shrink(cgroup, 16 * MB)
    grown.join()
    assert (process.poll(), memory.oom_kills(cgroup)) == (None, 0)
    cgroups.kill_all(cgroup)
    process.communicate()
    (tmp_path / "big").unlink()
