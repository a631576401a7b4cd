"""What the doctor says about the part of the cgroup tree that is ours, on trees of regular files."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.doctor import Level, mode_check
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount

USER = "/user.slice/user-1000.slice/user@1000.service"
HOSTS_NAMESPACE = "cgroup:[4026531835]"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    made = tmp_path / "proc"
    (made / "self/ns").mkdir(parents=True)
    (made / "self/ns/cgroup").symlink_to(HOSTS_NAMESPACE)
    (made / "self/cgroup").write_text(f"0::{USER}/app.slice/x.scope\n")
    return made


def tree(tmp_path: Path, offered: str, root: str = "/") -> Hierarchies:
    (tmp_path / "cgroup").mkdir(exist_ok=True)
    (tmp_path / "cgroup/cgroup.controllers").write_text(offered)
    return Hierarchies(Mode.V2, {}, Mount(tmp_path / "cgroup", root))


def test_a_whole_host(tmp_path: Path, proc: Path) -> None:
    check = mode_check(tree(tmp_path, "cpuset cpu io memory pids"), proc=proc, uid=0)
    assert check.level is Level.GOOD
    assert check.found == "v2, controllers cpu memory pids cpuset io; the whole tree is ours, " + (
        "every container can be limited"
    )


def test_hybrid_counts_the_controllers_of_v1(tmp_path: Path, proc: Path) -> None:
    v1 = {"blkio": Mount(tmp_path / "blkio"), "cpu": Mount(tmp_path / "cpu")}
    unified = tree(tmp_path, "").unified
    check = mode_check(Hierarchies(Mode.HYBRID, v1, unified), proc=proc, uid=0)
    assert check.found.startswith("hybrid, controllers cpu io;")


@pytest.mark.parametrize("how", ["mount", "namespace"])
def test_nested_says_what_was_not_delegated(tmp_path: Path, proc: Path, how: str) -> None:
    if how == "namespace":
        (proc / "self/ns/cgroup").unlink()
        (proc / "self/ns/cgroup").symlink_to("cgroup:[4026532999]")
    check = mode_check(tree(tmp_path, "memory pids", "/docker/x" if how == "mount" else "/"), proc=proc, uid=0)
    assert check.level is Level.LIMITED
    assert "without cpu cpuset io" in check.found


@pytest.mark.parametrize(
    ("members", "enabled", "level", "words"),
    [
        ("1 7", "", Level.GOOD, "whose processes go into its leaf pytop-leaf when a container is started: limits hold"),
        ("0 7", "", Level.BROKEN, "where no cgroup can have cpu memory pids cpuset io: the cgroup at the top"),
        ("0 7", "cpu memory pids", Level.LIMITED, "where no cgroup can have cpuset io: the cgroup at the top"),
        ("", "", Level.GOOD, "part of the tree: limits hold within those of that container"),
    ],
)
def test_nested_beside_processes(
    tmp_path: Path, proc: Path, members: str, enabled: str, level: Level, words: str
) -> None:
    (proc / "self/cgroup").write_text("0::/\n")
    hierarchies = tree(tmp_path, "cpuset cpu io memory pids")
    for name, text in (("type", "domain"), ("procs", members), ("subtree_control", enabled)):
        (tmp_path / "cgroup" / f"cgroup.{name}").write_text(text)
    check = mode_check(hierarchies, proc=proc, uid=0)
    assert check.level is level
    assert words in check.found


def test_rootless_from_a_login_that_systemd_keeps_outside(tmp_path: Path, proc: Path) -> None:
    (proc / "self/cgroup").write_text("0::/user.slice/user-1000.slice/session-2.scope\n")
    hierarchies = tree(tmp_path, "cpuset cpu io memory pids")
    delegated = tmp_path / "cgroup" / USER.strip("/")
    delegated.mkdir(parents=True)
    for name in ("procs", "subtree_control"):
        (delegated / f"cgroup.{name}").write_text("")
    (delegated / "cgroup.controllers").write_text("memory pids\n")
    assert f"memory pids delegated below {USER}, so" in mode_check(hierarchies, proc=proc, uid=1000).found
    assert "nothing is delegated" in mode_check(hierarchies, proc=proc, uid=1001).found


def test_nested_beside_v1_no_process_has_to_be_moved(tmp_path: Path, proc: Path) -> None:
    unified = tree(tmp_path, "").unified
    for name, text in (("type", "domain"), ("procs", "0 7")):
        (tmp_path / "cgroup" / f"cgroup.{name}").write_text(text)
    v1 = {name: Mount(tmp_path / name, "/docker/x") for name in ("cpu", "memory", "pids", "cpuset", "blkio")}
    check = mode_check(Hierarchies(Mode.HYBRID, v1, unified), proc=proc, uid=0)
    assert check.level is Level.GOOD
    assert check.found.endswith("inside a container's own part of the tree: limits hold within those of that container")


def test_rootless_with_delegation_names_the_controllers_and_how_to_get_the_others(tmp_path: Path, proc: Path) -> None:
    hierarchies = tree(tmp_path, "cpuset cpu io memory pids")
    delegated = tmp_path / "cgroup" / USER.strip("/")
    delegated.mkdir(parents=True)
    (delegated / "cgroup.controllers").write_text("memory pids\n")
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (delegated / name).write_text("")
    check = mode_check(hierarchies, proc=proc, uid=1000)
    assert check.level is Level.LIMITED
    assert "not root: memory pids delegated" in check.found
    assert check.remedy.endswith("Delegate=cpu cpuset io")


def test_rootless_without_delegation(tmp_path: Path, proc: Path) -> None:
    check = mode_check(tree(tmp_path, "cpu"), proc=proc, uid=1000)
    assert "nothing is delegated: no limit can be written" in check.found
