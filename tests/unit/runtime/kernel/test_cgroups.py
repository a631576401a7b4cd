"""Cgroups made, filled, frozen, killed and removed on v1, v2 and hybrid trees of regular files."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from runtime import limits
from runtime.errors import ConflictError, DeniedError, InvalidError, KernelError, NotFoundError, UnsupportedError
from runtime.kernel import cgroups, delegation, files
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.model import LimitName, Limits
from tests.unit.fake_kernel import V1, V2, FakeKernel


@pytest.fixture(params=[Mode.V1, Mode.V2, Mode.HYBRID], ids=str)
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, request.param, monkeypatch)


@pytest.fixture
def v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, Mode.V2, monkeypatch)


@pytest.fixture
def v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, Mode.V1, monkeypatch)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "FREEZE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(cgroups, "KILL_TIMEOUT_S", 0.05)


def test_it_is_made_everywhere_and_every_limit_is_there(kernel: FakeKernel) -> None:
    cgroup = cgroups.create(kernel.hierarchies, "top/one")
    assert set(cgroup.v1) == (set() if kernel.mode is Mode.V2 else set(V1))
    assert (cgroup.unified is None) == (kernel.mode is Mode.V1)
    assert all(directory.is_dir() and directory.name == "one" for directory in cgroup.directories)
    assert cgroup.controllers == (frozenset(V2) if kernel.mode is Mode.V2 else frozenset())
    held = limits.read(cgroup)
    assert held.cpuset_cpus == "0-3"
    assert held.memory is held.pids is held.cpus
    assert cgroups.create(kernel.hierarchies, "top/one") == cgroup


def test_a_v1_cpuset_takes_processes_at_once(v1: FakeKernel) -> None:
    cgroup = cgroups.create(v1.hierarchies, "top/one")
    assert v1.get(cgroup.v1["cpuset"] / "cpuset.cpus") == "0-3"
    cgroups.attach(cgroup, 7)
    assert cgroups.pids(cgroup) == [7]


def test_v2_enables_on_the_way_down_but_not_in_the_leaf(v2: FakeKernel) -> None:
    cgroup = cgroups.create(v2.hierarchies, "top/one")
    assert cgroup.unified is not None
    assert set(v2.get(cgroup.unified.parent / "cgroup.subtree_control").split()) == set(V2)
    assert v2.get(cgroup.unified / "cgroup.subtree_control") == ""
    v2.writes.clear()
    cgroups.create(v2.hierarchies, "top/two")
    assert v2.writes == []


def test_v2_parent_with_processes_gives_no_controllers_and_that_is_not_hidden(v2: FakeKernel) -> None:
    top = cgroups.create(v2.hierarchies, "top")
    cgroups.attach(top, 9)
    inner = cgroups.create(v2.hierarchies, "top/one")
    assert inner.controllers == frozenset()
    assert limits.read(inner) == Limits()
    assert inner.where("memory") is None


def test_v2_uses_what_is_offered(v2: FakeKernel) -> None:
    v2.put(v2.root / "unified" / "cgroup.controllers", "cpu pids rdma")
    assert cgroups.create(v2.hierarchies, "top/one").controllers == {"cpu", "pids"}


@pytest.mark.parametrize("path", ["", "/abs", "a//b", "../up", "a/../b", "a/.", "a\nb", "a\0b", "a/"])
def test_a_path_that_leaves_the_tree_is_invalid(kernel: FakeKernel, path: str) -> None:
    with pytest.raises(InvalidError, match="make a cgroup named"):
        cgroups.create(kernel.hierarchies, path)


def test_directories_are_removed_when_another_cannot_be_created(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = "unified" if kernel.mode is not Mode.V1 else V1[-1]
    real = kernel.mkdir

    def mkdir(path: Path, *args: object, **more: object) -> None:
        if path.name == "one" and path.relative_to(kernel.root).parts[0] == last:
            raise PermissionError(errno.EACCES, "no", str(path))
        real(path, *args, **more)

    monkeypatch.setattr(kernel, "mkdir", mkdir)
    with pytest.raises(DeniedError, match="Run as root"):
        cgroups.create(kernel.hierarchies, "top/one")
    assert not list(kernel.root.rglob("top"))


def test_freeze_waits_for_the_kernel(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = cgroups.create(kernel.hierarchies, "one")
    slow: list[float] = []
    freezer = cgroup.unified or cgroup.v1["freezer"]
    real = kernel.write

    def write(path: Path, text: str) -> None:
        real(path, text)
        if text in ("1", "FROZEN"):
            kernel.put(freezer / "cgroup.events" if cgroup.unified else freezer / "freezer.state", "FREEZING")

    def sleep(seconds: float) -> None:
        slow.append(seconds)
        if len(slow) == 3:
            if cgroup.unified:
                kernel.put(freezer / "cgroup.events", "populated 1\nfrozen 1")
            else:
                kernel.put(freezer / "freezer.state", "FROZEN")

    monkeypatch.setattr("runtime.kernel.files.write", write)
    monkeypatch.setattr("time.sleep", sleep)
    assert not cgroups.is_frozen(cgroup)
    cgroups.freeze(cgroup)
    assert len(slow) == 3
    assert cgroups.is_frozen(cgroup)
    cgroups.thaw(cgroup)
    assert not cgroups.is_frozen(cgroup)


def test_a_freeze_that_times_out_is_reverted(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = cgroups.create(kernel.hierarchies, "one")
    monkeypatch.setattr(cgroups, "is_frozen", lambda _cgroup: False)
    with pytest.raises(KernelError, match="freeze a container"):
        cgroups.freeze(cgroup)
    assert kernel.writes[-1] in [("cgroup.freeze", "0"), ("freezer.state", "THAWED")]


def test_without_a_freezer_it_is_unsupported(v1: FakeKernel) -> None:
    cgroup = cgroups.create(v1.hierarchies, "one")
    bare = Cgroup({name: path for name, path in cgroup.v1.items() if name != "freezer"})
    with pytest.raises(UnsupportedError, match="no freezer"):
        cgroups.freeze(bare)
    assert not cgroups.is_frozen(bare)


def test_thaw_also_undoes_v1s_freezer_on_a_hybrid_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(tmp_path, Mode.HYBRID, monkeypatch)
    cgroup = cgroups.create(kernel.hierarchies, "one")
    kernel.put(cgroup.v1["freezer"] / "freezer.state", "FROZEN")
    assert cgroups.is_frozen(cgroup)
    cgroups.thaw(cgroup)
    assert kernel.get(cgroup.v1["freezer"] / "freezer.state") == "THAWED"
    assert not cgroups.is_frozen(cgroup)


def killing(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, cgroup: Cgroup) -> list[tuple[int, int]]:
    """os.kill ends a process unless it is frozen by v1, as the kernel has it."""
    sent: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        for directory in cgroup.directories:
            left = [word for word in kernel.get(directory / "cgroup.procs").split() if word != str(pid)]
            kernel.put(directory / "cgroup.procs", "\n".join(left))

    monkeypatch.setattr("os.kill", kill)
    return sent


def test_v1_freezes_before_the_kill(v1: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = cgroups.create(v1.hierarchies, "one")
    cgroups.attach(cgroup, 7)
    sent = killing(v1, monkeypatch, cgroup)
    v1.writes.clear()
    cgroups.kill_all(cgroup)
    assert sent == [(7, signal.SIGKILL)]
    assert v1.writes == [("freezer.state", "FROZEN"), ("freezer.state", "THAWED")]
    assert cgroups.is_empty(cgroup)


def test_a_process_forked_during_the_kill_is_killed(v1: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = cgroups.create(v1.hierarchies, "one")
    cgroups.attach(cgroup, 7)
    killing(v1, monkeypatch, cgroup)
    monkeypatch.setattr(cgroups, "KILL_TIMEOUT_S", -1.0)
    cgroups.kill_all(cgroup)
    assert cgroups.is_empty(cgroup)


def test_v2_kills_by_one_write(v2: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = cgroups.create(v2.hierarchies, "one")
    cgroups.attach(cgroup, 7)
    sent = killing(v2, monkeypatch, cgroup)
    v2.writes.clear()
    cgroups.kill_all(cgroup)
    assert v2.writes == [("cgroup.kill", "1")]
    assert sent == []


def test_processes_that_survive_sigkill_are_an_error(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = cgroups.create(kernel.hierarchies, "one")
    cgroups.attach(cgroup, 7)
    monkeypatch.setattr("os.kill", lambda _pid, _number: None)
    monkeypatch.setattr(kernel, "_cgroup_kill", lambda _path, _text: None)
    with pytest.raises(KernelError, match="1 are left"):
        cgroups.kill_all(cgroup)
    if "freezer" in cgroup.v1:
        assert kernel.get(cgroup.v1["freezer"] / "freezer.state") == "THAWED"


def test_signals_ignore_ended_processes_and_report_denied_ones(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup = cgroups.create(kernel.hierarchies, "one")
    cgroups.attach(cgroup, 7)

    def gone(_pid: int, _number: int) -> None:
        raise ProcessLookupError

    def denied(_pid: int, _number: int) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr("os.kill", gone)
    cgroups.signal_all(cgroup, 15)
    monkeypatch.setattr("os.kill", denied)
    with pytest.raises(DeniedError, match="process 7"):
        cgroups.signal_all(cgroup, 15)


def test_members_below_count_and_foreign_ones_do_not(kernel: FakeKernel) -> None:
    top = cgroups.create(kernel.hierarchies, "top")
    inner = cgroups.create(kernel.hierarchies, "top/inner")
    cgroups.attach(inner, 7)
    for directory in top.directories:
        kernel.put(directory / "cgroup.procs", "0\n3")  # 0: a process of another pid namespace
    assert cgroups.pids(top) == [3, 7]
    assert cgroups.pids(inner) == [7]
    assert not cgroups.is_empty(top)


def test_remove_includes_descendants_and_is_idempotent(kernel: FakeKernel) -> None:
    top = cgroups.create(kernel.hierarchies, "top")
    cgroups.create(kernel.hierarchies, "top/inner")
    assert cgroups.exists(top)
    cgroups.remove(top)
    assert not cgroups.exists(top)
    cgroups.remove(top)
    with pytest.raises(NotFoundError, match="it is gone"):
        cgroups.require(top)
    with pytest.raises(NotFoundError):
        cgroups.freeze(top)
    cgroups.kill_all(top)


def test_remove_never_kills(kernel: FakeKernel) -> None:
    cgroup = cgroups.create(kernel.hierarchies, "one")
    cgroups.attach(cgroup, 7)
    with pytest.raises(ConflictError, match="1 processes are left"):
        cgroups.remove(cgroup)
    assert cgroups.pids(cgroup) == [7]


def test_remove_reports_missing_rights(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = cgroups.create(kernel.hierarchies, "one")

    def denied(path: Path) -> None:
        raise PermissionError(errno.EPERM, "no", str(path))

    monkeypatch.setattr(kernel, "rmdir", denied)
    with pytest.raises(DeniedError, match="Run as root"):
        cgroups.remove(cgroup)


def nested(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, *members: int, own: str = "/") -> Path:
    """The top is somebody's cgroup with processes in it, as in a container; /proc/self/cgroup says `own`."""
    top = kernel.root / "unified"
    kernel.put(top / "cgroup.type", "domain")
    kernel.put(top / "cgroup.procs", "\n".join(map(str, members)))
    monkeypatch.setattr(delegation, "own_directory", lambda hierarchies, **_: hierarchies.unified.of(own))
    return top


def test_nested_own_processes_are_moved_to_a_leaf(v2: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    top = nested(v2, monkeypatch, 1, 7)
    assert LimitName.MEMORY not in limits.unsupported_limits(v2.hierarchies)
    assert v2.writes == [], "looking moves nobody"
    cgroup = cgroups.create(v2.hierarchies, "engine/one")
    assert cgroup.controllers == frozenset(V2)
    assert v2.writes[:3] == [("cgroup.procs", "1"), ("cgroup.procs", "7"), ("cgroup.subtree_control", "+memory")]
    assert v2.get(top / "cgroup.procs") == ""
    assert v2.get(top / delegation.LEAF_NAME / "cgroup.procs").split() == ["1", "7"]


def test_nested_processes_that_fork_or_end_meanwhile_are_handled(
    v2: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = nested(v2, monkeypatch, 1, 7)
    real = v2._cgroup_procs

    def procs(path: Path, text: str) -> str:
        if text == "7":
            v2.put(top / "cgroup.procs", "8")
            v2._no(errno.ESRCH)
        return real(path, text)

    monkeypatch.setattr(v2, "_cgroup_procs", procs)
    assert cgroups.create(v2.hierarchies, "engine/one").controllers == frozenset(V2)
    assert v2.get(top / delegation.LEAF_NAME / "cgroup.procs").split() == ["1", "8"]


@pytest.mark.parametrize(
    ("kind", "members", "own", "reason"),
    [
        ("domain", (0, 7), "/", "has processes of another PID namespace"),
        ("domain", (7,), "/other", "has processes, and it is not our own"),
        ("domain threaded", (7,), "/", "is of the type 'domain threaded'"),
    ],
)
def test_nested_foreign_processes_are_not_moved_and_the_reason_is_reported(
    v2: FakeKernel,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    members: tuple[int, ...],
    own: str,
    reason: str,
) -> None:
    top = nested(v2, monkeypatch, *members, own=own)
    v2.put(top / "cgroup.type", kind)
    cgroup = cgroups.create(v2.hierarchies, "engine/one")
    assert (cgroup.controllers, v2.writes) == (frozenset(), []), "nothing is enabled, not even what would let itself"
    lacking = limits.unsupported_limits(v2.hierarchies)
    assert lacking[LimitName.PIDS].startswith("no cgroup here can have the pids controller: the cgroup at the top")
    assert reason in lacking[LimitName.MEMORY]


def test_nested_when_own_processes_are_in_the_leaf_already(v2: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    nested(v2, monkeypatch)
    assert delegation.why_no_controllers(v2.hierarchies) is None
    assert cgroups.create(v2.hierarchies, "engine/one").controllers == frozenset(V2)
    assert "cgroup.procs" not in dict(v2.writes)


def test_nested_a_process_that_cannot_be_moved_is_reported(v2: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    nested(v2, monkeypatch, 7)
    monkeypatch.setattr(delegation, "MOVE_TIMEOUT_S", 0.0)
    v2.ignore = {"cgroup.procs"}
    with pytest.raises(ConflictError, match="1 are left in it"):
        cgroups.create(v2.hierarchies, "engine/one")
    monkeypatch.setattr(delegation, "MOVE_TIMEOUT_S", 60.0)
    v2.ignore, v2.fail = set(), {"cgroup.procs": errno.EPERM}
    with pytest.raises(DeniedError, match=r"cgroup\.procs"):
        cgroups.create(v2.hierarchies, "engine/one")


def test_nested_a_process_that_enters_meanwhile_leaves_no_controller_half_enabled(
    v2: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel would enable cpu and pids beside that process, and take none into what is below any more."""
    top = nested(v2, monkeypatch, 7)
    real = delegation.move_to_leaf

    def clear(directory: Path) -> None:
        real(directory)
        v2.put(top / "cgroup.procs", "8")

    monkeypatch.setattr(delegation, "move_to_leaf", clear)
    assert cgroups.create(v2.hierarchies, "engine/one").controllers == frozenset()
    assert [text for name, text in v2.writes if name == "cgroup.subtree_control"] == ["+memory"]


def test_a_real_root_is_never_emptied(v2: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    top = nested(v2, monkeypatch, 1, 7)
    (top / "cgroup.type").unlink()
    assert cgroups.create(v2.hierarchies, "engine/one").controllers == frozenset(V2)
    assert v2.get(top / "cgroup.procs").split() == ["1", "7"]
    assert not (top / delegation.LEAF_NAME).exists()


@pytest.mark.parametrize(
    ("root", "said", "own"),
    [("/", "/", ""), ("/docker/x", "/docker/x", ""), ("/", "/a", "a"), ("/docker/x", "/y", None)],
)
def test_our_own_cgroup_in_what_is_mounted(tmp_path: Path, root: str, said: str, own: str | None) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(f"0::{said}\n")
    hierarchies = Hierarchies(Mode.V2, {}, Mount(tmp_path / "mounted", root))
    found = delegation.own_directory(hierarchies, proc=tmp_path)
    assert found == (None if own is None else tmp_path / "mounted" / own)


@pytest.mark.parametrize(
    ("errors", "known"),
    [
        ({}, {7, 8}),
        ({"threaded": errno.EOPNOTSUPP}, {7}),  # listed above, in the domain that it belongs to
        ({"": errno.EOPNOTSUPP}, None),
        ({"threaded": errno.EACCES}, None),
        ({"threaded": errno.ENOENT}, {7}),
    ],
)
def test_processes_that_cannot_be_read_are_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: dict[str, int], known: set[int] | None
) -> None:
    for name, pid in (("", 7), ("threaded", 8)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").write_text(f"{pid}\n")
    wanted = {tmp_path / name / "cgroup.procs": number for name, number in errors.items()}
    real = files.read

    def read(path: Path) -> str:
        number = wanted.get(path, 0)
        kinds = {errno.EACCES: DeniedError, errno.ENOENT: NotFoundError}
        if number:
            raise kinds.get(number, KernelError)("read cgroup.procs", errno=number)
        return real(path)

    monkeypatch.setattr(files, "read", read)
    assert cgroups.known_pids(Cgroup({}, tmp_path)) == known


def test_a_cgroup_that_is_gone_holds_no_process(tmp_path: Path) -> None:
    assert cgroups.known_pids(Cgroup({}, tmp_path / "gone")) == frozenset()
