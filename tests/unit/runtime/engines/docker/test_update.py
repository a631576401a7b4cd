"""What is sent to Docker's /update, given what its record holds: every trap of that call."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.engines.daemon.changing_limits import refuse_at_rest
from runtime.engines.daemon.documents import UNLIMITED_BYTES
from runtime.engines.docker import translate, update
from runtime.engines.docker.hooks import DockerLimits
from runtime.errors import InvalidError, RefusedError, UnsupportedError
from runtime.kernel import block
from runtime.limits import HostFacts
from runtime.model import UNLIMITED, DeviceRate, LimitChange, LimitName
from runtime.oci.resources import ResourceContext

FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0-1", memory_total=8 << 30, swap_total=1 << 30, pid_max=32768)
MB = 1 << 20


def baseline(host: dict[str, Any], *, v2: bool = False) -> ResourceContext:
    return ResourceContext(translate.record(host, FACTS.ncpu), FACTS, cgroup_v2=v2)


def body(change: LimitChange, *, v2: bool = False, **host: Any) -> dict[str, Any]:
    return update.body(change, host, baseline(host, v2=v2))


@pytest.mark.parametrize(
    ("host", "cpus", "sent"),
    [
        ({}, 1.5, {"NanoCpus": 1_500_000_000}),
        ({"NanoCpus": 500_000_000}, 1.5, {"NanoCpus": 1_500_000_000}),
        ({"CpuQuota": 50_000}, 1.5, {"CpuQuota": 150_000, "CpuPeriod": 100_000}),
        ({"CpuQuota": 50_000, "CpuPeriod": 50_000}, 1.5, {"CpuQuota": 75_000, "CpuPeriod": 50_000}),
        ({"CpuQuota": -1}, 0.001, {"CpuQuota": 1000, "CpuPeriod": 100_000}),
        ({"CpuQuota": -1, "CpuPeriod": 50_000}, 0.5, {"CpuQuota": 25_000, "CpuPeriod": 50_000}),
    ],
)
def test_a_container_keeps_its_form_of_cpu_limit(host: dict[str, int], cpus: float, sent: dict[str, int]) -> None:
    assert body(LimitChange(cpus=cpus), **host) == sent


def test_a_quota_is_lifted_by_minus_one_and_nanocpus_never() -> None:
    assert body(LimitChange(cpus=UNLIMITED), CpuQuota=50_000) == {"CpuQuota": -1}
    assert body(LimitChange(cpus=UNLIMITED), NanoCpus=500_000_000) == {"NanoCpus": 4_000_000_000}


def test_memory_never_comes_without_swap() -> None:
    held = {"Memory": 100 * MB, "MemorySwap": 130 * MB}
    assert body(LimitChange(memory=50 * MB), **held) == {"Memory": 50 * MB, "MemorySwap": 80 * MB}
    assert body(LimitChange(swap=10 * MB), **held) == {"Memory": 100 * MB, "MemorySwap": 110 * MB}
    assert body(LimitChange(swap=UNLIMITED), **held) == {"Memory": 100 * MB, "MemorySwap": -1}
    assert body(LimitChange(memory=50 * MB, swap=0), **held) == {"Memory": 50 * MB, "MemorySwap": 50 * MB}


def test_memory_is_lifted_by_the_largest_size_that_there_is() -> None:
    held = {"Memory": 100 * MB, "MemorySwap": 130 * MB}
    assert body(LimitChange(memory=UNLIMITED), **held) == {"Memory": UNLIMITED_BYTES, "MemorySwap": UNLIMITED_BYTES}
    assert body(LimitChange(memory=UNLIMITED), v2=True, **held) == {"Memory": UNLIMITED_BYTES, "MemorySwap": -1}


def test_swap_alone_bounds_nothing_on_v1() -> None:
    with pytest.raises(InvalidError, match="swap alone"):
        body(LimitChange(swap=10 * MB))
    assert body(LimitChange(swap=10 * MB), v2=True) == {}


def test_a_reservation_is_never_recorded_above_the_memory() -> None:
    assert body(LimitChange(memory_reservation=UNLIMITED), Memory=64 * MB, MemoryReservation=32 * MB) == {
        "MemoryReservation": 64 * MB
    }
    assert body(LimitChange(memory_reservation=UNLIMITED)) == {"MemoryReservation": UNLIMITED_BYTES}
    lowered = body(LimitChange(memory=64 * MB, swap=0), MemoryReservation=UNLIMITED_BYTES)
    assert lowered["MemoryReservation"] == 64 * MB
    with pytest.raises(RefusedError, match="reservation"):
        body(LimitChange(memory=64 * MB), Memory=256 * MB, MemorySwap=256 * MB, MemoryReservation=128 * MB)


def test_everything_else() -> None:
    change = LimitChange(cpu_shares=512, cpuset_cpus="0", cpuset_mems=UNLIMITED, pids=UNLIMITED)
    assert body(change) == {"CpuShares": 512, "CpusetCpus": "0", "CpusetMems": "0-1", "PidsLimit": -1}
    assert body(LimitChange(cpuset_cpus=UNLIMITED, pids=9)) == {"CpusetCpus": "0-3", "PidsLimit": 9}
    assert body(LimitChange(memory_high=9 * MB)) == {}


def test_at_rest_harm_is_refused_by_the_record() -> None:
    def refuse(change: LimitChange) -> None:
        refuse_at_rest(change, baseline({}, v2=True), DockerLimits.kernel_only, DockerLimits.name)

    for change in (LimitChange(cpus=0.001), LimitChange(memory=MB), LimitChange(cpuset_cpus="0-9")):
        with pytest.raises(RefusedError):
            refuse(change)
    with pytest.raises(UnsupportedError):
        refuse(LimitChange(memory_high=64 * MB))
    refuse(LimitChange(cpus=0.5))


def test_a_change_is_taken_out_of_the_record_in_the_form_that_the_record_has() -> None:
    def undone(change: LimitChange, then: dict[str, Any]) -> dict[str, Any]:
        now = {**then, **update.body(change, then, baseline(then))}
        return update.undone([name for name, _ in change.items()], then, now, baseline(then))

    quota = {"CpuQuota": 50_000, "CpuPeriod": 50_000, "Memory": 64 * MB, "MemorySwap": 96 * MB, "PidsLimit": 9}
    change = LimitChange(cpus=0.2, memory=32 * MB, pids=UNLIMITED)
    assert undone(change, quota) == quota
    assert undone(change, {}) == {
        "NanoCpus": FACTS.ncpu * 1_000_000_000,
        "Memory": UNLIMITED_BYTES,
        "MemorySwap": UNLIMITED_BYTES,
        "PidsLimit": -1,
    }


def test_only_nanocpus_that_were_not_set_are_for_good() -> None:
    two, one = LimitChange(cpus=0.5, pids=9), LimitChange(cpus=0.5)
    assert update.is_irrevocable(body(two), {}, two)
    assert not update.is_irrevocable(body(one), {}, one)
    before = {"NanoCpus": 1_000_000_000}
    assert not update.is_irrevocable(body(two, **before), before, two)


def test_what_is_changed_past_the_record_is_named() -> None:
    assert LimitName.IO_READ_BPS in update.unrecorded({"CgroupVersion": "1"})
    assert LimitName.IO_WEIGHT not in update.unrecorded({"CgroupVersion": "1"})
    assert LimitName.IO_WEIGHT in update.unrecorded({"CgroupVersion": "2"})
    assert not update.unrecorded({}) & {LimitName.CPUS, LimitName.MEMORY, LimitName.CPU_SHARES}


DISKS = {"/dev/sda": "8:0", "/dev/sdb": "8:16"}
HELD = [{"Path": "/dev/sda", "Rate": 5 * MB}, {"Path": "/dev/sdb", "Rate": 7 * MB}]


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        block, "number", lambda text: DISKS.get(text.removeprefix("/dev/block/"), text[-4:].strip("k/"))
    )
    monkeypatch.setattr(block, "_names", {number: path for path, number in DISKS.items()})


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ((DeviceRate("8:0", 1 * MB),), [{"Path": "/dev/sda", "Rate": 1 * MB}, HELD[1]]),
        ((DeviceRate("8:0", UNLIMITED),), [HELD[1]]),
        ((DeviceRate("8:0", UNLIMITED), DeviceRate("8:16", UNLIMITED)), []),
        ((DeviceRate("9:9", 3),), [*HELD, {"Path": "/dev/block/9:9", "Rate": 3}]),
    ],
)
def test_rates_of_devices_are_whole_lists_since_1_55(
    disks: None, asked: tuple[DeviceRate, ...], sent: list[dict[str, Any]]
) -> None:
    """Each list replaces the recorded one, and an empty list lifts all; before they are ignored, so none is sent."""
    change, host = LimitChange(io_write_bps=asked), {"BlkioDeviceWriteBps": HELD}
    assert update.body(change, host, baseline(host), device_limits=True) == {"BlkioDeviceWriteBps": sent}
    assert update.body(change, host, baseline(host)) == {}


def test_rates_of_devices_are_taken_back_too(disks: None) -> None:
    then, now = {"BlkioDeviceReadIOps": HELD[:1]}, {"BlkioDeviceReadIOps": HELD}
    back = update.undone([LimitName.IO_READ_IOPS], then, now, baseline(now), device_limits=True)
    assert back == {"BlkioDeviceReadIOps": HELD[:1]}


@pytest.mark.parametrize(("weight", "sent"), [(1, 10), (100, 20), (10_000, 1000)])
def test_the_weight_on_v2_is_the_one_that_becomes_it(weight: int, sent: int) -> None:
    """runc: 1 + (w - 10) * 9999 / 990. What is not exact is written to the kernel after."""
    change = LimitChange(io_weight=weight)
    assert update.body(change, {}, baseline({}, v2=True), device_limits=True) == {"BlkioWeight": sent}
    assert update.body(change, {}, baseline({}, v2=True)) == {}


def test_what_docker_records_is_not_called_unrecorded() -> None:
    rates = {LimitName.IO_READ_BPS, LimitName.IO_WRITE_BPS, LimitName.IO_READ_IOPS, LimitName.IO_WRITE_IOPS}
    assert update.unrecorded({}) == rates
    assert update.unrecorded({}, device_limits=True) == set()
    assert update.unrecorded({"CgroupVersion": "2"}, device_limits=True) == {LimitName.IO_WEIGHT}
