"""A change of limits as an OCI runtime's resources: what goes together, what is not sent, what has no number."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import InvalidError
from runtime.limits import HostFacts
from runtime.model import UNLIMITED, DeviceRate, LimitChange, LimitName, Limits, Missing
from runtime.oci.resources import KERNEL_ONLY, NO_RATE, ResourceContext, initial_resources, merged, resources

MB = 1 << 20
FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0-1", memory_total=8 << 30, swap_total=1 << 30, pid_max=32768)
FREE = Limits(cpus=UNLIMITED, cpu_period=100_000, memory=UNLIMITED, swap=UNLIMITED)
TIGHT = Limits(
    cpus=0.5, cpu_period=50_000, memory=64 * MB, swap=32 * MB, io_read_bps=(DeviceRate("8:0", 5), DeviceRate("8:16", 6))
)


def sent(change: LimitChange, before: Limits = FREE, *, v2: bool = False) -> dict[str, Any]:
    return resources(change, ResourceContext(before, FACTS, v2))


@pytest.mark.parametrize(
    ("change", "before", "cpu"),
    [
        (LimitChange(cpus=1.5), FREE, {"quota": 150_000, "period": 100_000}),
        (LimitChange(cpus=1.5), TIGHT, {"quota": 75_000, "period": 50_000}),
        (LimitChange(cpu_period=20_000), TIGHT, {"quota": 10_000, "period": 20_000}),
        (LimitChange(cpu_period=20_000), FREE, {"quota": -1, "period": 20_000}),
        (LimitChange(cpus=UNLIMITED), TIGHT, {"quota": -1, "period": 50_000}),
        (LimitChange(cpus=0.02, cpu_period=10_000), FREE, {"quota": 1000, "period": 10_000}),
        (LimitChange(cpu_shares=512), TIGHT, {"shares": 512}),
        (LimitChange(cpuset_cpus=UNLIMITED, cpuset_mems="0"), FREE, {"cpus": "0-3", "mems": "0"}),
    ],
)
def test_cpu(change: LimitChange, before: Limits, cpu: dict[str, Any]) -> None:
    assert sent(change, before) == {"cpu": cpu}


@pytest.mark.parametrize(
    ("change", "before", "memory"),
    [
        (LimitChange(memory=128 * MB), TIGHT, {"limit": 128 * MB, "swap": 160 * MB}),
        (LimitChange(memory=128 * MB), FREE, {"limit": 128 * MB, "swap": -1}),
        (LimitChange(swap=8 * MB), TIGHT, {"limit": 64 * MB, "swap": 72 * MB}),
        (LimitChange(swap=UNLIMITED), TIGHT, {"limit": 64 * MB, "swap": -1}),
        (LimitChange(memory=UNLIMITED), TIGHT, {"limit": -1, "swap": -1}),
        (LimitChange(memory=64 * MB), Limits(memory=UNLIMITED), {"limit": 64 * MB}),
        (LimitChange(memory_reservation=16 * MB), FREE, {"reservation": 16 * MB}),
        (LimitChange(memory_reservation=UNLIMITED), FREE, {"reservation": -1}),
    ],
)
def test_memory_is_counted_with_swap(change: LimitChange, before: Limits, memory: dict[str, Any]) -> None:
    assert sent(change, before) == {"memory": memory}


def test_the_same_on_v2() -> None:
    assert sent(LimitChange(memory_reservation=UNLIMITED), v2=True) == {"memory": {"reservation": 0}}, (
        "the largest number would protect everything there"
    )
    assert sent(LimitChange(memory_high=5 * MB), v2=True) == {"unified": {"memory.high": str(5 * MB)}}
    assert sent(LimitChange(memory_high=UNLIMITED), v2=True) == {"unified": {"memory.high": "max"}}
    assert sent(LimitChange(swap=8 * MB), v2=True) == {}, "not sayable without a memory limit: the kernel's file is"


def test_swap_alone_bounds_nothing_on_v1() -> None:
    with pytest.raises(InvalidError):
        sent(LimitChange(swap=8 * MB))


def test_tasks_and_what_only_the_kernel_can() -> None:
    assert sent(LimitChange(pids=7)) == {"pids": {"limit": 7}}
    assert sent(LimitChange(pids=UNLIMITED)) == {"pids": {"limit": -1}}
    assert sent(LimitChange(cpu_burst=1, cpu_idle=True, io_weight=50, net_egress=1, net_ingress=UNLIMITED)) == {}
    assert LimitName.CPU_BURST in KERNEL_ONLY


def test_devices_that_stay_as_they_are_come_along() -> None:
    change = LimitChange(io_read_bps=(DeviceRate("8:0", UNLIMITED),), io_write_iops=(DeviceRate("8:0", 100),))
    assert sent(change, TIGHT) == {
        "blockIO": {
            "throttleReadBpsDevice": [
                {"major": 8, "minor": 0, "rate": NO_RATE},
                {"major": 8, "minor": 16, "rate": 6},
            ],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}],
        }
    }


def test_at_creation_what_is_left_out_is_unlimited() -> None:
    change = LimitChange(cpus=UNLIMITED, memory=64 * MB, swap=UNLIMITED, pids=UNLIMITED)
    assert initial_resources(change, ResourceContext(TIGHT, FACTS, False)) == {"memory": {"limit": 64 * MB}}
    both = LimitChange(memory=64 * MB, swap=0)
    assert initial_resources(both, ResourceContext(FREE, FACTS, False)) == {
        "memory": {"limit": 64 * MB, "swap": 64 * MB}
    }
    for v2 in (False, True):
        with pytest.raises(InvalidError):
            initial_resources(LimitChange(swap=1 * MB), ResourceContext(FREE, FACTS, v2))


def test_parts_are_merged_and_lists_replaced() -> None:
    old = {"devices": [1], "cpu": {"shares": 2, "quota": 3}, "pids": {"limit": 4}}
    assert merged(old, {"cpu": {"quota": 5}, "devices": [6]}) == {
        "devices": [6],
        "cpu": {"shares": 2, "quota": 5},
        "pids": {"limit": 4},
    }
    assert old["cpu"] == {"shares": 2, "quota": 3}


def test_a_missing_period_is_the_kernels_own() -> None:
    before = Limits(cpus=Missing.GONE, cpu_period=Missing.GONE)
    assert sent(LimitChange(cpus=1.0), before) == {"cpu": {"quota": 100_000, "period": 100_000}}
