"""Block I/O limits on kernels of regular files: by device, lifted one by one, and what the kernel says is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import limits
from runtime.errors import RefusedError
from runtime.kernel.block import Disks
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.limits import apply
from runtime.limits.controllers import io
from runtime.limits.review.facts import HostFacts
from runtime.model import UNLIMITED, ContainerRef, DeviceRate, LimitChange, LimitName, Missing, Unlimited, Verdict
from tests.unit.fake_kernel import FakeKernel

MB = 1024 * 1024
REF = ContainerRef("test", "0" * 64)
RATES = tuple(io.RATES)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    disks = Disks({"8:0": "/dev/sda", "254:0": "/dev/vda"}, {"8:1": "/dev/sda"})
    facts = HostFacts(
        ncpu=4,
        cpus="0-3",
        mems="0",
        memory_total=8 << 30,
        swap_total=0,
        pid_max=32768,
        disks=disks,
        weighs_io=False,
        counts_written_back=False,
    )
    monkeypatch.setattr(apply, "host_facts", lambda: facts)


@pytest.fixture(params=(Mode.V1, Mode.V2, Mode.HYBRID), ids=str)
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, request.param, monkeypatch)


def rates(**by_device: int | Unlimited) -> tuple[DeviceRate, ...]:
    return tuple(DeviceRate(name.removeprefix("d").replace("_", ":"), rate) for name, rate in by_device.items())


def change_applied(cgroup: Cgroup, name: LimitName, value: object) -> Verdict:
    outcome = limits.change(REF, cgroup, LimitChange.of({name: value}))
    return outcome.fields[0].verdict


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_held_by_device_and_lifted_alone(kernel: FakeKernel, name: LimitName) -> None:
    cgroup = kernel.cgroup()
    assert limits.read(cgroup).get(name) == ()
    assert change_applied(cgroup, name, rates(d254_0=5 * MB)) is Verdict.APPLIED
    assert change_applied(cgroup, name, rates(d8_0=2 * MB)) is Verdict.APPLIED
    assert limits.read(cgroup).get(name) == rates(d8_0=2 * MB, d254_0=5 * MB), "in the order of the numbers"
    assert change_applied(cgroup, name, rates(d254_0=UNLIMITED)) is Verdict.APPLIED
    assert limits.read(cgroup).get(name) == rates(d8_0=2 * MB)
    others = set(RATES) - {name}
    assert all(limits.read(cgroup).get(other) == () for other in others)


def test_the_kernels_own_lines(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, LimitName.IO_WRITE_IOPS, rates(d8_0=100))
    change_applied(cgroup, LimitName.IO_READ_BPS, rates(d8_0=MB))
    change_applied(cgroup, LimitName.IO_WRITE_IOPS, rates(d8_0=UNLIMITED, d254_0=UNLIMITED))
    assert kernel.writes == (
        [("io.max", "8:0 wiops=100"), ("io.max", "8:0 rbps=1048576"), ("io.max", "8:0 wiops=max")]
        if kernel.mode is Mode.V2
        else [
            ("blkio.throttle.write_iops_device", "8:0 100"),
            ("blkio.throttle.read_bps_device", "8:0 1048576"),
            ("blkio.throttle.write_iops_device", "8:0 0"),
        ]
    ), "a device that has no limit is not lifted: it may be gone"


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_devices_before_one_that_fails_are_taken_back(kernel: FakeKernel, failing: int) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, LimitName.IO_READ_BPS, rates(d8_0=2 * MB))
    raw = limits.raw_files(cgroup)
    names = ["8:0", "254:0"]
    names.insert(failing, "7:7")
    wanted = LimitChange(io_read_bps=tuple(DeviceRate(name, 9 * MB) for name in names))
    outcome = limits.change(REF, cgroup, wanted, force=True)
    assert not outcome.ok
    assert "no such disk, or it is a partition" in outcome.error
    assert limits.raw_files(cgroup) == raw


def test_a_partition_a_missing_disk_and_a_tiny_rate_are_refused(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    for value, word in (
        (rates(d8_1=MB), "8:1 is a partition of /dev/sda"),
        (rates(d9_9=MB), "no block device 9:9"),
        (rates(d8_0=512), "would hang it"),
    ):
        with pytest.raises(RefusedError, match=word):
            change_applied(cgroup, LimitName.IO_WRITE_BPS, value)
    assert kernel.writes == []


def test_a_rate_that_is_not_held_is_a_failure(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    kernel.ignore = {"io.max", "blkio.throttle.read_bps_device"}
    assert change_applied(cgroup, LimitName.IO_READ_BPS, rates(d8_0=MB)) is Verdict.IGNORED


def test_weight_is_written_to_every_existing_file(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    assert limits.read(cgroup).io_weight == 100
    assert change_applied(cgroup, LimitName.IO_WEIGHT, 300) is Verdict.APPLIED
    assert limits.read(cgroup).io_weight == 300
    expected = ["io.weight", "io.bfq.weight"] if kernel.mode is Mode.V2 else ["blkio.bfq.weight"]
    assert kernel.writes == [(name, "300") for name in expected]


def test_bfq_ends_earlier(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    outcome = limits.change(REF, cgroup, LimitChange(io_weight=5000))
    if kernel.mode is Mode.V2:
        assert outcome.ok
        assert kernel.writes[-1] == ("io.bfq.weight", "1000")
    else:
        assert "BFQ takes 1 to 1000" in outcome.error
        assert limits.read(cgroup).io_weight == 100


def test_without_weight_files_it_is_unsupported(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("io")
    assert where is not None
    for file in ("io.weight", "io.bfq.weight", "blkio.bfq.weight"):
        (where[0] / file).unlink(missing_ok=True)
    assert limits.read(cgroup).io_weight is Missing.UNSUPPORTED


BAD_LINES = ["", "nonsense", "8:0", "8:0 x", "8 5", "8:0 -5", "a:b 5", "8:0 ²", "\x00"]


@pytest.mark.parametrize("text", BAD_LINES)
def test_bad_lines_of_v1_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    cgroup = FakeKernel(tmp_path, Mode.V1, monkeypatch).cgroup()
    (cgroup.v1["blkio"] / "blkio.throttle.read_bps_device").write_text(f"{text}\n9:0 7\n")
    assert limits.read(cgroup).io_read_bps == rates(d9_0=7)


@pytest.mark.parametrize("text", ["", "8:0", "8:0 rbps", "8:0 rbps=max", "8:0 rbps=-1", "x rbps=5", "8:0 5"])
def test_bad_lines_of_v2_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    cgroup = FakeKernel(tmp_path, Mode.V2, monkeypatch).cgroup()
    assert cgroup.unified is not None
    (cgroup.unified / "io.max").write_text(f"{text}\n9:0 rbps=7 wbps=max riops=max wiops=8\n")
    held = limits.read(cgroup)
    assert (held.io_read_bps, held.io_write_bps, held.io_write_iops) == (rates(d9_0=7), (), rates(d9_0=8))


@pytest.mark.parametrize("text", ["", "default", "default x", "max", "-1"])
def test_a_bad_weight_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    cgroup = FakeKernel(tmp_path, Mode.V2, monkeypatch).cgroup()
    assert cgroup.unified is not None
    (cgroup.unified / "io.weight").write_text(f"{text}\n8:0 50\n")
    assert limits.read(cgroup).io_weight is Missing.UNSUPPORTED


def test_what_a_host_lacks_has_a_reason(tmp_path: Path) -> None:
    top = tmp_path / "v2"
    (top / "system.slice").mkdir(parents=True)
    (top / "cgroup.controllers").write_text("cpu memory pids io\n")
    hierarchies = Hierarchies(Mode.V2, {}, Mount(top))
    granted = limits.unsupported_limits(hierarchies)
    assert set(granted) == {LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS}, "no cgroup tells of the rest"
    (top / "system.slice/cgroup.controllers").write_text("cpu memory io\n")
    (top / "system.slice/cpu.idle").touch()
    found = limits.unsupported_limits(hierarchies)
    assert set(found) - set(granted) == {LimitName.CPU_BURST, LimitName.SWAP, LimitName.IO_WEIGHT}
    assert found[LimitName.CPU_BURST] == "CPU burst needs Linux 5.14"
    assert len(limits.unsupported_limits(Hierarchies(Mode.NONE))) == len(LimitName) - 2, "all but the network's"
