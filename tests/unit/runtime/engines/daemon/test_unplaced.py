"""Live containers without a cgroup of their own on this machine: each says why, and keeps what needs no cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.engines.daemon.peer import Peer
from runtime.engines.daemon.placement import DOCKER, PODMAN, cgroup_of, placed
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.kernel.own_cgroup import NO_OWN
from runtime.kernel.visibility import INITIAL_INODES
from runtime.model import Container, ContainerRef, State

ID = "ab" * 32
PID, MONITOR = 42, 41
ROOTS, REMOTE, EVES = Peer(frozenset({0})), Peer(remote=True), Peer(frozenset({4321}))
NOWHERE = Hierarchies(Mode.NONE)
WEB = Container(ContainerRef("docker", ID), "web", "", State.RUNNING, pid=PID)


def machine(proc: Path, *, mounts: str = "", **inodes: int) -> None:
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/mountinfo").write_text(mounts)
    for name, inode in {**INITIAL_INODES, **inodes}.items():
        (proc / "self/ns" / name).symlink_to(f"{name}:[{inode}]")


def process(proc: Path, cgroup: str, *, monitor: str = "", pid: int = PID) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")
    (proc / str(pid) / "stat").write_text(f"{pid} (x) S " + "1 " * 18 + "100 0\n")
    (proc / str(pid) / "status").write_text(f"PPid:\t{MONITOR}\nUid:\t0\t0\t0\t0\n")
    if monitor:
        (proc / str(MONITOR)).mkdir()
        (proc / str(MONITOR) / "cmdline").write_bytes(monitor.replace(" ", "\0").encode() + b"\0")


def look(proc: Path, container: Container = WEB, peer: Peer = ROOTS) -> tuple[int | None, str, str]:
    found = placed(container, peer, DOCKER, NOWHERE, proc)
    return found.pid, found.cgroup, found.unplaced


@pytest.mark.parametrize(
    ("prefixes", "monitor"),
    [
        (DOCKER, f"/usr/bin/containerd-shim-runc-v2 -namespace moby -id {ID} -address /run/x.sock"),
        (PODMAN, f"/usr/bin/conmon --api-version 1 -c {ID} -u {ID} -r /usr/bin/runc"),
    ],
)
def test_a_process_that_was_moved_stays_the_containers(tmp_path: Path, prefixes: tuple[str, ...], monitor: str) -> None:
    """Its monitor vouches for it; the cgroup that it is in is another's, so no limit is written there."""
    machine(tmp_path)
    process(tmp_path, "/system.slice/moved.scope", monitor=monitor)
    found = placed(WEB, ROOTS, prefixes, NOWHERE, tmp_path)
    assert (found.pid, found.cgroup) == (PID, NO_OWN)
    assert f"its first process {PID} was moved to the cgroup /system.slice/moved.scope" in found.unplaced
    assert cgroup_of(found, ROOTS, NOWHERE) is None


def test_a_pid_of_a_virtual_machine_is_another_process_here(tmp_path: Path) -> None:
    machine(tmp_path)
    process(tmp_path, "/system.slice/sshd.service", monitor="/usr/sbin/sshd -D")
    assert look(tmp_path)[:2] == (None, "")
    assert f"process {PID} of this machine is another one" in look(tmp_path)[2]


def test_a_pid_that_is_not_there(tmp_path: Path) -> None:
    machine(tmp_path)
    assert look(tmp_path) == (
        None,
        "",
        f"there is no process {PID} on this machine: its engine runs in a virtual machine or a container",
    )
    assert "over the network" in look(tmp_path, peer=REMOTE)[2]


def test_hidepid_is_the_reason_where_it_hides(tmp_path: Path) -> None:
    for option in ("hidepid=2", "hidepid=invisible", "hidepid=0", "gid=4"):
        proc = tmp_path / option
        machine(proc, mounts=f"20 1 0:5 / /proc rw - proc proc rw,{option}\n")
        hides = option not in ("hidepid=0", "gid=4")
        assert ("mounted with hidepid" in look(proc)[2]) is hides


def test_a_pid_that_was_not_told(tmp_path: Path) -> None:
    machine(tmp_path)
    silent = Container(ContainerRef("docker", ID), "web", "", State.RUNNING)
    assert "has not told" in look(tmp_path, silent)[2]
    assert "over the network" in look(tmp_path, silent, REMOTE)[2]


def test_another_users_engine_names_what_is_not_its(tmp_path: Path) -> None:
    machine(tmp_path)
    process(tmp_path, f"/docker/{ID}")
    assert look(tmp_path, peer=EVES) == (None, "", f"process {PID} is none of the user's as whom its engine runs")


def test_what_is_placed_or_has_ended_says_nothing(tmp_path: Path) -> None:
    machine(tmp_path)
    process(tmp_path, f"/docker/{ID}")
    assert look(tmp_path) == (PID, f"/docker/{ID}", "")
    ended = Container(ContainerRef("docker", ID), "web", "", State.EXITED, pid=PID + 1)
    assert look(tmp_path, ended) == (None, "", "")


@pytest.mark.parametrize(
    ("inodes", "path", "pid", "options"),
    [
        ({"cgroup": 5}, f"/../{ID}", PID, "docker run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup"),
        (
            {"cgroup": 5, "pid": 6},
            "",
            None,
            "docker run --cgroupns=host --pid=host -v /sys/fs/cgroup:/sys/fs/cgroup",
        ),
        ({"pid": 6}, "", None, "docker run --pid=host"),
    ],
)
def test_in_a_container_the_missing_options_are_named(
    tmp_path: Path, inodes: dict[str, int], path: str, pid: int | None, options: str
) -> None:
    machine(tmp_path, **inodes)
    if path:
        process(tmp_path, path)
    found_pid, cgroup, why = look(tmp_path)
    assert (found_pid, cgroup) == ((pid, NO_OWN) if pid else (None, ""))
    assert why.startswith("this program runs in a container")
    assert why.endswith(f"start it with {options}")


def test_a_part_of_the_tree_is_mounted_again(tmp_path: Path) -> None:
    machine(tmp_path, pid=6)
    part = Hierarchies(Mode.V2, unified=Mount(Path(os.devnull), "/docker/x"))
    why = placed(WEB, ROOTS, DOCKER, part, tmp_path).unplaced
    assert why.endswith("docker run --pid=host -v /sys/fs/cgroup:/sys/fs/cgroup")
