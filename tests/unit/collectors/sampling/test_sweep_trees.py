"""A sweep over cgroup and /proc trees of regular files: every layout, every file good, bad, absent and denied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from collectors.inspection import processes as processes_module
from collectors.inspection.isolation import isolation
from collectors.inspection.processes import processes
from collectors.sampling.frame import Usage
from collectors.sampling.network import NetworkReader
from collectors.sampling.sweep import Sweeper, Target
from runtime.errors import NotFoundError
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.kernel.cpu_weight import shares_to_weight
from runtime.model import UNLIMITED, ContainerRef, Missing

REF = ContainerRef("tree", "0" * 12)
PID = 4242
HOST_NET, OWN_NET = 1, 77
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"

UNIFIED_FIRST = {
    "cpu.pressure": PRESSURE.format(some=100, full=50),
    "memory.pressure": PRESSURE.format(some=0, full=0),
    "io.pressure": PRESSURE.format(some=10, full=10),
}
V2_FIRST = {
    **UNIFIED_FIRST,
    "cgroup.controllers": "cpuset cpu io memory pids\n",
    "cpu.stat": "usage_usec 1000\nuser_usec 600\nsystem_usec 400\nnr_periods 10\nnr_throttled 1\nthrottled_usec 500\n",
    "cpu.max": "50000 100000\n",
    "cpu.weight": "50\n",
    "cpu.idle": "0\n",
    "cpuset.cpus.effective": "0-1,3\n",
    "io.weight": "default 200\n8:0 50\n",
    "memory.current": "8192000\n",
    "memory.stat": "anon 4096000\nfile 4000000\nslab 1\ninactive_file 1000000\n"
    "workingset_refault_anon 10\nworkingset_refault_file 20\npgmajfault 5\n",
    "memory.swap.current": "4096\n",
    "memory.peak": "9000000\n",
    "memory.max": "67108864\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 2\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=1000 wbytes=2000 rios=1 wios=2 dbytes=0 dios=0\n254:0 \n",
}
V1_FIRST: Mapping[str, Mapping[str, str]] = {
    "cpu": {
        "cpu.stat": "nr_periods 10\nnr_throttled 1\nthrottled_time 500000\n",
        "cpu.cfs_quota_us": "50000\n",
        "cpu.cfs_period_us": "100000\n",
        "cpu.shares": "512\n",
        "cpu.idle": "0\n",
    },
    "cpuset": {"cpuset.effective_cpus": "0-1,3\n"},
    "cpuacct": {"cpuacct.usage": "1000000\n", "cpuacct.stat": "user 0\nsystem 0\n"},
    "memory": {
        "memory.usage_in_bytes": "8192000\n",
        "memory.max_usage_in_bytes": "9000000\n",
        "memory.stat": "rss 1\nhierarchical_memory_limit 67108864\ntotal_cache 4000000\ntotal_rss 4096000\n"
        "total_workingset_refault_anon 10\ntotal_workingset_refault_file 20\ntotal_swap 4096\ntotal_pgmajfault 5\n"
        "total_inactive_file 1000000\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    },
    "pids": {"pids.current": "3\n", "pids.max": "max\n"},
    "blkio": {
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 1000\n8:0 Write 2000\n8:0 Total 3000\nTotal 3000\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n",
        "blkio.bfq.weight": "200\n",
    },
}


class Tree:
    """One container's files, and a /proc in which its process lives."""

    def __init__(self, root: Path, mode: Mode) -> None:
        self.mode = mode
        self.proc = root / "proc"
        self.cgroup = root / "cgroup"
        unified = self.cgroup if mode is Mode.V2 else self.cgroup / "unified"
        self.unified = unified / "box" if mode is not Mode.V1 else None
        self.v1 = {name: self.cgroup / name / "box" for name in V1_FIRST} if mode is not Mode.V2 else {}
        for directory in (*self.v1.values(), *([self.unified] if self.unified else [])):
            directory.mkdir(parents=True)
        for name, files in V1_FIRST.items() if self.v1 else ():
            for file, text in files.items():
                (self.v1[name] / file).write_text(text)
        for file, text in (V2_FIRST if mode is Mode.V2 else UNIFIED_FIRST).items() if self.unified else ():
            (self.unified / file).write_text(text)  # type: ignore[operator]
        lines = [f"{n}:{name}:/box" for n, name in enumerate(self.v1, 1)] + (["0::/box"] if self.unified else [])
        for pid, net in ((1, HOST_NET), (PID, OWN_NET)):
            (self.proc / str(pid) / "ns").mkdir(parents=True)
            (self.proc / str(pid) / "ns" / "net").symlink_to(f"net:[{net}]")
            (self.proc / str(pid) / "net").mkdir()
            (self.proc / str(pid) / "cgroup").write_text("\n".join(lines) + "\n")
        self.traffic(1000, 2000)

    def traffic(self, received: int, sent: int) -> None:
        rows = (f"  eth0: {received} 1 0 0 0 0 0 0 {sent} 2 0 0 0 0 0 0", "    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0")
        (self.proc / str(PID) / "net" / "dev").write_text("Inter-|  Receive\n face |bytes\n" + "\n".join(rows) + "\n")

    def file(self, name: str) -> Path:
        """Where a file of this layout is."""
        for directory in (*self.v1.values(), *([self.unified] if self.unified else [])):
            if (directory / name).exists():
                return directory / name
        raise AssertionError(name)

    @property
    def hierarchies(self) -> Hierarchies:
        unified = None if self.unified is None else Mount(self.unified.parent)
        return Hierarchies(self.mode, {name: Mount(path.parent) for name, path in self.v1.items()}, unified)


@pytest.fixture(params=[Mode.V1, Mode.V2, Mode.HYBRID])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return Tree(tmp_path, request.param)


@pytest.fixture
def sweeper(tree: Tree) -> Iterator[Sweeper]:
    made = Sweeper(tree.hierarchies, tree.proc)
    yield made
    made.close()


def use(sweeper: Sweeper) -> Usage:
    frame = sweeper.sweep([Target(REF, PID)])
    assert not frame.problems, frame.problems
    return frame.usages[REF]


def test_gauges_need_one_sweep_and_rates_two(tree: Tree, sweeper: Sweeper) -> None:
    first = use(sweeper)
    assert first.cpu is Missing.NOT_SAMPLED
    assert first.net is Missing.NOT_SAMPLED
    assert (first.memory, first.anon, first.file, first.swap) == (8192000, 4096000, 4000000, 4096)
    assert (first.working_set, first.memory_peak, first.memory_limit) == (7192000, 9000000, 67108864)
    assert (first.oom_kills, first.pids, first.pids_limit, first.cpu_limit) == (2, 3, UNLIMITED, 0.5)
    if tree.mode is Mode.V2:
        tree.file("cpu.stat").write_text(
            "usage_usec 3000\nuser_usec 1600\nsystem_usec 1400\nnr_periods 14\nnr_throttled 2\nthrottled_usec 900\n"
        )
        tree.file("io.stat").write_text("8:0 rbytes=5000 wbytes=2000 rios=2 wios=2\n254:0 rbytes=10 wbytes=0 rios=1\n")
    else:
        tree.file("cpuacct.usage").write_text("3000000\n")
        tree.file("cpu.stat").write_text("nr_periods 14\nnr_throttled 2\nthrottled_time 900000\n")
        tree.file("blkio.throttle.io_service_bytes_recursive").write_text("8:0 Read 5000\n8:0 Write 2000\n")
        tree.file("blkio.throttle.io_serviced_recursive").write_text("8:0 Read 2\n8:0 Write 2\n")
    tree.traffic(4000, 2000)
    second = use(sweeper)
    elapsed = second.at_ns - first.at_ns
    assert second.cpu == pytest.approx(2e6 / elapsed)
    assert second.throttled == pytest.approx(4e5 / elapsed)
    assert second.throttled_share == pytest.approx(1 / 4)
    assert not isinstance(second.io, Missing)
    assert second.io_devices["8:0"].read_bytes == pytest.approx(4000 * 1e9 / elapsed)
    assert second.io_devices["8:0"].write_bytes == 0.0
    assert not isinstance(second.net, Missing)
    assert second.net.rx_bytes == pytest.approx(3000 * 1e9 / elapsed)
    assert set(second.net_interfaces) == {"eth0"}


def test_how_it_shares_and_what_came_back_from_disk(tree: Tree, sweeper: Sweeper) -> None:
    first = use(sweeper)
    expected = 50 if tree.mode is Mode.V2 else shares_to_weight(512)
    assert (first.cpu_weight, first.cpu_idle, first.cpus, first.io_weight) == (expected, False, {0, 1, 3}, 200)
    assert (first.refaults, first.major_faults) == (Missing.NOT_SAMPLED, Missing.NOT_SAMPLED)
    stat = tree.file("memory.stat")
    text = stat.read_text()
    stat.write_text(text.replace("refault_file 20", "refault_file 50").replace("pgmajfault 5", "pgmajfault 6"))
    memory = tree.file("memory.current" if tree.mode is Mode.V2 else "memory.usage_in_bytes")
    memory.write_text("8192001\n")
    second = use(sweeper)
    elapsed_s = (second.at_ns - first.at_ns) / 1e9
    assert second.refaults == pytest.approx(30 / elapsed_s)
    assert second.major_faults == pytest.approx(1 / elapsed_s)
    assert second.cpus is first.cpus
    rested = use(sweeper)
    assert (rested.refaults, rested.major_faults, rested.cpu_weight) == (0.0, 0.0, expected)


@pytest.mark.parametrize(
    ("mode", "names"),
    [(Mode.V2, ("io.weight", "io.bfq.weight")), (Mode.V1, ("blkio.bfq.weight", "blkio.weight"))],
)
def test_the_weight_is_that_of_whichever_scheduler_there_is(tmp_path: Path, mode: Mode, names: tuple[str, str]) -> None:
    tree = Tree(tmp_path, mode)
    there, other = names
    tree.file(there).rename(tree.file(there).with_name(other))
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        assert use(sweeper).io_weight == 200
        tree.file(other).unlink()
    finally:
        sweeper.close()
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        assert use(sweeper).io_weight is Missing.UNSUPPORTED
    finally:
        sweeper.close()


def test_without_a_cpuset_of_its_own_it_runs_where_the_cgroup_above_may(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    tree.file("cgroup.controllers").write_text("cpu io memory pids\n")
    (tree.cgroup / "cpuset.cpus.effective").write_text("2-3\n")
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        assert use(sweeper).cpus == {2, 3}
    finally:
        sweeper.close()


def test_pressure_is_where_the_unified_tree_is(tree: Tree, sweeper: Sweeper) -> None:
    first = use(sweeper)
    if tree.unified is None:
        assert not first.pressure
        assert first.waiting is Missing.UNSUPPORTED
        return
    tree.file("cpu.pressure").write_text(PRESSURE.format(some=100, full=50 + 1))
    second = use(sweeper)
    assert second.pressure["cpu"].full == pytest.approx(min(1.0, 1000 / (second.at_ns - first.at_ns)))
    assert second.pressure["cpu"].some == 0.0
    assert second.pressure["memory"].full == 0.0


BAD = ["", "\n", "nonsense\n", "-5\n", "usage_usec\n", "8:0 rbytes=x\n", "\xff\xfe\n", "9" * 40 + "x\n"]
FILES = sorted({*V2_FIRST, *(name for files in V1_FIRST.values() for name in files)} - {"cgroup.controllers"})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", BAD)
def test_a_malformed_file_is_no_number_and_harms_no_other(tmp_path: Path, name: str, text: str) -> None:
    mode = Mode.V2 if name in V2_FIRST else Mode.V1
    tree = Tree(tmp_path, mode)
    tree.file(name).write_bytes(text.encode("latin-1"))
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        use(sweeper)
        usage = use(sweeper)
    finally:
        sweeper.close()
    for value in (usage.cpu, usage.memory, usage.pids, usage.throttled):
        assert isinstance(value, Missing) or value >= 0
    if not name.startswith("pids"):
        assert (usage.pids, usage.pids_limit) == (3, UNLIMITED)
    if not name.startswith("memory"):
        assert (usage.memory, usage.anon, usage.memory_limit) == (8192000, 4096000, 67108864)
    if not name.startswith("cpu"):
        assert usage.cpu == 0.0
    names = ("cpu.weight", "cpuset.cpus.effective", "io.weight")
    if mode is Mode.V1:
        names = ("cpu.shares", "cpuset.effective_cpus", "blkio.bfq.weight")
    found = (usage.cpu_weight, usage.cpus, usage.io_weight, usage.cpu_idle)
    for other, value in zip((*names, "cpu.idle"), found, strict=True):
        assert (value is Missing.UNSUPPORTED) == (other == name), other
    refaults = usage.refaults, usage.major_faults
    assert refaults == ((Missing.UNSUPPORTED,) * 2 if name == "memory.stat" else (0.0, 0.0))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_this_kernel_has_not_is_unsupported(tmp_path: Path, name: str) -> None:
    tree = Tree(tmp_path, Mode.V2 if name in V2_FIRST else Mode.V1)
    tree.file(name).unlink()
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        use(sweeper)
        usage = use(sweeper)
    finally:
        sweeper.close()
    expected = {
        "pids.current": lambda: usage.pids,
        "pids.max": lambda: usage.pids_limit,
        "memory.current": lambda: usage.memory,
        "memory.usage_in_bytes": lambda: usage.memory,
        "memory.peak": lambda: usage.memory_peak,
        "memory.max_usage_in_bytes": lambda: usage.memory_peak,
        "memory.events": lambda: usage.oom_kills,
        "memory.swap.current": lambda: usage.swap,
        "cpu.max": lambda: usage.cpu_limit,
        "cpu.cfs_quota_us": lambda: usage.cpu_limit,
        "cpuacct.usage": lambda: usage.cpu,
        "io.stat": lambda: usage.io,
        "memory.stat": lambda: usage.refaults,
        "cpu.weight": lambda: usage.cpu_weight,
        "cpu.shares": lambda: usage.cpu_weight,
        "cpu.idle": lambda: usage.cpu_idle,
        "cpuset.cpus.effective": lambda: usage.cpus,
        "cpuset.effective_cpus": lambda: usage.cpus,
        "io.weight": lambda: usage.io_weight,
        "blkio.bfq.weight": lambda: usage.io_weight,
    }
    if name in expected:
        assert expected[name]() is Missing.UNSUPPORTED
    assert usage.net is not Missing.UNSUPPORTED


def test_a_long_file_is_read_to_its_end(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        use(sweeper)
        stat = "anon 1\n" + "".join(f"filler_{n} {n}\n" for n in range(4000)) + "file 2\ninactive_file 3\n"
        tree.file("memory.stat").write_text(stat)
        tree.file("memory.current").write_text("8192001\n")
        usage = use(sweeper)
        assert (usage.anon, usage.file) == (1, 2)
        tree.file("memory.stat").write_text(stat.replace("inactive_file 3", "inactive_file 5"))
        tree.file("memory.current").write_text("8192000\n")
        assert use(sweeper).working_set == 8192000 - 5
    finally:
        sweeper.close()


def test_a_limit_above_is_the_containers_limit(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    assert tree.unified is not None
    inner = tree.unified / "inner"
    inner.mkdir()
    for name, text in V2_FIRST.items():
        (inner / name).write_text(text)
    (tree.proc / str(PID) / "cgroup").write_text("0::/box/inner\n")
    (tree.unified / "cpu.max").write_text("20000 100000\n")
    (tree.unified / "memory.max").write_text("1000\n")
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        usage = use(sweeper)
        assert (usage.cpu_limit, usage.memory_limit) == (0.2, 1000)
        (tree.unified / "cpu.max").write_text("max 100000\n")
        assert use(sweeper).cpu_limit == 0.5
    finally:
        sweeper.close()


def test_an_init_in_a_cgroup_below_is_measured_by_the_containers_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    assert tree.unified is not None
    (tree.unified / "init.scope").mkdir()
    (tree.unified / "init.scope" / "memory.current").write_text("1\n")
    (tree.proc / str(PID) / "cgroup").write_text("0::/box/init.scope\n")
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        frame = sweeper.sweep([Target(REF, PID, "/box")])
        assert frame.usages[REF].memory == 8192000
    finally:
        sweeper.close()


def test_the_hosts_network_is_not_the_containers(tree: Tree) -> None:
    link = tree.proc / str(PID) / "ns" / "net"
    link.unlink()
    link.symlink_to(f"net:[{HOST_NET}]")
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        usage = use(sweeper)
        assert usage.net_shared
        assert usage.net is Missing.UNSUPPORTED
    finally:
        sweeper.close()


def test_a_process_that_moves_is_followed(tree: Tree, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.sampling.tracking.MOVE_CHECK_SWEEPS", 1)
    use(sweeper)
    for directory in (*tree.v1.values(), *([tree.unified] if tree.unified else [])):
        other = directory.parent / "other"
        other.mkdir()
        for file in directory.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        if (other / "pids.current").exists():
            (other / "pids.current").write_text("9\n")
    place = tree.proc / str(PID) / "cgroup"
    place.write_text(place.read_text().replace("/box", "/other"))
    assert use(sweeper).pids == 9


def test_a_process_without_a_cgroup_is_a_problem(tree: Tree, sweeper: Sweeper) -> None:
    other = ContainerRef("tree", "1" * 12)
    frame = sweeper.sweep([Target(REF, PID), Target(other, 99999)])
    assert frame.usages.keys() == {REF}
    assert frame.problems == {other: "gone: process 99999 has ended"}


def test_samples_are_the_counters_of_a_sweep(tree: Tree, sweeper: Sweeper) -> None:
    sample = sweeper.samples([Target(REF, PID)])[REF]
    assert sample.pids == 3
    assert sample.cpu.periods == 10


def test_namespaces_are_read_once_a_sweep_whoever_shares_them(tree: Tree) -> None:
    networks = NetworkReader(tree.proc)
    networks.begin()
    first = networks.counters(PID, OWN_NET)
    tree.traffic(9999, 9999)
    assert networks.counters(PID, OWN_NET) is first
    networks.begin()
    assert networks.counters(PID, OWN_NET) != first


# processes and isolation


def person(tree: Tree, pid: int, *, name: str = "sleep", inner: int = 1, uid: int = 0, command: bytes = b"") -> None:
    """A process in /proc, in the container's PID namespace."""
    home = tree.proc / str(pid)
    (home / "ns").mkdir(parents=True, exist_ok=True)
    (home / "ns" / "pid").symlink_to("pid:[9]")
    (home / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{pid}\t{inner}\n")
    rest = "S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 4 0 100 4096 25"
    (home / "stat").write_text(f"{pid} ({name}) {rest}\n")
    (home / "cmdline").write_bytes(command)
    (home / "uid_map").write_text("0 100000 65536\n")


def test_processes_with_names_that_look_like_fields(tree: Tree) -> None:
    person(tree, PID, name="evil) R 7 (x", uid=100000)
    person(tree, PID + 1, inner=12, uid=100033, command=b"/bin/sh\0-c\0sleep 1\0")
    (tree.proc / "self" / "ns").mkdir(parents=True)
    (tree.proc / "self" / "ns" / "pid").symlink_to("pid:[1]")
    init, shell = processes(PID, proc=tree.proc, hierarchies=tree.hierarchies)
    assert (init.pid, init.inner_pid, init.state, init.ppid, init.user) == (PID, 1, "S", 1, "root")
    assert init.command == "[evil) R 7 (x]"
    assert (init.threads, init.cpu_time_s) == (4, 200 / processes_module.TICKS_PER_S)
    assert init.rss == 25 * os.sysconf("SC_PAGE_SIZE")
    assert (shell.inner_pid, shell.user, shell.command) == (12, "33", "/bin/sh -c sleep 1")


def test_a_container_without_processes_is_gone(tree: Tree) -> None:
    with pytest.raises(NotFoundError):
        processes(99999, proc=tree.proc, hierarchies=tree.hierarchies)


def test_isolation_of_what_can_be_read(tree: Tree) -> None:
    home = tree.proc / str(PID)
    (tree.proc / "1" / "ns" / "pid").symlink_to("pid:[1]")
    (home / "ns" / "pid").symlink_to("pid:[9]")
    (home / "status").write_text(
        "NoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0000000000000003\nCapPrm:\t0000000000000003\nCapBnd:\t8000000000000001\n"
    )
    (home / "mountinfo").write_text("30 1 0:20 / / ro,relatime - overlay overlay rw\nnonsense\n")
    (home / "uid_map").write_text("0 0 4294967295\n")
    found = isolation(PID, proc=tree.proc, hierarchies=tree.hierarchies)
    shared = {space.name: space.shared for space in found.namespaces}
    assert shared["net"] is False
    assert shared["pid"] is False
    assert found.no_new_privs is True
    assert not isinstance(found.capabilities, Missing)
    assert found.capabilities["effective"] == ("CHOWN", "DAC_OVERRIDE")
    assert "CAP_63" in found.capabilities["bounding"]
    assert not isinstance(found.mounts, Missing)
    assert [mount.target for mount in found.mounts] == ["/"]
