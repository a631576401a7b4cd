"""Block I/O limits on a loop device of our own: what the kernel holds, and the rate that a reader really gets."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import limits
from runtime.errors import RefusedError
from runtime.kernel import block, cgroupfs, cgroups, files
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import UNLIMITED, ContainerRef, DeviceRate, LimitChange, LimitName, Missing, Verdict
from tests.conftest import missing, need_root
from tests.loop_device import loop_device

MB = 1024 * 1024
REF = ContainerRef("test", "0" * 64)


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    need_root("embedded")
    hierarchies = cgroupfs.detect()
    reason = limits.unsupported_limits(hierarchies).get(LimitName.IO_READ_BPS)
    if reason is not None:
        missing("io", reason)
    made = cgroups.create(hierarchies, f"pytop-test-io-{os.getpid()}")
    try:
        yield made
    finally:
        cgroups.kill_all(made)
        cgroups.remove(made)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    """A loop device on 64 MiB of file."""
    with loop_device(tmp_path / "disk", 64 * MB) as path:
        yield path


def rates(device: str, rate: object) -> tuple[DeviceRate, ...]:
    return (DeviceRate(block.number(device), rate),)  # type: ignore[arg-type]


def copy(cgroup: Cgroup, *words: str) -> float:
    """Seconds that a dd in the cgroup takes by its own clock, without its start."""
    with subprocess.Popen(
        ["sh", "-c", 'read go; exec dd "$@"', "sh", *words],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    ) as process:
        cgroups.attach(cgroup, process.pid)
        _, told = process.communicate("go\n", timeout=30)
        assert process.returncode == 0, told
    found = re.search(r"copied, ([0-9.e-]+) s", told)
    assert found, told
    return float(found[1])


CASES = [
    # limit, its rate, the copy, and how much of what is limited it does
    (LimitName.IO_READ_BPS, 4 * MB, ("if={}", "of=/dev/null", "iflag=direct", "bs=256k", "count=20"), 5 * MB),
    (LimitName.IO_WRITE_BPS, 4 * MB, ("if=/dev/zero", "of={}", "oflag=direct", "bs=256k", "count=20"), 5 * MB),
    (LimitName.IO_READ_IOPS, 20, ("if={}", "of=/dev/null", "iflag=direct", "bs=4k", "count=30"), 30),
    (LimitName.IO_WRITE_IOPS, 20, ("if=/dev/zero", "of={}", "oflag=direct", "bs=4k", "count=30"), 30),
]


@pytest.mark.parametrize(("name", "rate", "words", "amount"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_rate_really_holds_and_is_let_go(
    cgroup: Cgroup, device: str, name: LimitName, rate: int, words: tuple[str, ...], amount: int
) -> None:
    words = tuple(word.format(device) for word in words)
    outcome = limits.change(REF, cgroup, LimitChange.of({name: rates(device, rate)}))
    assert outcome.ok, outcome
    assert limits.read(cgroup).get(name) == rates(device, rate)
    took = copy(cgroup, *words)
    assert rate / 3 < amount / took < rate * 1.3, f"{amount / took:.0f} a second"
    lifted = limits.change(REF, cgroup, LimitChange.of({name: rates(device, UNLIMITED)}))
    assert lifted.ok
    assert limits.read(cgroup).get(name) == ()
    assert copy(cgroup, *words) < took / 2


def test_the_file_itself_holds_two_devices_and_one_is_lifted(cgroup: Cgroup, device: str) -> None:
    where = cgroup.where("io")
    assert where is not None
    disks = [number for number in block.disks().names if number != block.number(device)]
    if not disks:
        missing("disk", "there is no second block device")
    both = (*rates(device, 5 * MB), DeviceRate(disks[0], 7 * MB))
    outcome = limits.change(REF, cgroup, LimitChange(io_write_bps=both))
    if not outcome.ok and "no such disk" in outcome.error:
        missing("disk", f"{disks[0]} has nothing behind it")
    file = where[0] / ("io.max" if where[1] == 2 else "blkio.throttle.write_bps_device")
    assert {line.split()[0] for line in files.read(file).splitlines()} == {each.device for each in both}
    assert limits.change(REF, cgroup, LimitChange(io_write_bps=(DeviceRate(disks[0], UNLIMITED),))).ok
    assert limits.read(cgroup).io_write_bps == rates(device, 5 * MB)


def test_a_disk_that_is_not_there_fails_by_name_and_nothing_is_kept(cgroup: Cgroup) -> None:
    before = limits.raw_files(cgroup)
    with pytest.raises(RefusedError, match="no block device 4000:7"):
        limits.change(REF, cgroup, LimitChange(io_read_bps=(DeviceRate("4000:7", MB),)))
    outcome = limits.change(REF, cgroup, LimitChange(pids=50, io_read_bps=(DeviceRate("4000:7", MB),)), force=True)
    assert [field.verdict for field in outcome.fields] == [Verdict.ROLLED_BACK, Verdict.FAILED]
    assert "there is no such disk" in outcome.error
    assert limits.raw_files(cgroup) == before


def test_weight(cgroup: Cgroup) -> None:
    if isinstance(limits.read(cgroup).io_weight, Missing):
        missing(
            "io.weight", limits.unsupported_limits(cgroupfs.detect()).get(LimitName.IO_WEIGHT, "this cgroup has none")
        )
    for weight in (300, 100):
        assert limits.change(REF, cgroup, LimitChange(io_weight=weight)).ok
        assert limits.read(cgroup).io_weight == weight
