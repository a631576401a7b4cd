"""Where cgroups are: mountinfo, /proc/<pid>/cgroup, the three layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import NotFoundError
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount, around, at, detect, locate, parse_proc_cgroup

V1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
NAMED = "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
OTHER = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (OTHER + V1 + NAMED + UNIFIED, Mode.HYBRID),
        (OTHER + UNIFIED, Mode.V2),
        (V1, Mode.V1),
        (OTHER + NAMED, Mode.NONE),
        (NAMED + UNIFIED, Mode.V2),
        ("", Mode.NONE),
        ("garbage\n1 2 3 - cgroup2\n- - -\n", Mode.NONE),
    ],
)
def test_the_layout(tmp_path: Path, text: str, mode: Mode) -> None:
    (tmp_path / "mountinfo").write_text(text)
    found = detect(tmp_path / "mountinfo")
    assert found.mode is mode
    assert ("cpu" in found.v1) == (mode in (Mode.V1, Mode.HYBRID))
    if "cpu" in found.v1:
        assert found.v1["cpu"] == found.v1["cpuacct"] == Mount(Path("/sys/fs/cgroup/cpu"))


def test_a_mount_point_with_odd_characters(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("41 31 0:38 /part /a\\040b rw - cgroup2 cgroup2 rw\n")
    assert detect(tmp_path / "mountinfo").unified == Mount(Path("/a b"), "/part")


def test_no_mountinfo_is_no_cgroups(tmp_path: Path) -> None:
    assert detect(tmp_path / "none").mode is Mode.NONE


@given(st.text())
def test_no_proc_file_crashes_the_parsers(text: str) -> None:
    v1, unified = parse_proc_cgroup(text)
    assert all(isinstance(path, str) for path in v1.values())
    assert unified is None or isinstance(unified, str)


def test_proc_cgroup() -> None:
    text = "5:cpu,cpuacct:/docker/abc\n3:name=systemd:/x\n2:memory:/a:b\n0::/user.slice/s\nbroken\n"
    assert parse_proc_cgroup(text) == (
        {"cpu": "/docker/abc", "cpuacct": "/docker/abc", "memory": "/a:b"},
        "/user.slice/s",
    )


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/", "/docker/abc", "/m/docker/abc"),
        ("/", "/", "/m"),
        ("/docker/abc", "/docker/abc", "/m"),
        ("/docker/abc", "/docker/abc/sub", "/m/sub"),
        ("/docker/abc", "/docker/abcd", None),
        ("/docker/abc", "/other", None),
        ("/", "/../../etc", None),
    ],
)
def test_a_path_below_a_mount(root: str, path: str, expected: str | None) -> None:
    assert Mount(Path("/m"), root).of(path) == (Path(expected) if expected else None)


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
    assert around(hierarchies, 7, proc=tmp_path).unified == tmp_path / "v2" / unified[1:]


def test_the_root_of_the_unified_tree_is_the_hosts_not_the_containers() -> None:
    hierarchies = Hierarchies(Mode.V2, {}, Mount(Path("/sys/fs/cgroup")))
    assert at(hierarchies, {}, "/").unified is None
    assert at(hierarchies, {}, None).unified is None


def test_io_is_blkio_on_v1() -> None:
    assert Cgroup({"blkio": Path("/b")}).where("io") == (Path("/b"), 1)
