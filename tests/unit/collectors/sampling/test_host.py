"""A source of the host's figures that fails is a gap with its reason, and everything else is measured.

The same kind, one reading that takes others down, was looked for in the sweep (each container by itself:
test_sweep_trees), in memory, swap and PSI of the host, and in `stats --once` (tests/unit/cli/test_stats_once.py).
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from collectors.sampling.host import HostReader
from collectors.sampling.sweep import Sweeper
from runtime.model import Missing


def fails(*_: object, **__: object) -> None:
    raise ValueError("not sure how to interpret line '8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14'")


@pytest.mark.parametrize(
    ("function", "gaps"),
    [
        ("disk_io_counters", {"io_read", "io_write"}),
        ("net_io_counters", {"net_rx", "net_tx"}),
        ("cpu_times", {"cpu"}),
        ("virtual_memory", set()),
    ],
)
def test_what_psutil_cannot_read_is_a_gap(function: str, gaps: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, function, fails)
    reader = HostReader()
    reader.read(10**9)
    usage = reader.read(2 * 10**9)
    for name in ("cpu", "io_read", "io_write", "net_rx", "net_tx"):
        assert (getattr(usage, name) is Missing.UNSUPPORTED) == (name in gaps), name
    assert bool(usage.problems) == bool(gaps)
    assert all("not sure how to interpret" in reason for reason in usage.problems.values())
    assert usage.memory_total == int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < usage.memory_used < usage.memory_total


def test_it_is_a_rate_again_when_it_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = HostReader()
    with monkeypatch.context() as broken:
        broken.setattr(psutil, "disk_io_counters", fails)
        reader.read(10**9)
    assert isinstance(reader.read(2 * 10**9).io_read, Missing), "no rate from a counter that was missing"
    assert isinstance(reader.read(3 * 10**9).io_read, float)


def test_the_sweep_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", fails)
    sweeper = Sweeper()
    try:
        assert sweeper.sweep(()).seq == 1
        assert sweeper.sweep(()).host.problems.keys() == {"read", "write"}
    finally:
        sweeper.close()
