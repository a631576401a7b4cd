"""Where cgroups are: mountinfo, /proc/<pid>/cgroup, the three layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount, at, detect, parse_proc_cgroup

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
    assert found.others == ((Mount(Path("/sys/fs/cgroup/systemd")),) if NAMED in text else ())
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


def test_the_root_of_the_unified_tree_is_the_hosts_not_the_containers() -> None:
    hierarchies = Hierarchies(Mode.V2, {}, Mount(Path("/sys/fs/cgroup")))
    assert at(hierarchies, {}, "/").unified is None
    assert at(hierarchies, {}, None).unified is None


def test_io_is_blkio_on_v1() -> None:
    assert Cgroup({"blkio": Path("/b")}).where("io") == (Path("/b"), 1)
