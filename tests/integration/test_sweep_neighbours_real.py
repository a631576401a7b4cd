# ruff: noqa: ASYNC220  (nothing else is going on)
"""What attribution rests on, of real containers against the kernel: sharing, refaults, queues, programs outside."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectors.sampling.frame import Frame, Usage
from collectors.sampling.sweep import Sweeper, Target
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.kernel import cgroupfs, own_cgroup
from runtime.kernel.cpu_weight import shares_to_weight
from runtime.model import ContainerRef, LimitChange, LimitName, Missing
from tests.conftest import missing
from tests.integration.embedded import instance, run, sh

MIB = 1 << 20
BURN = "while :; do :; done"
REREAD = """
import mmap, os, sys, time
with open(sys.argv[1], "r+b") as file:
    while True:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            for at in range(0, len(view), 4096):
                view[at]
"""
FLOOD = """
import socket, sys
server = socket.create_server(("", 7001))
while True:
    link, _ = server.accept()
    try:
        while link.send(b"x" * 65536):
            pass
    except OSError:
        link.close()
"""


@pytest.fixture
def sweeper() -> Iterator[Sweeper]:
    made = Sweeper()
    yield made
    made.close()


async def target_of(engine: EmbeddedEngine, ref: ContainerRef) -> Target:
    found = await engine.get(ref.id)
    assert found.pid is not None
    return Target(ref, found.pid, found.cgroup)


async def until(sweeper: Sweeper, target: Target, done: Callable[[Frame, Usage], bool], what: str) -> Usage:
    """Sweep twice a second until a usage is as it should be."""
    for _ in range(40):
        frame = await asyncio.to_thread(sweeper.sweep, [target])
        usage = frame.usages[target.ref]
        if done(frame, usage):
            return usage
        await asyncio.sleep(0.5)
    raise AssertionError(f"{what}: {usage}, {frame.host}")


async def test_how_a_container_shares_is_what_the_kernel_holds(tmp_path: Path, sweeper: Sweeper) -> None:
    async with instance(tmp_path) as engine:
        unsupported = (await engine.capabilities()).limits
        if LimitName.CPU_IDLE in unsupported:
            missing("cpu.idle", unsupported[LimitName.CPU_IDLE])
        ref = await sh(engine, "sleep 60", limits=LimitChange(cpu_shares=512, cpuset_cpus="0"))
        target = await target_of(engine, ref)
        usage = sweeper.sweep([target]).usages[ref]
        assert (usage.cpu_weight, usage.cpu_idle, usage.cpus) == (shares_to_weight(512), False, {0})
        every = frozenset(os.sched_getaffinity(0))
        change = LimitChange(cpu_shares=2048, cpuset_cpus=",".join(map(str, every)))
        if LimitName.IO_WEIGHT not in unsupported:
            change = LimitChange(cpu_shares=2048, cpuset_cpus=change.cpuset_cpus, io_weight=300)
        assert (await engine.update(ref.id, change)).ok
        usage = sweeper.sweep([target]).usages[ref]
        assert (usage.cpu_weight, usage.cpus) == (shares_to_weight(2048), every)
        if change.io_weight is not None:
            assert usage.io_weight == 300
        assert (await engine.update(ref.id, LimitChange(cpu_idle=True))).ok
        usage = sweeper.sweep([target]).usages[ref]
        assert usage.cpu_idle is True
        assert usage.cpu_weight in range(1, 4), "the kernel shows next to none"


async def test_a_file_that_does_not_fit_comes_back_from_disk_again_and_again(tmp_path: Path, sweeper: Sweeper) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(64 * MIB))
    with file.open("rb") as written:  # else its pages stay in the cache, charged to this process
        os.fsync(written.fileno())
        os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        async with instance(tmp_path) as engine:
            ref = await sh(engine, "sleep 60", limits=LimitChange(memory=32 * MIB))
            target = await target_of(engine, ref)
            where = own_cgroup.cgroup_of_process(cgroupfs.detect(), target.pid).where("memory")
            assert where is not None
            directory = where[0]
            first = sweeper.sweep([target]).usages[ref]
            script = "import os, sys\nopen(sys.argv[2], 'w').write(str(os.getpid()))\n" + REREAD
            command = [sys.executable, "-c", script, str(file), str(directory / "cgroup.procs")]
            with subprocess.Popen(command) as process:
                try:
                    usage = await until(
                        sweeper,
                        target,
                        lambda _, usage: bool(isinstance(usage.refaults, float) and usage.refaults > 100),
                        "pages come back",
                    )
                finally:
                    process.kill()
            assert isinstance(usage.major_faults, float)
            assert usage.major_faults > 0
            assert usage.at_ns > first.at_ns
    finally:
        file.unlink()


async def test_what_waits_in_the_queue_of_a_limited_container(tmp_path: Path, sweeper: Sweeper) -> None:
    async with instance(tmp_path) as engine:
        fields = {"network": "bridge", "limits": LimitChange(net_egress=8_000_000)}
        ref = await run(engine, "/usr/bin/python3", "-c", FLOOD, **fields)
        target = await target_of(engine, ref)
        address = (await engine.get(ref.id)).addresses[0]
        stopped = threading.Event()

        def take() -> None:
            while not stopped.is_set():
                try:
                    with socket.create_connection((address, 7001), timeout=5) as link:
                        while not stopped.is_set() and link.recv(65536):
                            pass
                except OSError:
                    time.sleep(0.1)

        taker = threading.Thread(target=take)
        taker.start()
        try:
            usage = await until(
                sweeper,
                target,
                lambda _, usage: isinstance(usage.retransmits, float) and usage.backlog not in {0, Missing.NOT_SAMPLED},
                "bytes wait for the bucket",
            )
            assert usage.net.tx_bytes < 2_000_000
        finally:
            stopped.set()
            taker.join()


async def test_the_program_outside_for_which_a_container_waits(tmp_path: Path, sweeper: Sweeper) -> None:
    async with instance(tmp_path) as engine:
        ref = await sh(engine, BURN, limits=LimitChange(cpuset_cpus="0"))
        target = await target_of(engine, ref)
        hogs = [subprocess.Popen(["/bin/sh", "-c", BURN]) for _ in range(2)]
        try:
            for hog in hogs:
                os.sched_setaffinity(hog.pid, {0})
            os.sched_setscheduler(hogs[1].pid, os.SCHED_IDLE, os.sched_param(0))
            seen = {}

            def found(frame: Frame, _: Usage) -> bool:
                seen.update({each.pid: each for each in frame.host.programs})
                return hogs[0].pid in seen

            await until(sweeper, target, found, "the hog is named")
            hog = seen[hogs[0].pid]
            assert (hog.name, hog.cpus, hog.idle_class) == ("sh", {0}, False)
            assert hog.cpu > 0.1
            assert target.pid not in seen
            assert not set(seen) & container_pids(target.pid)
            if hogs[1].pid in seen:
                assert seen[hogs[1].pid].idle_class
        finally:
            for each in hogs:
                each.kill()
                each.wait()


def container_pids(pid: int) -> set[int]:
    """A container's processes: those in the cgroup of its first one."""
    text = Path(f"/proc/{pid}/cgroup").read_text()
    found = set()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdecimal() and Path(f"/proc/{entry}/cgroup").read_text() == text:
                found.add(int(entry))
        except OSError:
            continue
    return found
