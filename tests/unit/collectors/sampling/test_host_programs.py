"""Which programs outside the containers are found, in a /proc of files: who, how much, of which unit, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from collectors.sampling import host_programs
from collectors.sampling.frame import HostProgram, HostUsage, IoRates, Pressure, Usage
from collectors.sampling.host_programs import HostPrograms, Places, unit_of, unmeasured_cpu, unmeasured_io, waits
from collectors.sampling.parse import NS_PER_TICK
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.model import ContainerRef, GroupKind, GroupRef, Missing
from tests.unit.collectors.sampling.test_sweep_trees import PID, PRESSURE, Tree

S_NS = 1_000_000_000
TICKS_PER_S = S_NS // NS_PER_TICK
KTHREAD, USUAL = 0x00200040, 0x00400000
BOX = Path("/sys/fs/cgroup/box")
PLACES = Places(frozenset({str(BOX)}), frozenset())
HIERARCHIES = Hierarchies(Mode.V2, {}, Mount(Path("/sys/fs/cgroup")))


class Processes:
    """A /proc of files."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc

    def write(
        self,
        pid: int,
        ticks: int = 0,
        *,
        name: str = "prog",
        cgroup: str = "0::/system.slice/cron.service\n",
        start: int = 50,
        flags: int = USUAL,
        policy: int = 0,
        parent: int = 1,
    ) -> None:
        home = self.proc / str(pid)
        home.mkdir(parents=True, exist_ok=True)
        rest = f"S {parent} 1 1 0 -1 {flags} 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {start} " + "0 " * 18 + f"{policy} 0 0\n"
        (home / "stat").write_text(f"{pid} ({name}) {rest}")
        (home / "cgroup").write_text(cgroup)
        (home / "status").write_text(f"Name:\t{name}\nCpus_allowed:\tf\nCpus_allowed_list:\t0-1,3\nMems_allowed:\t1\n")

    def bytes(self, pid: int, read: int, written: int) -> None:
        text = f"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: {read}\nwrite_bytes: {written}\n"
        (self.proc / str(pid) / "io").write_text(text + "cancelled_write_bytes: 0\n")


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: 100 * NS_PER_TICK)
    (tmp_path / "sys").mkdir()
    return Processes(tmp_path)


@pytest.fixture
def programs(processes: Processes) -> HostPrograms:
    return HostPrograms(HIERARCHIES, processes.proc)


def names(programs: HostPrograms) -> list[str]:
    return [each.name for each in programs.found]


def test_who_uses_how_much_and_where_it_belongs(processes: Processes, programs: HostPrograms) -> None:
    processes.write(10, 500, name="evil) R 7 (x", policy=5)
    processes.write(11, 100, name="kswapd0", flags=KTHREAD, cgroup="0::/\n")
    processes.write(12, 700, cgroup="0::/box\n", name="of a container")
    processes.write(13, 700, cgroup="0::/box/inner\n", name="below it")
    processes.write(14, 900, name="stands still")
    programs.scan(S_NS, PLACES, io=False)
    assert programs.found == (), "one scan makes no rate"
    for pid, name, flags, cgroup, policy in (
        (10, "evil) R 7 (x", USUAL, "0::/system.slice/cron.service\n", 5),
        (11, "kswapd0", KTHREAD, "0::/\n", 0),
    ):
        processes.write(pid, 500 + 2 * TICKS_PER_S, name=name, flags=flags, cgroup=cgroup, policy=policy)
    processes.write(12, 9000, cgroup="0::/box\n", name="of a container")
    programs.scan(3 * S_NS, PLACES, io=False)
    assert programs.found == (
        HostProgram(pid=11, name="[kswapd0]", unit="", cpu=3.0, cpus=frozenset({0, 1, 3})),
        HostProgram(
            pid=10, name="evil) R 7 (x", unit="cron.service", cpu=1.0, cpus=frozenset({0, 1, 3}), idle_class=True
        ),
    )
    programs.stop()
    assert programs.found == ()


def test_the_ten_largest(processes: Processes, programs: HostPrograms) -> None:
    for pid in range(1, 31):
        processes.write(pid, 0, name=f"p{pid}")
    programs.scan(S_NS, PLACES, io=False)
    for pid in range(1, 31):
        processes.write(pid, pid, name=f"p{pid}")
    programs.scan(2 * S_NS, PLACES, io=False)
    assert names(programs) == [f"p{pid}" for pid in range(30, 20, -1)]


def test_who_moves_bytes_is_among_them_while_somebody_waits_for_a_disk(
    processes: Processes, programs: HostPrograms
) -> None:
    for moment in range(3):
        for pid in range(1, 21):
            processes.write(pid, moment * (10 + pid), name=f"p{pid}")
            processes.bytes(pid, 0, 0)
        processes.bytes(3, moment * 7000, moment * 500)
        programs.scan((1 + moment) * S_NS, PLACES, io=True)
    found = {each.name: (each.read_bytes, each.write_bytes) for each in programs.found}
    assert len(found) == 10
    assert found["p3"] == (7000.0, 500.0)
    assert found["p20"] == (0.0, 0.0)


def test_a_process_whose_bytes_are_hidden_has_none(processes: Processes, programs: HostPrograms) -> None:
    for moment in range(3):
        processes.write(5, moment * 10)
        (processes.proc / "5/io").write_text("nonsense\n")
        programs.scan((1 + moment) * S_NS, PLACES, io=True)
    assert [(each.pid, each.read_bytes) for each in programs.found] == [(5, Missing.NOT_SAMPLED)]


def test_one_that_has_begun_since_counts_from_its_start_and_a_pid_that_is_used_again_is_another(
    processes: Processes, programs: HostPrograms
) -> None:
    processes.write(5, 1000, name="old")
    programs.scan(S_NS, PLACES, io=False)
    processes.write(5, 1001, name="other", start=60)
    processes.write(6, TICKS_PER_S, name="new", start=101)
    processes.write(7, 5000, name="was hidden", start=40)
    programs.scan(2 * S_NS, PLACES, io=False)
    assert [(each.name, each.cpu) for each in programs.found] == [("new", 1.0)]


@pytest.mark.parametrize(
    "text", ["", "\n", "7 (x", "7 x) S 1", "7 (x) S 1 1 1\n", "7 (x) S a a a a a a a a a a a a a a a a a a a a a a\n"]
)
def test_a_process_that_cannot_be_read_harms_no_other(text: str, processes: Processes, programs: HostPrograms) -> None:
    processes.write(5)
    processes.write(7)
    (processes.proc / "7/stat").write_text(text)
    (processes.proc / "8").mkdir()
    programs.scan(S_NS, PLACES, io=False)
    processes.write(5, 10)
    (processes.proc / "5/cgroup").unlink()
    (processes.proc / "5/status").write_text("Name:\tx\nCpus_allowed_list:\tmany\n")
    programs.scan(2 * S_NS, PLACES, io=False)
    assert [(each.pid, each.cpus) for each in programs.found] == [(5, frozenset())]
    (processes.proc / "5/status").unlink()
    processes.write(6, 0)
    programs.scan(3 * S_NS, PLACES, io=False)


def test_what_stands_still_is_read_in_some_looks_only_and_what_is_inside_once(
    processes: Processes, programs: HostPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in range(1, 9):
        processes.write(pid)
    for pid in range(11, 14):
        processes.write(pid, cgroup="0::/box\n")
    programs.scan(S_NS, PLACES, io=False)
    programs.scan(2 * S_NS, PLACES, io=False)
    read: list[str] = []
    real = host_programs._read

    def counted(path: str) -> bytes:
        read.append(path)
        return real(path)

    monkeypatch.setattr(host_programs, "_read", counted)
    for second in range(3, 7):
        programs.scan(second * S_NS, PLACES, io=False)
    assert sorted(read) == sorted(f"{processes.proc}/{pid}/stat" for pid in range(1, 9))
    processes.write(11, cgroup="0::/system.slice/cron.service\n")
    read.clear()
    programs.scan(7 * S_NS, Places(frozenset({"/sys/fs/cgroup/other"}), frozenset()), io=False)
    assert f"{processes.proc}/13/stat" in read, "other containers: each is looked at again"


def test_what_an_engine_moves_into_a_container_belongs_to_it_from_then_on(
    processes: Processes, programs: HostPrograms
) -> None:
    """A runtime forks outside and moves its child into the container's cgroup; the child's name is another one then."""
    for moment in range(3):
        processes.write(10, moment * 10, name="runc" if moment < 2 else "box", cgroup="0::/system.slice/d.service\n")
        processes.write(11, moment * 10, name="runc" if moment < 1 else "sh", cgroup="0::/system.slice/d.service\n")
        if moment == 2:
            (processes.proc / "10/cgroup").write_text("0::/box\n")
        programs.scan((1 + moment) * S_NS, PLACES, io=False)
    assert [(each.pid, each.name) for each in programs.found] == [(11, "sh")]


def test_a_container_without_a_cgroup_is_known_by_its_processes(processes: Processes, programs: HostPrograms) -> None:
    places = Places(frozenset(), frozenset({10}))
    for moment in range(2):
        processes.write(10, moment * 10, cgroup="0::/\n", name="init")
        processes.write(11, moment * 10, cgroup="0::/\n", parent=10, name="child")
        processes.write(12, moment * 10, cgroup="0::/\n", name="outside")
        programs.scan((1 + moment) * S_NS, places, io=False)
    assert names(programs) == ["outside"]


def test_v1_containers_are_known_by_any_of_their_directories(processes: Processes) -> None:
    hierarchies = Hierarchies(Mode.V1, {"cpu": Mount(Path("/cg/cpu")), "memory": Mount(Path("/cg/memory"))})
    programs = HostPrograms(hierarchies, processes.proc)
    places = Places(frozenset({"/cg/cpu/box"}), frozenset())
    for moment in range(2):
        processes.write(10, moment * 10, cgroup="2:memory:/elsewhere\n1:cpu:/box/x\n", name="inside")
        processes.write(11, moment * 10, cgroup="2:memory:/box\n1:cpu:/boxes\n", name="outside")
        programs.scan((1 + moment) * S_NS, places, io=False)
    assert names(programs) == ["outside"]


def test_when_it_is_time_for_a_look(processes: Processes, programs: HostPrograms) -> None:
    assert programs.is_due(S_NS)
    programs.scan(S_NS, PLACES, io=False)
    assert not programs.is_due(round(1.4 * S_NS))
    assert programs.is_due(round(1.5 * S_NS)), "the second one soon, as one alone tells nothing"
    programs.scan(round(1.5 * S_NS), PLACES, io=False)
    assert not programs.is_due(round(3.4 * S_NS))
    assert programs.is_due(round(3.5 * S_NS))
    processes.write(5, 10_000)
    programs.scan(60 * S_NS, PLACES, io=False)
    assert programs.found == (), "what was seen long ago makes no rate"
    assert programs.is_due(round(60.5 * S_NS))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/cron.service\n", "cron.service"),
        ("0::/system.slice/docker.service/inner\n", "docker.service"),
        ("0::/user.slice/user-1000.slice/session-4.scope\n", "session-4.scope"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope\n", "app-x.scope"),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "init.scope"),
        ("0::/system.slice\n", ""),
        ("0::/\n", ""),
        ("4:memory:/a.service\n1:name=systemd:/system.slice/x.service\n0::/\n", "x.service"),
        ("1:name=systemd:/\n0::/system.slice/y.service\n", "y.service"),
        ("", ""),
        ("nonsense\n::\n0:\n", ""),
        ("0::/../../x\n", ""),
    ],
)
def test_units_and_sessions(text: str, unit: str) -> None:
    assert unit_of(text.encode()) == unit


def usage(*, cpu: float = 0.0, some: float = 0.0, io: IoRates | Missing = Missing.UNSUPPORTED) -> Usage:
    return Usage(1, cpu=cpu, io=io, pressure={"cpu": Pressure(some, 0.0), "io": Pressure(some, 0.0)})


def test_somebody_waits_and_it_is_not_the_containers() -> None:
    assert waits([usage(), usage(some=0.2)], "cpu")
    assert not waits([usage(some=0.05), Usage(1)], "cpu")
    host = HostUsage(ncpu=2, cpu=1.5, io_read=3e6, io_write=Missing.UNSUPPORTED)
    assert unmeasured_cpu(host, [usage(cpu=1.0)])
    assert not unmeasured_cpu(host, [usage(cpu=1.0), usage(cpu=0.45)])
    assert not unmeasured_cpu(HostUsage(ncpu=2), [])
    assert unmeasured_io(host, [usage(io=IoRates(1e6, 0.0, 1.0, 1.0))])
    assert not unmeasured_io(host, [usage(io=IoRates(1e6, 1e6, 1.0, 1.0)), usage()])
    assert unmeasured_io(host, [usage(io=IoRates(1e6, Missing.DENIED, 1.0, 1.0))])


def test_a_sweep_looks_only_while_somebody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group's own cgroup has what its containers use: it is not added again."""
    now = SimpleNamespace(ns=100 * S_NS)
    monkeypatch.setattr(time, "monotonic_ns", lambda: now.ns)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: 100 * NS_PER_TICK)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    tree = Tree(tmp_path, Mode.V2)
    hog = Processes(tree.proc)
    (tree.proc / str(PID) / "stat").write_text(
        f"{PID} (box) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 50 " + "0 " * 21 + "\n"
    )
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    targets = [Target(ContainerRef("tree", "0" * 12), PID), Target(GroupRef(GroupKind.POD, "pod", "tree"), PID, "/box")]
    stalled_us = 0

    def sweep(second: int, *, waiting: bool) -> tuple[HostProgram, ...]:
        nonlocal stalled_us
        ticks = second * 2 * TICKS_PER_S
        (tree.proc / "stat").write_text(f"cpu  {ticks} 0 0 0 0 0 0 0 0 0\nprocesses 1\n")
        hog.write(99, ticks, name="hog", cgroup="0::/\n")
        tree.file("cpu.stat").write_text(f"usage_usec {second * 1_500_000}\nuser_usec 0\nsystem_usec 0\n")
        stalled_us += 500_000 * waiting
        tree.file("cpu.pressure").write_text(PRESSURE.format(some=stalled_us, full=0))
        now.ns += S_NS
        return sweeper.sweep(targets).host.programs

    try:
        for second in range(4):
            assert sweep(second, waiting=False) == ()
        assert sweep(4, waiting=True) == ()
        (found,) = sweep(5, waiting=True)
        assert (found.name, found.cpu) == ("hog", 2.0)
        assert sweep(6, waiting=True) == (found,), "as of the last look"
        assert sweep(7, waiting=False) == ()
    finally:
        sweeper.close()
