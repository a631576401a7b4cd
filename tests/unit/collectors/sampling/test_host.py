"""A source of the host's figures that fails is a gap with its reason, and everything else is measured.

The same kind, one reading that takes others down, was looked for in the sweep (each container by itself:
test_sweep_trees), in memory, swap and PSI of the host, and in `stats --once` (tests/unit/cli/test_stats_once.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from collectors.sampling.frame import DiskLatency
from collectors.sampling.host import SYSCTL_INTERVAL_S, HostReader, processor_times
from collectors.sampling.host_disks import NO_REQUESTS, DiskstatsParser, latencies
from collectors.sampling.sweep import Sweeper
from runtime.kernel.cgroupfs import Hierarchies, Mode
from runtime.model import Missing

S_NS = 10**9
STAT = "cpu  100 10 50 900 70 5 6 8 3 2\ncpu0 100 10 50 900 70 5 6 8 3 2\nintr 5 0\nprocesses 70\nprocs_running 1\n"
GOOD: Mapping[str, str] = {
    "stat": STAT,
    "diskstats": " 8 0 sda 10 0 100 30 20 0 200 60 0 50 90 0 0 0 0 0 0\n 7 0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
    "loadavg": "0.50 0.40 0.30 2/345 6789\n",
    "sys/kernel/pid_max": "4194304\n",
    "sys/kernel/threads-max": "9000\n",
    "meminfo": "MemTotal: 4096 kB\nMemAvailable: 1024 kB\n",
}
GAPS: Mapping[str, set[str]] = {
    "stat": {"cpu", "steal", "forks"},
    "diskstats": {"io_read", "io_write"},
    "loadavg": {"tasks"},
    "sys/kernel/pid_max": {"tasks_limit"},
    "sys/kernel/threads-max": {"tasks_limit"},
    "meminfo": set(),
}
WITH_REASON = {"stat", "diskstats"}
BAD = (
    "",
    "\n",
    "nonsense\n",
    "cpu  1 2\n",
    "cpu  1 2 3 4 5 6 7 x\nprocesses 1\n",
    "8 0 sda 1 2\n",
    "\xff\xfe 1 2 3 4\n",
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def fails(*_: object, **__: object) -> None:
    raise ValueError("not sure how to interpret line 'eth0: 1 2 3'")


def check(reader: HostReader, gaps: set[str], *, reasons: bool) -> None:
    reader.read(S_NS)
    usage = reader.read(2 * S_NS)
    for name in ("cpu", "steal", "forks", "io_read", "io_write", "net_rx", "net_tx", "tasks", "tasks_limit"):
        assert (getattr(usage, name) is Missing.UNSUPPORTED) == (name in gaps), name
    assert bool(usage.problems) == reasons
    assert ("8:0" in usage.disks) == ("io_read" not in gaps)
    assert usage.load1 == (0.0 if "tasks" in gaps else 0.5)


def test_every_source_is_read(proc: Path) -> None:
    check(HostReader(proc), set(), reasons=False)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("text", [*BAD, None])
def test_what_cannot_be_read_is_a_gap(name: str, text: str | None, proc: Path) -> None:
    if text is None:
        (proc / name).unlink()
    else:
        (proc / name).write_bytes(text.encode("latin-1"))
    gaps = GAPS[name]
    if name == "diskstats" and text is not None and not text.strip():
        check_no_disks(HostReader(proc))
        return
    check(HostReader(proc), gaps, reasons=name in WITH_REASON)


def check_no_disks(reader: HostReader) -> None:
    """A host without block devices has an empty file."""
    reader.read(S_NS)
    usage = reader.read(2 * S_NS)
    assert (usage.io_read, usage.disks, usage.problems) == (0.0, {}, {})


def test_what_psutil_cannot_read_is_a_gap(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_io_counters", fails)
    check(HostReader(proc), {"net_rx", "net_tx"}, reasons=True)


def test_the_figures_of_this_machine_are_plausible() -> None:
    reader = HostReader()
    reader.read(S_NS)
    usage = reader.read(2 * S_NS)
    assert usage.memory_total == int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < usage.memory_used < usage.memory_total
    assert isinstance(usage.tasks, int)
    assert isinstance(usage.tasks_limit, int)
    assert len(os.listdir("/proc/self/task")) < usage.tasks < usage.tasks_limit
    times = processor_times(Path("/proc/stat").read_bytes())
    ours = psutil.cpu_times()
    busy_s = ours.user + ours.nice + ours.system + ours.irq + ours.softirq
    assert times["cpu"] / S_NS == pytest.approx(busy_s, abs=5.0)
    assert times["steal"] / S_NS == pytest.approx(ours.steal, abs=5.0)


def test_it_is_a_rate_again_when_it_can_be_read_again(proc: Path) -> None:
    reader = HostReader(proc)
    (proc / "diskstats").write_text("nonsense\n")
    reader.read(S_NS)
    (proc / "diskstats").write_text(GOOD["diskstats"])
    again = reader.read(2 * S_NS)
    assert isinstance(again.io_read, Missing), "no rate from a counter that was missing"
    assert again.disks == {"8:0": DiskLatency()}
    usage = reader.read(3 * S_NS)
    assert isinstance(usage.io_read, float)
    assert usage.disks == {"8:0": NO_REQUESTS}


def test_the_sweep_goes_on(proc: Path) -> None:
    (proc / "diskstats").write_text("nonsense\n")
    sweeper = Sweeper(Hierarchies(Mode.NONE), proc)
    try:
        assert sweeper.sweep(()).seq == 1
        assert sweeper.sweep(()).host.problems.keys() == {"read", "write"}
    finally:
        sweeper.close()


def test_the_limits_of_tasks_are_read_now_and_then(proc: Path) -> None:
    reader = HostReader(proc)
    assert reader.read(S_NS).tasks_limit == 9000
    (proc / "sys/kernel/pid_max").write_text("500\n")
    assert reader.read(2 * S_NS).tasks_limit == 9000
    assert reader.read(S_NS + round(SYSCTL_INTERVAL_S * S_NS)).tasks_limit == 500


def line(minor: int, name: str, *figures: int) -> bytes:
    reads, got, read_ms, writes, put, write_ms, busy_ms, queue_ms = figures
    return f" 8 {minor} {name} {reads} 0 {got} {read_ms} {writes} 0 {put} {write_ms} 0 {busy_ms} {queue_ms}\n".encode()


def test_a_disk_is_parsed_only_when_its_line_has_changed() -> None:
    parser = DiskstatsParser()
    first = parser.parse(line(0, "sda", 1, 2, 3, 4, 5, 6, 7, 8) + line(16, "sdb", 1, 2, 3, 4, 5, 6, 7, 8))
    second = parser.parse(line(0, "sda", 1, 2, 3, 4, 5, 6, 7, 8) + line(16, "sdb", 2, 2, 3, 4, 5, 6, 7, 8))
    assert second["8:0"] is first["8:0"]
    assert second["8:16"].reads == 2
    assert (second["8:16"].read_bytes, second["8:16"].write_bytes) == (1024, 2560)
    assert latencies(first, second, 1.0)["8:0"] is NO_REQUESTS


def test_a_disk_that_is_new_replaced_or_counts_anew_has_no_latency() -> None:
    parser = DiskstatsParser()
    first = parser.parse(line(0, "sda", 9, 9, 9, 9, 9, 9, 9, 9))
    assert latencies({}, first, 1.0) == {"8:0": DiskLatency()}
    other = parser.parse(line(0, "sdz", 10, 10, 10, 10, 10, 10, 10, 10))
    assert latencies(first, other, 1.0) == {"8:0": DiskLatency()}
    fallen = parser.parse(line(0, "sda", 1, 1, 1, 1, 1, 1, 1, 1))
    assert latencies(first, fallen, 1.0) == {"8:0": DiskLatency()}


def test_a_request_under_way_counts_before_it_has_finished() -> None:
    parser = DiskstatsParser()
    first = parser.parse(line(0, "sda", 1, 0, 0, 0, 0, 0, 0, 0))
    stuck = parser.parse(line(0, "sda", 1, 0, 0, 0, 0, 0, 2000, 4000))
    assert latencies(first, stuck, 2.0) == {"8:0": DiskLatency(queue=2.0, busy=1.0)}
