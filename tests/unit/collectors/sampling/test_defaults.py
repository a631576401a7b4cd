"""What a value is that nobody gave: every field of samples and frames, with the reason why there is no value yet."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from collectors.sampling import frame, sample
from collectors.sampling.frame import Frame, HostUsage, Usage
from collectors.sampling.sample import CpuCounters, MemoryGauges, PressureTotals, Sample
from runtime.model import Missing

MAPPINGS = {"io_devices", "io_stacked", "net_interfaces", "net_internal", "pressure", "extra"}


@pytest.mark.parametrize(
    "made", [CpuCounters(), MemoryGauges(), PressureTotals()], ids=lambda made: type(made).__name__
)
def test_counters_that_were_not_read_are_unsupported(made: tuple[Any, ...]) -> None:
    assert set(made) == {Missing.UNSUPPORTED}


def test_a_sample_of_nothing() -> None:
    empty = Sample(at_ns=1, generation=2)
    given = {"at_ns": 1, "generation": 2, "net_shared": False, "pressure": {}, "written": None}
    nested = {"cpu": CpuCounters(), "memory": MemoryGauges()}
    for name, value in empty._asdict().items():
        if name in {**given, **nested}:
            assert value == {**given, **nested}[name], name
        elif name in {"retransmits", "backlog"}:  # of busy networks only
            assert value is Missing.NOT_SAMPLED
        elif isinstance(value, tuple):
            assert set(value) == {Missing.UNSUPPORTED}, name
        else:
            assert value is Missing.UNSUPPORTED, name


def test_a_usage_of_nothing() -> None:
    for name, value in Usage(at_ns=1)._asdict().items():
        if name in MAPPINGS:
            assert value == {}, name
        elif name == "net_shared":
            assert value is False
        elif name != "at_ns":
            assert value is Missing.NOT_SAMPLED, name
    assert set(frame.Pressure()) == set(frame.DiskLatency()) == {Missing.NOT_SAMPLED}


@pytest.mark.parametrize("counters", [sample.IoCounters(), sample.NetCounters()], ids=lambda made: type(made).__name__)
def test_counters_of_a_device_begin_at_zero(counters: Any) -> None:
    flags = {"stacked": False, "external": True}
    for name, value in dataclasses.asdict(counters).items():
        assert value == flags.get(name, 0), name


def test_a_host_of_which_nothing_is_known() -> None:
    zero = {"memory_total", "memory_used", "swap_total", "swap_used", "load1"}
    empty: dict[str, object] = {"pressure": {}, "problems": {}, "disks": {}, "programs": ()}
    host = HostUsage(ncpu=3)
    for field in dataclasses.fields(host):
        value = getattr(host, field.name)
        if field.name in zero:
            assert value == 0
        elif field.name in empty:
            assert value == empty[field.name], field.name
        elif field.name != "ncpu":
            assert value is Missing.NOT_SAMPLED, field.name


def test_a_frame_without_problems() -> None:
    assert Frame(1, 2, 3, 4, 5, HostUsage(ncpu=1), usages={}).problems == {}
