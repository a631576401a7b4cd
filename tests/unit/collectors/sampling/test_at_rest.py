"""What a sweep reads of a container that stands still, and that what moves is seen in the sweep in which it did."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectors.sampling import tracked as tracked_module
from collectors.sampling import tracking
from collectors.sampling.frame import Usage
from collectors.sampling.limit_watch import MAX_EVENTS, LimitWatch
from collectors.sampling.rotation import Rotation
from collectors.sampling.sweep import Sweeper, Target
from runtime.kernel import inotify
from runtime.kernel.cgroupfs import Mode
from runtime.model import ContainerRef, Missing
from tests.unit.collectors.sampling.test_sweep_trees import PID, PRESSURE, Tree, use

MODES = [Mode.V1, Mode.V2, Mode.HYBRID]


@pytest.fixture
def sweeper(tree: Tree) -> Iterator[Sweeper]:
    made = Sweeper(tree.hierarchies, tree.proc)
    yield made
    made.close()


@pytest.fixture(params=MODES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return Tree(tmp_path, request.param)


def at_rest(sweeper: Sweeper) -> Usage:
    """The usage once everything has stood still for some sweeps."""
    for _ in range(4):
        usage = use(sweeper)
    return usage


def burn(tree: Tree, us: int) -> None:
    """Set the CPU time."""
    if tree.mode is Mode.V2:
        rest = "nr_periods 10\nnr_throttled 1\nthrottled_usec 500\n"
        tree.file("cpu.stat").write_text(f"usage_usec {us}\nuser_usec {us}\nsystem_usec 0\n{rest}")
    else:
        tree.file("cpuacct.usage").write_text(f"{us * 1000}\n")


def hold(tree: Tree, size: int) -> None:
    """Set the memory in use."""
    tree.file("memory.current" if tree.mode is Mode.V2 else "memory.usage_in_bytes").write_text(f"{size}\n")


def test_a_container_at_rest_keeps_its_usage_and_its_rates_are_zero(tree: Tree, sweeper: Sweeper) -> None:
    first = use(sweeper)
    assert first.cpu is Missing.NOT_SAMPLED
    rested = at_rest(sweeper)
    assert (rested.cpu, rested.throttled, rested.throttled_share) == (0.0, 0.0, 0.0)
    assert not isinstance(rested.io, Missing)
    assert not isinstance(rested.net, Missing)
    assert (rested.io.read_bytes, rested.net.rx_bytes, rested.net_interfaces["eth0"].tx_bytes) == (0.0, 0.0, 0.0)
    assert rested[7:17] == first[7:17], "its gauges are those that were read"
    assert rested.at_ns == first.at_ns, "and its age is theirs"
    assert use(sweeper) is rested, "nothing is made anew"


WAKES: dict[str, Callable[[Tree], object]] = {
    "CPU time": lambda tree: burn(tree, 1001),
    "memory in use": lambda tree: hold(tree, 8192001),
    "interface counters": lambda tree: tree.traffic(1001, 2000),
}
WAKES_UNIFIED: dict[str, Callable[[Tree], object]] = {
    "waiting for CPU": lambda tree: tree.file("cpu.pressure").write_text(PRESSURE.format(some=101, full=50)),
}
WAKES_V2: dict[str, Callable[[Tree], object]] = {
    "write-back": lambda tree: tree.file("io.stat").write_text("8:0 rbytes=1000 wbytes=2001 rios=1 wios=3\n"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", [*WAKES, *WAKES_UNIFIED, *WAKES_V2])
def test_what_moves_is_read_in_full_in_the_same_sweep(tmp_path: Path, mode: Mode, what: str) -> None:
    known = WAKES | (WAKES_UNIFIED if mode is not Mode.V1 else {}) | (WAKES_V2 if mode is Mode.V2 else {})
    if what not in known:
        return
    tree = Tree(tmp_path, mode)
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        rested = at_rest(sweeper)
        tree.file("pids.current").write_text("4\n")
        stat = tree.file("memory.stat")
        stat.write_text(stat.read_text().replace("4096000", "5000000"))
        assert use(sweeper) is rested, "neither has a way to change alone"
        known[what](tree)
        woken = use(sweeper)
        assert (woken.pids, woken.anon) == (4, 5000000)
        assert woken.at_ns > rested.at_ns
    finally:
        sweeper.close()


@pytest.mark.parametrize("mode", [Mode.V2, Mode.HYBRID])
@pytest.mark.parametrize("name", ["memory.pressure", "io.pressure"])
def test_a_stall_that_goes_on_without_cpu_is_seen_in_every_sweep(tmp_path: Path, mode: Mode, name: str) -> None:
    """A task that sleeps uninterruptibly has run before it did, and its container's total grows from then on."""
    tree = Tree(tmp_path, mode)
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        at_rest(sweeper)
        tree.file("cpu.pressure").write_text(PRESSURE.format(some=101, full=50))
        use(sweeper)
        for total in (100, 200, 300):
            tree.file(name).write_text(PRESSURE.format(some=total, full=total))
            some = use(sweeper).pressure[name.partition(".")[0]].some
            assert isinstance(some, float)
            assert some > 0
        rested = at_rest(sweeper)
        assert rested.pressure[name.partition(".")[0]].some == 0.0
    finally:
        sweeper.close()


def test_totals_are_read_only_when_those_of_the_host_have_moved(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    hosts = tree.proc / "pressure"
    hosts.mkdir()
    for name in ("memory", "io"):
        (hosts / name).write_text(PRESSURE.format(some=500, full=0))
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        at_rest(sweeper)
        for name in ("memory", "io"):
            tree.file(f"{name}.pressure").write_text(PRESSURE.format(some=5000, full=0))
        burn(tree, 2000)
        unread = use(sweeper).pressure
        assert (unread["memory"].some, unread["io"].some) == (0.0, 0.0)
        (hosts / "io").write_text(PRESSURE.format(some=501, full=0))
        found = use(sweeper).pressure
        assert found["memory"].some == 0.0
        assert found["io"].some not in {0.0, Missing.NOT_SAMPLED}, "it moved in the sweep before"
    finally:
        sweeper.close()


def test_averages_that_fall_while_the_total_stands_still_are_no_movement(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        rested = at_rest(sweeper)
        file = tree.file("cpu.pressure")
        file.write_text(file.read_text().replace("avg10=0.00", "avg10=0.50"))
        assert use(sweeper) is rested
    finally:
        sweeper.close()


def test_the_interval_of_a_rate_begins_at_the_last_look(tree: Tree, sweeper: Sweeper) -> None:
    at_rest(sweeper)
    rest_s, burnt_s = 1.0, 0.05
    time.sleep(rest_s)
    use(sweeper)
    burn(tree, 1000 + round(burnt_s * 1e6))
    cpu = use(sweeper).cpu
    assert isinstance(cpu, float)
    assert cpu * rest_s > 2 * burnt_s, "it is not spread over the time of rest"


LIMITS: dict[str, tuple[str, Callable[[Usage], object]]] = {
    "cpu.max": ("30000 100000", lambda usage: usage.cpu_limit == 0.3),
    "cpu.cfs_quota_us": ("30000", lambda usage: usage.cpu_limit == 0.3),
    "memory.max": ("1000", lambda usage: usage.memory_limit == 1000),
    "pids.max": ("7", lambda usage: usage.pids_limit == 7),
    "cpu.weight": ("70", lambda usage: usage.cpu_weight == 70),
    "cpu.shares": ("2", lambda usage: usage.cpu_weight == 1),
    "cpu.idle": ("1", lambda usage: usage.cpu_idle is True),
    "io.weight": ("default 9", lambda usage: usage.io_weight == 9),
    "blkio.bfq.weight": ("9", lambda usage: usage.io_weight == 9),
}
OF_BOTH = {"pids.max", "cpu.idle"}
OF_V2 = {"cpu.max", "memory.max", "cpu.weight", "io.weight"}


@pytest.mark.parametrize("mode", [Mode.V1, Mode.V2])
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_somebody_writes_is_read_in_the_next_sweep(tmp_path: Path, mode: Mode, name: str) -> None:
    tree = Tree(tmp_path, mode)
    if name not in OF_BOTH and (name in OF_V2) is not (mode is Mode.V2):
        return
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    text, is_seen = LIMITS[name]
    try:
        rested = at_rest(sweeper)
        tree.file(name).write_text(text + "\n")
        written = use(sweeper)
        assert is_seen(written)
        assert written.cpu == 0.0
        assert written.memory == rested.memory
    finally:
        sweeper.close()


def test_cpus_are_read_again_when_somebody_writes_which_it_may_use(tree: Tree, sweeper: Sweeper) -> None:
    """The kernel changes the effective list, which gives no event, when the other one is written."""
    v2 = tree.mode is Mode.V2
    effective = tree.file("cpuset.cpus.effective" if v2 else "cpuset.effective_cpus")
    asked = effective.with_name("cpuset.cpus")
    asked.write_text("0-1,3\n")
    rested = at_rest(sweeper)
    assert rested.cpus == {0, 1, 3}
    effective.write_text("1\n")
    assert use(sweeper) is rested
    asked.write_text("1\n")
    assert use(sweeper).cpus == {1}


class Silent:
    """Limit events that hear nothing."""

    def follow(self, directories: object) -> None: ...

    def changed(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None: ...


def test_what_nobody_tells_is_found_when_its_turn_comes(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeper = Sweeper(tree.hierarchies, tree.proc, limit_events=Silent())
    try:
        rested = at_rest(sweeper)
        tree.file("pids.max").write_text("7\n")
        tree.file("pids.current").write_text("4\n")
        assert use(sweeper) is rested
        monkeypatch.setattr(sweeper._tracking, "_rotation", Rotation(1e-9))
        found = use(sweeper)
        assert (found.pids_limit, found.pids, found.cpu) == (7, 4, 0.0)
        assert found.at_ns > rested.at_ns
    finally:
        sweeper.close()


def test_a_container_at_rest_costs_its_movement_files_only(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    opened: list[str] = []
    read = 0
    pread, open_ = os.pread, os.open

    def counting(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        read += 1
        return pread(fd, size, offset)

    def noting(path: str, *args: object, **options: object) -> int:
        opened.append(str(path))
        return open_(path, *args, **options)  # type: ignore[arg-type]

    try:
        at_rest(sweeper)
        monkeypatch.setattr(os, "pread", counting)
        monkeypatch.setattr(os, "open", noting)
        use(sweeper)
        monkeypatch.undo()
        assert read == {Mode.V1: 2, Mode.V2: 4, Mode.HYBRID: 3}[tree.mode]
        assert not [path for path in opened if "cgroup/" in path or "box" in path]
    finally:
        sweeper.close()


def test_few_descriptors_stay_open_and_none_at_the_end(tree: Tree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    use(sweeper)
    epoll_and_inotify = 2
    assert len(os.listdir("/proc/self/fd")) - before <= 7 + epoll_and_inotify
    sweeper.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_than_so_many_descriptors_are_kept_in_all() -> None:
    assert not tracked_module.can_keep_open(tracked_module.MAX_FDS - tracked_module.MAX_FDS_PER_CONTAINER + 1)


def test_without_kept_descriptors_everything_is_seen_all_the_same(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "can_keep_open", lambda used: False)
    before = len(os.listdir("/proc/self/fd"))
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        rested = at_rest(sweeper)
        assert len(os.listdir("/proc/self/fd")) - before == 2
        assert (rested.cpu, rested.pids) == (0.0, 3)
        burn(tree, 51000)
        tree.file("pids.current").write_text("4\n")
        woken = use(sweeper)
        assert isinstance(woken.cpu, float)
        assert woken.cpu > 0
        assert woken.pids == 4
    finally:
        sweeper.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_when_descriptors_run_out_some_are_given_back_without_a_gap(
    tree: Tree, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    at_rest(sweeper)
    kept = len(os.listdir("/proc/self/fd"))
    open_ = os.open
    refused: list[str] = []

    def refusing(path: str, *args: object, **options: object) -> int:
        if str(path).endswith("pids.current") and not refused:
            refused.append(path)
            raise OSError(number, os.strerror(number))
        return open_(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(sweeper._tracking, "_rotation", Rotation(1e-9))
    monkeypatch.setattr(tracking, "can_keep_open", lambda used: False)
    burn(tree, 51000)
    tree.file("pids.current").write_text("4\n")
    usage = use(sweeper)
    assert isinstance(usage.cpu, float)
    assert usage.cpu > 0
    assert usage.pids == 4
    if refused:
        assert len(os.listdir("/proc/self/fd")) < kept
    monkeypatch.undo()
    monkeypatch.setattr(sweeper._tracking, "_rotation", Rotation(1e-9))
    use(sweeper)
    assert len(os.listdir("/proc/self/fd")) == kept, "they are kept open again"


def test_the_count_of_kills_is_read_after_a_kill_on_the_host(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    vmstat = tree.proc / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 5\npswpout 0\n")
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    events = tree.file("memory.events")
    try:
        at_rest(sweeper)
        events.write_text("low 0\nhigh 0\nmax 0\noom 1\noom_kill 3\n")
        hold(tree, 4096)
        assert use(sweeper).oom_kills == 2, "the host's count was read before the kill"
        vmstat.write_text("nr_free_pages 1\noom_kill 6\npswpout 0\n")
        assert use(sweeper).oom_kills == 3, "the container has not moved since"
    finally:
        sweeper.close()


def test_swap_and_the_peak_follow_what_they_depend_on(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Mode.V2)
    (tree.proc / "vmstat").write_text("nr_free_pages 1\noom_kill 5\npswpout 0\n")
    tree.file("memory.swap.current").write_text("0\n")
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        assert at_rest(sweeper).swap == 0
        tree.file("memory.swap.current").write_text("4096\n")
        (tree.proc / "vmstat").write_text("nr_free_pages 1\noom_kill 5\npswpout 1\n")
        hold(tree, 8000000)
        assert use(sweeper).swap == 4096
        tree.file("memory.swap.current").write_text("0\n")
        hold(tree, 8000001)
        assert use(sweeper).swap == 0, "where there is some it is read whenever the container moves"
        tree.file("memory.peak").write_text("9000002\n")
        hold(tree, 9000001)
        assert use(sweeper).memory_peak == 9000002
    finally:
        sweeper.close()


def test_turns_come_once_in_an_interval_and_never_all_at_once() -> None:
    rotation, things = Rotation(10.0), list(range(25))
    seen = [list(rotation.take(things, 1.0)) for _ in range(10)]
    assert sorted(thing for part in seen for thing in part) == things
    assert max(len(part) for part in seen) == 3
    assert sorted(rotation.take(things, 1000.0)) == things, "after a long time each once"
    assert not list(rotation.take([], 1.0))


def test_limits_that_are_written_are_told_by_their_directory(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for directory in (one, other):
        directory.mkdir()
        (directory / "cpu.max").write_text("max 100000\n")
    watch = LimitWatch()
    try:
        watch.follow([str(one), str(other)])
        assert watch.changed() == set()
        (one / "cpu.max").write_text("1000 100000\n")
        (other / "cgroup.procs").write_text("1\n")
        assert watch.changed() == {str(one)}
        assert watch.changed() == set()
        watch.follow([str(other)])
        (one / "cpu.max").write_text("2000 100000\n")
        assert watch.changed() == set()
    finally:
        watch.close()


def test_a_directory_without_a_watch_counts_as_changed(tmp_path: Path) -> None:
    watch = LimitWatch()
    watch.follow([str(tmp_path / "gone")])
    assert watch.changed() == {str(tmp_path / "gone")}
    watch.close()
    watch.follow([str(tmp_path)])
    assert watch.changed() == {str(tmp_path)}, "nor without an inotify instance"


def test_limits_that_are_written_without_end_are_no_longer_watched(tmp_path: Path) -> None:
    watch = LimitWatch()
    files = [os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY) for name in ("cpu.max", "pids.max")]
    try:
        watch.follow([str(tmp_path)])
        for _ in range(MAX_EVENTS):
            for fd in files:
                os.pwrite(fd, b"1\n", 0)
        assert watch.changed() == {str(tmp_path)}
        assert watch.changed() == {str(tmp_path)}, "it counts as changed from then on"
        os.pwrite(files[0], b"2\n", 0)
        with pytest.raises(BlockingIOError):
            os.read(watch._fd, 4096)
    finally:
        watch.close()
        for fd in files:
            os.close(fd)


def test_after_an_overflow_any_limit_may_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = LimitWatch()
    try:
        watch.follow([str(tmp_path)])
        monkeypatch.setattr(inotify, "queued_events", lambda fd: iter([(-1, inotify.Q_OVERFLOW, b"")]))
        assert watch.changed() is None
    finally:
        watch.close()


def test_many_containers_below_one_parent_are_all_read(tmp_path: Path) -> None:
    """Their files are opened by way of the parent's descriptor, which is there for the sweep only."""
    tree = Tree(tmp_path, Mode.V2)
    assert tree.unified is not None
    targets = []
    for number in range(20):
        own = tree.unified.parent / f"c{number}"
        own.mkdir()
        for file in tree.unified.iterdir():
            (own / file.name).write_bytes(file.read_bytes())
        proc = tree.proc / str(PID + 1 + number)
        (proc / "ns").mkdir(parents=True)
        (proc / "ns" / "net").symlink_to("net:[1]")
        (proc / "cgroup").write_text(f"0::/c{number}\n")
        targets.append(Target(ContainerRef("tree", str(number)), PID + 1 + number))
    before = len(os.listdir("/proc/self/fd"))
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    try:
        for _ in range(4):
            frame = sweeper.sweep(targets)
        for number in range(20):
            own = tree.unified.parent / f"c{number}"
            (own / "memory.current").write_text(f"{number + 1}\n")
            (own / "pids.current").write_text(f"{number + 1}\n")
        frame = sweeper.sweep(targets)
        assert [frame.usages[target.ref].pids for target in targets] == list(range(1, 21))
        assert len(os.listdir("/proc/self/fd")) - before <= 20 * 7 + 2
    finally:
        sweeper.close()
