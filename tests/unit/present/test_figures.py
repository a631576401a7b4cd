"""Every figure that is shown, from the raw files at two moments to the text in its cell.

For cgroup v1, v2 and hybrid hosts, and for the host's line. Every counter grows by another amount, so that no figure is
right by another one's numbers. A metric or a column that is added needs an entry here. What is shown apart and the sums
of groups are at the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from collectors.sampling import block_layers, totals
from collectors.sampling.block_layers import BlockLayers
from collectors.sampling.congestion import CongestionReader
from collectors.sampling.frame import DiskLatency, HostUsage, NetRates, Usage
from collectors.sampling.host import HostReader
from collectors.sampling.metrics import HOST_METRICS, METRICS
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.kernel.cpu_weight import weight_to_shares
from runtime.model import Container, ContainerRef, GroupKind, GroupRef, Missing, State
from tui.cli import output
from tui.cli.stats import as_json
from tui.present.fields import FIELDS
from tui.present.glyphs import UNICODE
from tui.present.summary import machine_parts
from tui.present.units import UNITS

S_NS = 1_000_000_000
INTERVAL_S = 2
PID, HOST_NET, OWN_NET = 4242, 1, 77
KIB, MIB = 1 << 10, 1 << 20
REF = ContainerRef("docker", "0123456789abcdef")

PSI = "some avg10=9.00 avg60=9.00 avg300=9.00 total={}\nfull avg10=9.00 avg60=9.00 avg300=9.00 total={}\n"
STALLS = (  # us at the two moments; of 2 s: 60 and 25, 5 and 2, 35 and 18 percent
    ("cpu.pressure", (1_000, 500), (1_201_000, 500_500)),
    ("memory.pressure", (2_000, 1_000), (102_000, 41_000)),
    ("io.pressure", (3_000, 1_500), (703_000, 361_500)),
)
TIMES = (  # without a controller
    "usage_usec 1000000\nuser_usec 700000\nsystem_usec 300000\n",
    "usage_usec 4000000\nuser_usec 2700000\nsystem_usec 1300000\n",
)
UNIFIED = tuple({"cpu.stat": TIMES[i], **{file: PSI.format(*moment[i]) for file, *moment in STALLS}} for i in (0, 1))


def io_stat(*lines: tuple[str, int, int, int, int]) -> str:
    return "".join(f"{n} rbytes={r} wbytes={w} rios={ro} wios={wo} dbytes=7 dios=7\n" for n, r, w, ro, wo in lines)


def blkio(*lines: tuple[str, int, int]) -> str:
    each = (f"{n} Read {r}\n{n} Write {w}\n{n} Sync 1\n{n} Async 2\n{n} Total {r + w}\n" for n, r, w in lines)
    return "".join(each) + "Total 999\n"


V2: tuple[Mapping[str, str], ...] = (
    {
        "cgroup.controllers": "cpuset cpu io memory pids\n",
        "cpu.stat": "usage_usec 1000000\nuser_usec 700000\nsystem_usec 300000\nnr_periods 10\nnr_throttled 1\n"
        "throttled_usec 200000\nnr_bursts 0\nburst_usec 0\n",
        "cpu.max": "250000 100000\n",
        "cpu.weight": "50\n",
        "io.weight": "default 300\n",
        "memory.current": f"{100 * MIB}\n",
        "memory.stat": f"anon {40 * MIB}\nfile {30 * MIB}\nshmem {5 * MIB}\ninactive_file {9 * MIB}\n"
        "workingset_refault_anon 1\nworkingset_refault_file 2\npgmajfault 3\n",
        "memory.swap.current": f"{3 * MIB}\n",
        "memory.peak": f"{150 * MIB}\n",
        "memory.max": f"{400 * MIB}\n",
        "memory.events": "low 0\nhigh 8\nmax 9\noom 4\noom_kill 1\noom_group_kill 0\n",
        "pids.current": "11\n",
        "pids.max": "100\n",
        "io.stat": io_stat(("8:0", 1000, 2000, 3, 4), ("8:16", 100, 200, 1, 2), ("253:0", 50, 60, 7, 8)),
    },
    {
        "cgroup.controllers": "cpuset cpu io memory pids\n",
        "cpu.stat": "usage_usec 4000000\nuser_usec 2700000\nsystem_usec 1300000\nnr_periods 30\nnr_throttled 6\n"
        "throttled_usec 1000000\nnr_bursts 0\nburst_usec 0\n",
        "cpu.max": "250000 100000\n",
        "cpu.weight": "50\n",
        "io.weight": "default 300\n",
        "memory.current": f"{200 * MIB}\n",
        "memory.stat": f"anon {90 * MIB}\nfile {92 * MIB}\nkernel {MIB}\nshmem {12 * MIB}\ninactive_file {50 * MIB}\n"
        "workingset_refault_anon 101\nworkingset_refault_file 202\npgmajfault 63\n",
        "memory.swap.current": f"{7 * MIB}\n",
        "memory.peak": f"{300 * MIB}\n",
        "memory.max": f"{400 * MIB}\n",
        "memory.events": "low 0\nhigh 8\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n",
        "pids.current": "17\n",
        "pids.max": "100\n",
        "io.stat": io_stat(
            ("8:0", 1000 + 8 * MIB, 2000 + 600 * KIB, 3 + 20, 4 + 10),
            ("8:16", 100 + 2 * MIB, 200 + 200 * KIB, 1 + 2, 2 + 4),
            ("253:0", 50 + 8 * MIB, 60 + 600 * KIB, 7 + 20, 8 + 10),
        ),
    },
)
SHARES = weight_to_shares(50)
V1: tuple[Mapping[str, Mapping[str, str]], ...] = tuple(
    {
        "cpu": {
            "cpu.stat": f"nr_periods {periods}\nnr_throttled {cut}\nthrottled_time {held}\n",
            "cpu.cfs_quota_us": "250000\n",
            "cpu.cfs_period_us": "100000\n",
            "cpu.shares": f"{SHARES}\n",
        },
        "cpuacct": {"cpuacct.usage": f"{usage}\n", "cpuacct.stat": f"user {user}\nsystem {system}\n"},
        "memory": {
            "memory.usage_in_bytes": f"{current * MIB}\n",
            "memory.max_usage_in_bytes": f"{peak * MIB}\n",
            "memory.stat": f"cache 1\nrss 2\nshmem 3\nswap 4\nhierarchical_memory_limit {400 * MIB}\n"
            f"total_cache {cache * MIB}\ntotal_rss {rss * MIB}\ntotal_shmem {shared * MIB}\ntotal_swap {swap * MIB}\n"
            f"total_inactive_file {inactive * MIB}\ntotal_pgmajfault {faults}\ntotal_workingset_refault_anon {again}\n"
            f"total_workingset_refault_file {2 * again}\n",
            "memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
        },
        "pids": {"pids.current": f"{pids}\n", "pids.max": "100\n"},
        "blkio": {
            "blkio.throttle.io_service_bytes_recursive": blkio(
                ("8:0", 1000 + r, 2000 + w), ("8:16", 100 + r // 4, 200 + w // 3), ("253:0", 50 + r, 60 + w)
            ),
            "blkio.throttle.io_serviced_recursive": blkio(("8:0", 3, 4), ("8:16", 1, 2), ("253:0", 7, 8)),
            "blkio.weight": "300\n",
        },
    }
    for periods, cut, held, usage, user, system, current, peak, cache, rss, shared, swap, inactive, kills, pids, r, w, again, faults in (  # noqa: E501
        (10, 1, 200_000_000, S_NS, 70, 30, 100, 150, 30, 40, 5, 3, 9, 1, 11, 0, 0, 1, 3),
        (30, 6, S_NS, 4 * S_NS, 270, 130, 200, 300, 92, 90, 12, 7, 50, 3, 17, 8 * MIB, 600 * KIB, 101, 63),
    )
)
WRITTEN = (5 * MIB, 11 * MIB)  # by the container's process, in /proc/PID/io

PRESSURES = ("cpu", "memory", "io")
CELLS: Mapping[str, str] = {
    "state": "unhealthy",
    "restarts": "2",
    "name": "web",
    "image": "nginx:1",
    "engine": "docker",
    "group": "shop",
    "id": "0123456789ab",
    "addresses": "172.17.0.5 fd00::5",
    "cpu": "1.50",
    "cpu_user": "1.00",
    "cpu_system": "0.50",
    "cpu_limit": "2.50",
    "cpu_share": "60%",
    "throttled_share": "25%",
    "throttled": "0.40",
    "cpu_weight": "50",
    "waiting": "15%",  # 25% less what its own limit held back on each of 4 processors
    "memory": "200M",
    "memory_limit": "400M",
    "memory_share": "50%",
    "working_set": "150M",
    "anon": "90M",
    "file": "80M",
    "shared": "12M",
    "swap": "7.0M",
    "memory_peak": "300M",
    "oom_kills": "3",
    "refaults": "150",
    "major_faults": "30",
    "net_rx": "3.0M",
    "net_tx": "700K",
    "retransmits": "30",
    "backlog": "3.0K",
    "io_read": "5.0M",
    "io_write": "400K",
    "io_weight": "300",
    "pids": "17",
    "pids_limit": "100",
    "pressure": "60%",
    "pressure_cpu": "60%",
    "pressure_memory": "5%",
    "pressure_io": "35%",
    "pressure_cpu_full": "25%",
    "pressure_memory_full": "2%",
    "pressure_io_full": "18%",
    "up": "3h",
}
"""What stands in each column, of v2 files; below, where another layout differs."""
OF_V1 = {"io_write": "3.0M"}  # what its processes wrote: the kernel charges a part of it only
NO_PSI = dict.fromkeys(
    ("waiting", "pressure", *(f"pressure_{n}{full}" for n in PRESSURES for full in ("", "_full"))), "-"
)
EXPECTED: Mapping[Mode, Mapping[str, str]] = {
    Mode.V2: CELLS,
    Mode.HYBRID: {**CELLS, **OF_V1},
    Mode.V1: {**CELLS, **OF_V1, **NO_PSI},
}
CONTAINER = Container(
    ref=REF,
    name="web",
    image="nginx:1",
    state=State.RUNNING,
    health="unhealthy",
    restarts=2,
    pid=PID,
    group=GroupRef(GroupKind.COMPOSE, "shop", "docker"),
    addresses=("172.17.0.5", "fd00::5"),
)


class Machine:
    """A cgroup tree, a /proc and a /sys with one container, at the first of the two moments."""

    def __init__(self, root: Path, mode: Mode) -> None:
        self.proc, self.sys, self._mode = root / "proc", root / "sys", mode
        unified = root / "cgroup" if mode is Mode.V2 else root / "cgroup/unified"
        self._unified = None if mode is Mode.V1 else unified / "box"
        self._v1 = {} if mode is Mode.V2 else {name: root / "cgroup" / name / "box" for name in V1[0]}
        for directory in (*self._v1.values(), *([self._unified] if self._unified else [])):
            directory.mkdir(parents=True)
        for name in self._v1:
            (self._v1[name] / "cgroup.procs").write_text(f"{PID}\n")
        mounts = {name: Mount(path.parent) for name, path in self._v1.items()}
        self.hierarchies = Hierarchies(mode, mounts, Mount(unified) if self._unified else None)
        lines = [f"{n}:{name}:/box" for n, name in enumerate(self._v1, 1)] + (["0::/box"] if self._unified else [])
        for pid, net in ((1, HOST_NET), (PID, OWN_NET)):
            (self.proc / str(pid) / "ns").mkdir(parents=True)
            (self.proc / str(pid) / "ns/net").symlink_to(f"net:[{net}]")
            (self.proc / str(pid) / "net").mkdir()
            (self.proc / str(pid) / "cgroup").write_text("\n".join(lines) + "\n")
        for number, below in (("8:0", ()), ("8:16", ()), ("253:0", ("sda",))):
            (self.sys / "dev/block" / number / "slaves").mkdir(parents=True)
            for each in below:
                (self.sys / "dev/block" / number / "slaves" / each).mkdir()
        self.at(0)

    def at(self, moment: int) -> None:
        """Write every file as it is at a moment, 0 or 1."""
        for name, directory in self._v1.items():
            for file, text in V1[moment][name].items():
                (directory / file).write_text(text)
        if self._unified is not None:
            for file, text in {**UNIFIED[moment], **(V2[moment] if self._mode is Mode.V2 else {})}.items():
                (self._unified / file).write_text(text)
        self.carry(moment)
        io = f"rchar: 1\nwchar: 2\nread_bytes: {99 * MIB * moment}\nwrite_bytes: {WRITTEN[moment]}\n"
        (self.proc / str(PID) / "io").write_text(io + "cancelled_write_bytes: 0\n")

    def carry(self, moment: int) -> None:
        """Write the files of the network as they are at a moment; -1 is the one before."""
        rx, tx = (f"{100 + moment * n * 20} {10 + moment * n * 2} {20 + moment * n * 6}" for n in (1, 3))
        base = 10 * MIB
        rows = (
            f"  eth0:{base + moment * 6 * MIB} {rx} 0 0 0 0 {base + moment * 1400 * KIB} {tx} 0 0 0 0",
            f"docker0: {base + moment * 4 * MIB} 10 1 2 0 0 0 0 {base + moment * 2 * MIB} 20 3 4 0 0 0 0",
            f"    lo: {base + moment * 9 * MIB} 10 0 0 0 0 0 0 {base + moment * 9 * MIB} 20 0 0 0 0 0 0",
        )
        dev = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n" + "\n".join(rows) + "\n"
        (self.proc / str(PID) / "net/dev").write_text(dev)
        segments = f"Tcp: OutSegs RetransSegs InErrs\nTcp: 9 {100 + moment * 60} 8\n"
        (self.proc / str(PID) / "net/snmp").write_text("Ip: Forwarding\nIp: 1\n" + segments)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """CLOCK_MONOTONIC, set by hand."""
    now = SimpleNamespace(ns=100 * S_NS)
    monkeypatch.setattr(time, "monotonic_ns", lambda: now.ns)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return now


def measure(machine: Machine, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> tuple[Usage, object]:
    """The usage over the interval between the two moments, and the frame that it is in.

    A network is known to be busy after it has carried something. The queues are asked of the kernel, by netlink.
    """
    monkeypatch.setattr(block_layers, "LAYERS", BlockLayers(machine.sys))
    monkeypatch.setattr(CongestionReader, "_backlog", lambda *_: 3 * KIB)
    sweeper = Sweeper(machine.hierarchies, machine.proc)
    try:
        target = Target(REF, PID)
        machine.carry(-1)
        assert not sweeper.sweep([target]).problems
        machine.carry(0)
        clock.ns += INTERVAL_S * S_NS
        assert not sweeper.sweep([target]).problems
        machine.at(1)
        clock.ns += INTERVAL_S * S_NS
        frame = sweeper.sweep([target])
    finally:
        sweeper.close()
    assert not frame.problems
    return frame.usages[REF], frame


@pytest.mark.parametrize("mode", EXPECTED, ids=str)
def test_every_cell_is_what_the_files_say(
    mode: Mode, tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, frame = measure(Machine(tmp_path, mode), clock, monkeypatch)
    container = replace(CONTAINER, started_ns=time.time_ns() - 3 * 3600 * S_NS)
    cells = {id: field.format(field.extract(container, usage)) for id, field in FIELDS.items()}
    assert cells == EXPECTED[mode]
    (document,) = as_json(frame, [container], {})["containers"]
    for id, metric in METRICS.items():
        assert document[id] == output.plain(metric.extract(usage)), id


def test_the_figures_are_the_same_when_descriptors_are_scarce(
    tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are opened for each read then."""
    monkeypatch.setattr("collectors.sampling.tracking.can_keep_open", lambda _: False)
    usage, _ = measure(Machine(tmp_path, Mode.V2), clock, monkeypatch)
    container = replace(CONTAINER, started_ns=time.time_ns() - 3 * 3600 * S_NS)
    assert {id: field.format(field.extract(container, usage)) for id, field in FIELDS.items()} == CELLS


def test_no_figure_is_without_an_entry() -> None:
    assert set(CELLS) == set(FIELDS)
    assert set(METRICS) <= set(CELLS)
    assert set(HOST_CELLS) == set(HOST_METRICS)


def test_what_is_carried_by_something_else_is_shown_apart(
    tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, frame = measure(Machine(tmp_path, Mode.V2), clock, monkeypatch)
    (document,) = as_json(frame, [CONTAINER], {})["containers"]
    assert document["interfaces"] == [
        {"name": "eth0", "added": True, "net_rx": 3.0 * MIB, "net_tx": 700.0 * KIB},
        {"name": "docker0", "added": False, "net_rx": 2.0 * MIB, "net_tx": 1.0 * MIB},
    ]
    assert document["devices"] == [
        {"number": "8:0", "added": True, "io_read": 4.0 * MIB, "io_write": 300.0 * KIB},
        {"number": "8:16", "added": True, "io_read": 1.0 * MIB, "io_write": 100.0 * KIB},
        {"number": "253:0", "added": False, "io_read": 4.0 * MIB, "io_write": 300.0 * KIB},
    ]


def test_errors_packets_and_operations(tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """No column has them yet; they are in the frame."""
    machine = Machine(tmp_path, Mode.V2)
    usage, _ = measure(machine, clock, monkeypatch)
    assert (usage.io.read_ops, usage.io.write_ops) == (11.0, 7.0)
    assert isinstance(usage.net, NetRates)
    assert usage.net == NetRates(3.0 * MIB, 700.0 * KIB, 10.0, 30.0, 4.0, 12.0)


def test_a_group_is_the_sum_of_its_members(
    tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, _ = measure(Machine(tmp_path, Mode.V2), clock, monkeypatch)
    other = ContainerRef("docker", "other")
    whole = totals.total({REF: usage, other: usage}, [REF, other], {REF: 1, other: 2})
    shared = totals.total({REF: usage, other: usage}, [REF, other], {REF: 1, other: 1})
    for id, metric in METRICS.items():
        value = metric.extract(usage)
        if metric.summable:
            assert metric.extract(whole) == pytest.approx(2 * value), id
            assert metric.extract(shared) == pytest.approx(value if id.startswith("net") else 2 * value), id
    assert whole.io_devices["8:0"].read_bytes == 8.0 * MIB
    assert whole.io_stacked["253:0"].write_bytes == 600.0 * KIB
    denied = usage._replace(io=replace(usage.io, write_bytes=Missing.DENIED))
    partly = totals.total({REF: usage, other: denied}, [REF, other], {})
    assert (partly.io.read_bytes, partly.io.write_bytes) == (10.0 * MIB, Missing.DENIED)


DISKS = (  # KiB read and written; a sector has 512 bytes
    ("sda", 8 * KIB, 600),
    ("sda1", 8 * KIB, 600),
    ("sdb", 2 * KIB, 200),
    ("dm-0", 8 * KIB, 600),
    ("loop0", KIB, 100),
)
HOST_CELLS: Mapping[str, str] = {
    "ncpu": "4.00",
    "cpu": "1.75",
    "steal": "3.00",
    "tasks": "345",
    "tasks_limit": "9000",
    "forks": "25",
    "memory_total": "8.0G",
    "memory_used": "5.0G",
    "swap_total": "2.0G",
    "swap_used": "512M",
    "load1": "2",
    "net_rx": "3.0M",
    "net_tx": "700K",
    "io_read": "5.0M",
    "io_write": "400K",
    "pressure_cpu": "60%",
    "pressure_memory": "5%",
    "pressure_io": "35%",
    "pressure_cpu_full": "25%",
    "pressure_memory_full": "2%",
    "pressure_io_full": "18%",
}


@pytest.fixture
def host(tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> HostUsage:
    """The usage of a host between two moments, from a /proc and a /sys of files."""
    proc, sys = tmp_path / "proc", tmp_path / "sys"
    for device in ("class/net/eth0", "block/sda", "block/sdb"):
        (sys / device / "device").mkdir(parents=True)
    for device in ("class/net/docker0", "class/net/veth1", "block/dm-0", "block/loop0"):
        (sys / device).mkdir(parents=True)
    (proc / "net").mkdir(parents=True)
    (proc / "pressure").mkdir()
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
    (proc / "loadavg").write_text("2.40 9.00 9.00 3/345 6789\n")
    (proc / "sys/kernel").mkdir(parents=True)
    (proc / "sys/kernel/pid_max").write_text("32768\n")
    (proc / "sys/kernel/threads-max").write_text("9000\n")
    reader = HostReader(proc, sys)

    def at(moment: int) -> None:
        ticks = (100, 10, 50, 900, 70, 5, 6, 8, 3, 2)  # user nice system idle iowait irq softirq steal guest guest_nice
        grown = (200, 20, 100, 800, 400, 10, 20, 600, 90, 10)
        times = " ".join(str(tick + moment * more) for tick, more in zip(ticks, grown, strict=True))
        (proc / "stat").write_text(f"cpu  {times}\ncpu0 {times}\nbtime 1\nprocesses {70 + 50 * moment}\n")
        (proc / "meminfo").write_text(
            f"MemTotal: {8 << 20} kB\nMemFree: {1 << 20} kB\nMemAvailable: {3 << 20} kB\n"
            f"SwapTotal: {2 << 20} kB\nSwapFree: {3 << 19} kB\n"
        )
        (proc / "net/dev").write_text(
            "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n"
            f"  eth0: {10 + moment * 6 * MIB} 1 0 0 0 0 0 0 {20 + moment * 1400 * KIB} 1 0 0 0 0 0 0\n"
            f"docker0: {10 + moment * 6 * MIB} 1 0 0 0 0 0 0 {20 + moment * MIB} 1 0 0 0 0 0 0\n"
            f" veth1: {10 + moment * 6 * MIB} 1 0 0 0 0 0 0 {20 + moment * MIB} 1 0 0 0 0 0 0\n"
        )
        (proc / "diskstats").write_text(
            "".join(
                f" 8 {minor} {name} {1 + 10 * moment} 0 {100 + moment * read * 2} {1 + 25 * moment} {1 + 4 * moment} 0 "
                f"{200 + moment * written * 2} {1 + 30 * moment} 0 {1 + 500 * moment} {1 + 3000 * moment} 0 0 0 0 0 0\n"
                for minor, (name, read, written) in enumerate(DISKS)
            )
        )
        for file, *stalls in STALLS:
            (proc / "pressure" / file.partition(".")[0]).write_text(PSI.format(*stalls[moment]))

    at(0)
    reader.read(clock.ns)
    at(1)
    return reader.read(clock.ns + INTERVAL_S * S_NS)


def test_every_figure_of_the_host_is_what_the_files_say(host: HostUsage) -> None:
    assert not host.problems
    assert {id: UNITS[metric.unit].show(metric.extract(host)) for id, metric in HOST_METRICS.items()} == HOST_CELLS


def test_what_each_disk_did(host: HostUsage) -> None:
    """Of 2 s: 10 reads in 25 ms, 4 writes in 30 ms, 500 ms busy, 3000 ms of all requests together."""
    assert host.disks == {f"8:{minor}": DiskLatency(2.5, 7.5, 1.5, 0.25) for minor in range(len(DISKS))}


def test_the_host_s_line(host: HostUsage) -> None:
    session = SimpleNamespace(read_only=False, frame=SimpleNamespace(host=host))
    assert machine_parts(session, UNICODE) == [
        "cpu 1.75/4 cores",
        "mem 5.0G/8.0G",
        "load 2.4",
        "psi cpu 60% mem 5% io 35%",
        "swap 512M",
        "net in 3.0M",
        "out 700K",
        "disk read 5.0M",
        "write 400K",
    ]
