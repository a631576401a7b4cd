"""Which cgroup is a container's own: by its id, by a path, by where its process lives."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import NotFoundError
from runtime.kernel import own_cgroup
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.kernel.own_cgroup import NO_OWN, at_path, cgroup_of_process, locate, named

ID = "0123456789abcdef" * 4


def test_the_cgroup_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "u" / "c").mkdir(parents=True)
    (tmp_path / "u" / "c" / "cgroup.controllers").write_text("cpu memory\n")
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text("2:pids:/c\n0::/c\n")
    hierarchies = Hierarchies(Mode.HYBRID, {"pids": Mount(tmp_path / "p")}, Mount(tmp_path / "u"))
    cgroup = locate(hierarchies, 7, proc=tmp_path / "proc")
    assert cgroup == Cgroup({"pids": tmp_path / "p" / "c"}, tmp_path / "u" / "c", frozenset({"cpu", "memory"}))
    assert cgroup.where("cpu") == (tmp_path / "u" / "c", 2)
    assert cgroup.where("pids") == (tmp_path / "p" / "c", 1)
    assert cgroup.where("io") is None
    with pytest.raises(NotFoundError):
        locate(hierarchies, 8, proc=tmp_path / "proc")


@pytest.mark.parametrize(
    ("pids", "unified", "within", "expected"),
    [
        ("/docker/x", "/docker/x", "/docker/x", ("docker/x", "docker/x")),
        ("/docker/x/init.scope", "/docker/x/y/z", "/docker/x", ("docker/x", "docker/x")),
        ("/docker/x", "/system.slice/docker.service", "/docker/x", ("docker/x", None)),  # Docker on a hybrid host
        ("/shell/x", "/x", "/x", ("shell/x", "x")),  # runc by hand, in a shell with cgroups of its own
        ("/docker/x", "/docker/xy", "/docker/x", ("docker/x", None)),
        ("/docker/x", "/docker/x", "/", (None, None)),
    ],
)
def test_only_what_is_the_containers_own(
    tmp_path: Path, pids: str, unified: str, within: str, expected: tuple[str | None, str | None]
) -> None:
    hierarchies = Hierarchies(Mode.HYBRID, {"pids": Mount(Path("/v1"))}, Mount(Path("/v2")))
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(f"1:pids:{pids}\n0::{unified}\n")
    cgroup = locate(hierarchies, 7, within=within, proc=tmp_path)
    of_v1, of_v2 = expected
    assert cgroup.v1 == ({"pids": Path("/v1") / of_v1} if of_v1 else {})
    assert cgroup.unified == (Path("/v2") / of_v2 if of_v2 else None)


@pytest.mark.parametrize(
    ("unified", "own"),
    [
        ("/docker/x", True),
        ("/system.slice/docker.service", False),  # where an engine that makes v1 cgroups only leaves its processes
        ("/docker", False),
    ],
)
def test_the_unified_cgroup_of_a_daemon_is_not_its_containers(tmp_path: Path, unified: str, own: bool) -> None:
    hierarchies = Hierarchies(
        Mode.HYBRID, {"pids": Mount(Path("/p")), "memory": Mount(Path("/m"))}, Mount(tmp_path / "v2")
    )
    (tmp_path / "v2" / unified[1:]).mkdir(parents=True)
    (tmp_path / "v2" / unified[1:] / "cgroup.controllers").write_text("io\n")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(f"2:memory:/\n1:pids:/docker/x\n0::{unified}\n")
    cgroup = locate(hierarchies, 7, proc=tmp_path)
    assert cgroup.v1 == {"pids": Path("/p/docker/x"), "memory": Path("/m")}
    assert cgroup.unified == (tmp_path / "v2" / unified[1:] if own else None)
    assert cgroup.where("io") == ((tmp_path / "v2" / unified[1:], 2) if own else None)
    assert cgroup_of_process(hierarchies, 7, proc=tmp_path).unified == tmp_path / "v2" / unified[1:]


@pytest.mark.parametrize(
    ("path", "own"),
    [
        (f"/libpod_parent/libpod-{ID}", f"/libpod_parent/libpod-{ID}"),
        (f"/machine.slice/libpod-{ID}.scope/container", f"/machine.slice/libpod-{ID}.scope"),
        (f"/user.slice/u.scope/libpod-payload-{ID}/init.scope", f"/user.slice/u.scope/libpod-payload-{ID}"),
        ("/user.slice/user-1000.slice/session-1.scope", ""),
    ],
)
def test_its_own_cgroup_whatever_lives_below_it(path: str, own: str) -> None:
    assert named(f"0::{path}\n", ID) == own
    assert named(f"9:name=systemd:/x\n4:memory:{path}\n0::/\n", ID) == own


@pytest.mark.parametrize(
    ("part", "fits"),
    [
        *((ID, True), (f"docker-{ID}.scope", True), (f"cri-containerd-{ID}.scope", True)),
        *((f"system.slice:docker:{ID}", True), (f"buildkit-{ID}", False)),
        *((f"{ID}-evil", False), (f"x{ID}", False), (f"docker-{ID}.service", False), (ID[:-1], False)),
    ],
)
def test_a_whole_name_must_fit(part: str, fits: bool) -> None:
    assert named(f"0::/above/{part}/below\n", ID) == (f"/above/{part}" if fits else "")
    assert named(f"0::/above/{part}/below\n", "") == ""


def test_a_process_that_has_ended_has_no_cgroup(tmp_path: Path) -> None:
    hierarchies = Hierarchies(Mode.V2, {}, Mount(tmp_path))
    assert own_cgroup.own_cgroup(hierarchies, 7, "/box", proc=tmp_path) is None
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text("0::/box/inner\n")
    found = own_cgroup.own_cgroup(hierarchies, 7, "/box", proc=tmp_path)
    assert found == Cgroup({}, tmp_path / "box")
    assert own_cgroup.own_cgroup(hierarchies, 7, NO_OWN, proc=tmp_path) == Cgroup()


def test_a_cgroup_by_its_path_alone(tmp_path: Path) -> None:
    hierarchies = Hierarchies(Mode.HYBRID, {"cpu": Mount(tmp_path / "cpu")}, Mount(tmp_path / "unified"))
    assert at_path("/pod", hierarchies) is None
    (tmp_path / "cpu/pod").mkdir(parents=True)
    assert at_path("/pod", hierarchies) == Cgroup({"cpu": tmp_path / "cpu/pod"})
    (tmp_path / "unified/pod").mkdir(parents=True)
    found = at_path("/pod", hierarchies)
    assert found is not None
    assert found.directories == (tmp_path / "cpu/pod", tmp_path / "unified/pod")
