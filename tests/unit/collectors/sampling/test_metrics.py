"""The registry of metrics: one entry is a metric everywhere, totals are as declared, positional fields keep order."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import collectors
from collectors.history.rings import History
from collectors.sampling.frame import Frame, HostUsage, IoRates, NetRates, Pressure, Usage
from collectors.sampling.metrics import HOST_METRICS, METRICS, MetricType
from collectors.sampling.sample import CpuCounters, MemoryGauges, PressureTotals, Sample, Sharing
from collectors.sampling.totals import total
from runtime.model import ContainerRef, LimitName, Missing

A, B = ContainerRef("x", "a"), ContainerRef("x", "b")
NUMBERS = {id for id in Usage._fields if id in METRICS} - {"pressure"}
BUSY = Usage(
    at_ns=1,
    **dict.fromkeys(NUMBERS, 2),  # type: ignore[arg-type]
    io=IoRates(2.0, 2.0, 2.0, 2.0),
    net=NetRates(2.0, 2.0, 2.0, 2.0, 2.0, 2.0),
    pressure={name: Pressure(0.5, 0.25) for name in ("cpu", "memory", "io")},
    extra={id: 2.0 for id, metric in METRICS.items() if metric.read is not None},
)
WORKED_OUT = {"cpu_share", "memory_share"}  # of the total's other numbers


def test_one_entry_is_a_metric_everywhere() -> None:
    program = subprocess.run(
        [sys.executable, "-m", "tests.unit.collectors.sampling.one_more_metric"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(collectors.__file__).parents[1],
    )
    found = json.loads(program.stdout)
    assert found["first"] == [None, None, 100]  # a rate needs two samples
    assert found["ring"] == [[None, 10.0], [None, 5.0], [100.0, 100.0]]
    assert found["mean"] == [10.0, 5.0, 100.0]
    assert found["json"] == [[10.0, 5.0, 100], [20.0, None, 200]]  # a container; a group, summed where declared
    assert found["text"] == ["10", "5", "100B"]
    assert found["heads"] == ["periods per s", "throttled periods per s", "peak again"]
    assert found["columns"] == ["peak_again", "periods_per_s", "throttled_periods_per_s"]
    assert found["graphs"] == ["periods_per_s"]


@pytest.mark.parametrize("id", sorted(METRICS))
def test_a_group_has_the_sum_of_what_is_declared_summable_and_nothing_of_the_rest(id: str) -> None:
    found = total({A: BUSY, B: BUSY}, [A, B], {})
    assert found is not None
    value = METRICS[id].extract(found)
    if METRICS[id].summable:
        assert value == 4
    elif id in WORKED_OUT:
        assert value == 1.0
    else:
        assert value is Missing.UNSUPPORTED


def test_every_number_of_a_usage_and_of_the_host_is_in_the_registry() -> None:
    apart = {"at_ns", "io_devices", "io_stacked", "net_interfaces", "net_internal", "net_shared", "pressure", "extra"}
    no_numbers = {"cpu_idle", "cpus"}
    assert set(Usage._fields) - apart - no_numbers - {"io", "net"} == NUMBERS
    assert set(HostUsage.__dataclass_fields__) - {"pressure", "problems", "disks", "programs"} <= set(HOST_METRICS)
    assert all(METRICS[id].extract(BUSY) is not Missing.NOT_SAMPLED for id in METRICS)


def test_what_the_history_keeps_and_what_it_does_not() -> None:
    history = History(4)
    history.push(Frame(1, 1, 1, 1, 0, HostUsage(ncpu=2), usages={A: BUSY}))
    for id, metric in METRICS.items():
        assert metric.history or not metric.drawn
        if metric.history:
            assert history.series(A, id).values == [pytest.approx(metric.extract(BUSY))]
        else:
            with pytest.raises(KeyError):
                history.series(A, id)
    for id, metric in HOST_METRICS.items():
        if metric.history:
            history.host_series(id)


def test_limits_by_which_drift_is_noticed_are_gauges() -> None:
    limits = {metric.limit: metric for metric in METRICS.values() if metric.limit is not None}
    assert limits.keys() == {LimitName.CPUS, LimitName.MEMORY, LimitName.PIDS}
    assert all(metric.type is MetricType.GAUGE for metric in limits.values())


def test_the_fields_that_are_filled_by_position_are_in_this_order() -> None:
    assert Sample._fields == (
        *("at_ns", "generation", "cpu", "cpu_limit", "memory", "pids", "pids_limit"),
        *("io", "net", "net_shared", "pressure", "written", "sharing", "retransmits", "backlog"),
    )
    assert Usage._fields == (
        *("at_ns", "cpu", "cpu_user", "cpu_system", "cpu_limit", "throttled", "throttled_share"),
        *("memory", "working_set", "anon", "file", "shared", "swap", "memory_peak", "memory_limit", "oom_kills"),
        *("pids", "pids_limit", "io", "io_devices", "io_stacked", "net", "net_interfaces", "net_internal"),
        *("net_shared", "pressure", "waiting", "extra", "refaults", "major_faults"),
        *("cpu_weight", "cpu_idle", "cpus", "io_weight", "retransmits", "backlog"),
    )
    assert Sharing._fields == ("cpu_weight", "cpu_idle", "cpus", "io_weight")
    assert CpuCounters._fields == (
        *("usage_ns", "user_ns", "system_ns", "periods", "throttled_periods", "throttled_ns"),
    )
    assert MemoryGauges._fields == (
        *("current", "working_set", "anon", "file", "shared", "swap", "peak", "limit", "oom_kills"),
        *("refaults", "major_faults"),
    )
    assert PressureTotals._fields == ("some_ns", "full_ns")


def test_only_sample_and_usage_are_made_with_more_than_six_positional_arguments() -> None:
    found = set()
    for path in Path(collectors.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 6:
                found.add(node.func.id)
            if isinstance(node, ast.FunctionDef) and node.name == "__init__" and len(node.args.args) > 7:
                found.add(f"{path}:{node.lineno}")
    assert found == {"Sample", "Usage"}
