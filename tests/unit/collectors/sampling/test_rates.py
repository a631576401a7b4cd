"""Two samples into rates: right in the plain case, a gap in every doubtful one, never negative."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sampling.rates import derive
from collectors.sampling.sample import CpuCounters, IoCounters, MemoryGauges, NetCounters, PressureTotals, Sample
from runtime.model import UNLIMITED, Missing

S = 1_000_000_000


def sample(at: float, **more: object) -> Sample:
    known: dict[str, object] = {"at_ns": round(at * S), "generation": 1}
    return Sample(**(known | more))  # type: ignore[arg-type]


def test_cores_and_throttling() -> None:
    before = sample(1, cpu=CpuCounters(0, 0, 0, 0, 0, 0), cpu_limit=0.5)
    after = sample(3, cpu=CpuCounters(S, S // 2, S // 2, 20, 15, S // 2), cpu_limit=0.5)
    usage = derive(before, after, 2)
    assert (usage.cpu, usage.cpu_user, usage.cpu_system) == (0.5, 0.25, 0.25)
    assert (usage.throttled, usage.throttled_share, usage.cpu_limit) == (0.25, 0.75, 0.5)


def test_the_first_sample_has_gauges_and_no_rate() -> None:
    usage = derive(
        None, sample(1, cpu=CpuCounters(5, 5, 5), memory=MemoryGauges(current=7, limit=UNLIMITED), pids=3), 2
    )
    assert usage.cpu is Missing.NOT_SAMPLED
    assert (usage.memory, usage.memory_limit, usage.pids) == (7, UNLIMITED, 3)


def test_a_cgroup_made_anew_has_no_rate() -> None:
    before, after = sample(1, cpu=CpuCounters(usage_ns=5)), sample(2, cpu=CpuCounters(usage_ns=9), generation=2)
    assert derive(before, after, 2).cpu is Missing.NOT_SAMPLED


def test_a_counter_that_fell_has_no_rate() -> None:
    before, after = sample(1, cpu=CpuCounters(usage_ns=9)), sample(2, cpu=CpuCounters(usage_ns=5))
    assert derive(before, after, 2).cpu is Missing.NOT_SAMPLED
    io = {"8:0": IoCounters(9, 9, 9, 9)}, {"8:0": IoCounters(5, 9, 9, 9)}
    assert derive(sample(1, io=io[0]), sample(2, io=io[1]), 2).io is Missing.NOT_SAMPLED


def test_what_is_missing_keeps_its_reason() -> None:
    usage = derive(sample(1), sample(2, cpu=CpuCounters(usage_ns=Missing.DENIED), net=Missing.GONE), 2)
    assert usage.cpu is Missing.DENIED
    assert usage.net is Missing.GONE
    assert usage.io is Missing.UNSUPPORTED


def test_a_split_that_runs_backwards_is_clamped() -> None:
    before, after = sample(1, cpu=CpuCounters(0, 100, 50)), sample(2, cpu=CpuCounters(10, 90, 80))
    usage = derive(before, after, 2)
    assert isinstance(usage.cpu, float)
    assert usage.cpu_user == 0
    assert usage.cpu_system == pytest.approx(usage.cpu)


def test_devices_and_interfaces_are_summed_and_kept_apart() -> None:
    io = {"8:0": IoCounters(), "8:16": IoCounters()}, {"8:0": IoCounters(10, 0, 1, 0), "8:16": IoCounters(30, 4, 3, 1)}
    net = (
        {"eth0": NetCounters(), "eth1": NetCounters()},
        {"eth0": NetCounters(rx_bytes=5), "eth1": NetCounters(rx_bytes=7, tx_bytes=3)},
    )
    usage = derive(sample(1, io=io[0], net=net[0]), sample(3, io=io[1], net=net[1]), 2)
    assert not isinstance(usage.io, Missing)
    assert not isinstance(usage.net, Missing)
    assert (usage.io.read_bytes, usage.io.write_bytes, usage.io.read_ops) == (20.0, 2.0, 2.0)
    assert (usage.net.rx_bytes, usage.net.tx_bytes) == (6.0, 1.5)
    assert set(usage.io_devices) == {"8:0", "8:16"}
    assert usage.net_interfaces["eth1"].rx_bytes == 3.5


def test_waiting_that_others_cause_leaves_out_the_own_quota() -> None:
    before = sample(1, cpu=CpuCounters(throttled_ns=0), pressure={"cpu": PressureTotals(0, 0)})
    throttled = sample(2, cpu=CpuCounters(throttled_ns=S), pressure={"cpu": PressureTotals(S, S // 2)})
    squeezed = sample(2, cpu=CpuCounters(throttled_ns=0), pressure={"cpu": PressureTotals(S, S // 2)})
    assert derive(before, throttled, 2).waiting == 0.0
    assert derive(before, squeezed, 2).waiting == 0.5
    assert derive(before, squeezed, 2).pressure["cpu"].some == 1.0


COUNT = st.one_of(st.integers(0, 2**63), st.sampled_from(list(Missing)))


@given(st.lists(COUNT, min_size=6, max_size=6), st.lists(COUNT, min_size=6, max_size=6), st.integers(-5, 5))
def test_no_rate_is_ever_negative(old: list[int | Missing], new: list[int | Missing], seconds: int) -> None:
    usage = derive(sample(10, cpu=CpuCounters(*old)), sample(10 + seconds, cpu=CpuCounters(*new)), 2)
    for value in (usage.cpu, usage.cpu_user, usage.cpu_system, usage.throttled, usage.throttled_share):
        assert isinstance(value, Missing) or value >= 0
