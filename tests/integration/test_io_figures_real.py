"""Block I/O of real programs: counted once through a loop device, and buffered writes on cgroup v1 counted at all.

Also looked at: network interfaces (`test_network_layers`), the host's line (disks that are devices only).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.sampling.frame import IoRates, Usage
from collectors.sampling.sweep import Sweeper, Target
from runtime.kernel import block, cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.filesystems import on_block_device
from runtime.model import ContainerRef
from tests.conftest import missing, need_root
from tests.integration.embedded import instance, sh
from tests.loop_device import loop_device

pytestmark = pytest.mark.root

MB = 1 << 20
REF = ContainerRef("test", "io")
SOON_S = 20.0
DD = """
while [ ! -e /tmp/go ]; do sleep 0.05; done
dd if=/dev/zero of=/tmp/file bs=1M count=24 {how}
touch /tmp/done
sleep 600
"""


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    need_root("embedded")
    made = cgroups.create(cgroupfs.detect(), f"pytop-test-figures-{os.getpid()}")
    if made.where("io") is None:
        missing("io", "this host has no controller for block I/O")
    try:
        yield made
    finally:
        cgroups.kill_all(made)
        cgroups.remove(made)


@pytest.fixture
def sweeper() -> Iterator[Sweeper]:
    made = Sweeper()
    yield made
    made.close()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A loop device that reads its file of 32 MiB past the page cache."""
    if not on_block_device(tmp_path):
        missing("disk", f"{tmp_path} is in memory")
    with loop_device(tmp_path / "disk", 32 * MB, "--direct-io=on") as path:
        yield path


def usage(sweeper: Sweeper, target: Target) -> Usage:
    frame = sweeper.sweep([target])
    assert not frame.problems, frame.problems
    return frame.usages[target.ref]


def io(found: Usage) -> IoRates:
    assert isinstance(found.io, IoRates), found.io
    return found.io


def test_what_is_read_through_a_loop_device_is_counted_once(cgroup: Cgroup, sweeper: Sweeper, loop: str) -> None:
    words = ["sh", "-c", f"read go; dd if={loop} of=/dev/null iflag=direct bs=1M count=16 2>&1; read end"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        cgroups.attach(cgroup, process.pid)
        target = Target(REF, process.pid)
        before = usage(sweeper, target)
        process.stdin.write("go\n")
        process.stdin.flush()
        while "copied" not in process.stdout.readline():
            pass
        found = usage(sweeper, target)
        process.kill()
    seconds = (found.at_ns - before.at_ns) / 1e9
    number = block.number(loop)
    assert found.io_stacked[number].read_bytes * seconds == 16 * MB
    assert number not in found.io_devices
    assert 16 * MB <= io(found).read_bytes * seconds < 20 * MB  # the program itself may have been read from the disk
    assert io(found).read_bytes == sum(each.read_bytes for each in found.io_devices.values())


@pytest.mark.parametrize("how", ["conv=notrunc", "conv=fsync", "oflag=direct"])
async def test_writes_of_a_container_are_counted_once_however_they_get_to_the_disk(
    tmp_path: Path, sweeper: Sweeper, how: str
) -> None:
    """On v1 the kernel charges what it writes back later to the root cgroup, and what fsync writes to the container."""
    async with instance(tmp_path) as engine:
        ref = await sh(engine, DD.format(how=how))
        container = await engine.get(ref.id)
        assert container.pid is not None
        root = Path(f"/proc/{container.pid}/root/tmp")
        target = Target(ref, container.pid, container.cgroup)
        found = usage(sweeper, target)
        await asyncio.to_thread((root / "go").touch)
        written, deadline, rest = 0.0, time.monotonic() + SOON_S, 5
        while rest:  # some sweeps after its end too: its parent has waited for it, and nothing is counted again
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
            previous, found = found, usage(sweeper, target)
            rate = io(found).write_bytes
            assert isinstance(rate, float)
            written += rate * (found.at_ns - previous.at_ns) / 1e9
            rest -= await asyncio.to_thread((root / "done").exists)
        assert 24 * MB <= written < 28 * MB, f"{written / MB:.1f} MiB"
