"""The sweep on real cgroups: what is burnt, written and throttled is what it says; nothing stays open."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.inspection.isolation import isolation
from collectors.inspection.processes import processes
from collectors.sampling.frame import Frame, Usage
from collectors.sampling.scheduler import Scheduler
from collectors.sampling.sweep import Sweeper, Target
from runtime.kernel import cgroupfs, cgroups, files
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import ContainerRef, Missing
from tests.conftest import need_root
from tests.waiting import wait_until

REF = ContainerRef("test", "a")
WAIT = "import sys; sys.stdin.readline(); "


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    need_root("embedded")
    name = f"pytop-test-sweep-{os.getpid()}"
    hierarchies = cgroupfs.detect()
    top = cgroups.create(hierarchies, name)
    made = cgroups.create(hierarchies, f"{name}/one")
    yield made
    cgroups.kill_all(made)
    cgroups.remove(top)


@pytest.fixture
def sweeper() -> Iterator[Sweeper]:
    made = Sweeper()
    yield made
    made.close()


def start(cgroup: Cgroup, script: str) -> subprocess.Popen[str]:
    """A process that runs `script` once it is in the cgroup."""
    process = subprocess.Popen([sys.executable, "-c", WAIT + script], stdin=subprocess.PIPE, text=True)
    cgroups.attach(cgroup, process.pid)
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_busy_loop_is_throttled_at_its_limit(cgroup: Cgroup, sweeper: Sweeper) -> None:
    where = cgroup.where("cpu")
    assert where is not None
    if where[1] == 1:
        files.write(where[0] / "cpu.cfs_quota_us", "20000")
    else:
        files.write(where[0] / "cpu.max", "20000 100000")
    process = start(cgroup, "\nwhile True: pass")
    try:
        target = [Target(REF, process.pid)]
        assert sweeper.sweep(target).usages[REF].cpu is Missing.NOT_SAMPLED
        time.sleep(1.5)
        usage = sweeper.sweep(target).usages[REF]
        assert usage.cpu == pytest.approx(0.2, abs=0.08)
        assert usage.cpu_limit == 0.2
        assert isinstance(usage.throttled_share, float)
        assert usage.throttled_share > 0.8
        assert isinstance(usage.throttled, float)
        assert usage.throttled > 0.1
    finally:
        end(process)


def test_memory_that_is_held_is_anonymous(cgroup: Cgroup, sweeper: Sweeper) -> None:
    process = start(cgroup, "import time; held = bytearray(b'x') * (32 << 20); time.sleep(60)")
    try:
        target = [Target(REF, process.pid)]
        usage = sweeper.sweep(target).usages[REF]

        def held() -> bool:
            nonlocal usage
            usage = sweeper.sweep(target).usages[REF]
            return isinstance(usage.anon, int) and usage.anon > 32 << 20

        wait_until(held, 10, lambda: usage, every_s=0.1)
        assert isinstance(usage.memory, int)
        assert 32 << 20 < usage.memory < 96 << 20
        assert usage.pids == 1
        assert usage.net_shared, "it is in the host's network namespace"
        assert usage.net is Missing.UNSUPPORTED
    finally:
        end(process)


def test_pressure_of_the_container_is_its_own(cgroup: Cgroup, sweeper: Sweeper) -> None:
    assert cgroup.unified is not None, "this host has no unified tree"
    process = start(cgroup, "import time; time.sleep(60)")
    try:
        target = [Target(REF, process.pid)]
        sweeper.sweep(target)
        time.sleep(0.5)
        usage = sweeper.sweep(target).usages[REF]
        assert set(usage.pressure) == {"cpu", "memory", "io"}
        assert usage.pressure["memory"].some == 0.0, "a sleeper waits for nothing"
    finally:
        end(process)


def test_a_process_that_ended_is_a_problem_and_holds_up_no_other(cgroup: Cgroup, sweeper: Sweeper) -> None:
    one, other = (start(cgroup, "import time; time.sleep(60)") for _ in range(2))
    second = ContainerRef("test", "b")
    targets = [Target(REF, one.pid), Target(second, other.pid)]
    try:
        assert set(sweeper.sweep(targets).usages) == {REF, second}
        end(one)
        frame = sweeper.sweep(targets)
        assert set(frame.usages) == {second}
        assert "gone" in frame.problems[REF]
    finally:
        end(one)
        end(other)


SLEEPER = """
import signal, time
held = []
def wake(*_):
    held.append(bytearray(b"x") * (8 << 20))
    end = time.process_time() + 0.05
    while time.process_time() < end: pass
signal.signal(signal.SIGUSR1, wake)
print("ready", flush=True)
while True: signal.pause()
"""


def test_a_container_that_wakes_is_seen_in_the_same_sweep(cgroup: Cgroup, sweeper: Sweeper) -> None:
    process = start(cgroup, SLEEPER)
    target = [Target(REF, process.pid)]
    usages: list[Usage] = [sweeper.sweep(target).usages[REF]]

    def at_rest() -> bool:
        usages.append(sweeper.sweep(target).usages[REF])
        return usages[-1] is usages[-2]

    try:
        wait_until(at_rest, 20, lambda: usages[-1], every_s=0.2)
        rested = usages[-1]
        assert rested.cpu == 0.0
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        woken = sweeper.sweep(target).usages[REF]
        assert isinstance(woken.cpu, float)
        assert woken.cpu > 0.05
        assert isinstance(woken.anon, int)
        assert isinstance(rested.anon, int)
        assert woken.anon - rested.anon > 7 << 20
    finally:
        end(process)


def test_a_limit_that_somebody_writes_is_seen_at_rest(cgroup: Cgroup, sweeper: Sweeper) -> None:
    where = cgroup.where("pids")
    assert where is not None
    process = start(cgroup, "import signal; signal.pause()")
    try:
        for _ in range(3):
            sweeper.sweep([Target(REF, process.pid)])
            time.sleep(0.1)
        files.write(where[0] / "pids.max", "77")
        assert sweeper.sweep([Target(REF, process.pid)]).usages[REF].pids_limit == 77
    finally:
        end(process)


def test_eight_descriptors_are_kept_for_a_container(cgroup: Cgroup, sweeper: Sweeper) -> None:
    process = start(cgroup, "import signal; signal.pause()")
    try:
        before = len(os.listdir("/proc/self/fd"))
        sweeper.sweep([Target(REF, process.pid)])
        assert len(os.listdir("/proc/self/fd")) - before <= 8
    finally:
        end(process)


def test_no_descriptor_is_left(cgroup: Cgroup) -> None:
    process = start(cgroup, "import time; time.sleep(60)")
    try:
        before = len(os.listdir("/proc/self/fd"))
        sweeper = Sweeper()
        for turn in range(300):
            sweeper.sweep([Target(ContainerRef("test", str(turn)), process.pid)])
        assert len(os.listdir("/proc/self/fd")) < before + 40, "one container's files, not those of 300"
        sweeper.close()
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        end(process)


async def test_the_scheduler_sweeps_on_time_and_a_slow_taker_skips(cgroup: Cgroup, sweeper: Sweeper) -> None:
    process = start(cgroup, "import time; time.sleep(60)")
    frames: list[Frame] = []
    try:
        scheduler = Scheduler(sweeper, lambda: [Target(REF, process.pid)], frames.append, 0.1)
        running = asyncio.create_task(scheduler.run())
        await asyncio.sleep(1.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert 6 <= len(frames) <= 12
        assert all(REF in frame.usages for frame in frames)
        assert [frame.seq for frame in frames] == sorted({frame.seq for frame in frames})
    finally:
        end(process)


def test_processes_and_isolation_of_a_live_process(cgroup: Cgroup) -> None:
    process = start(cgroup, "import time; time.sleep(60)")
    try:
        assert process.pid in {found.pid for found in processes(process.pid)}
        seen = isolation(process.pid)
        assert all(namespace.shared for namespace in seen.namespaces), "it was made in none of its own"
        assert {namespace.name for namespace in seen.namespaces} >= {"mnt", "pid", "net"}
    finally:
        end(process)


def test_shared_memory_is_no_page_cache(cgroup: Cgroup, sweeper: Sweeper) -> None:
    """Also on v1, where the kernel counts it as cache."""
    path = Path(f"/dev/shm/pytop-test-{os.getpid()}")
    process = start(cgroup, f"f = open({str(path)!r}, 'wb'); f.write(bytes(24 << 20)); f.flush(); sys.stdin.read()")
    try:
        wait_until(lambda: path.exists() and path.stat().st_size == 24 << 20, 10)
        usage = sweeper.sweep([Target(REF, process.pid)]).usages[REF]
        assert isinstance(usage.shared, int)
        assert isinstance(usage.file, int)
        assert 24 << 20 <= usage.shared < 26 << 20
        assert usage.file < 16 << 20
    finally:
        end(process)
        path.unlink(missing_ok=True)
