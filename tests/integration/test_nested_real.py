"""Cgroup v2 where only a part of the tree is ours: as root of a cgroup namespace, and delegated to a user."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.delegation import LEAF_NAME
from tests.conftest import missing, need_root
from tests.integration import embedded, nested

MB = nested.MB
NESTED = (sys.executable, "-m", "tests.integration.nested")
ROOT = Path(__file__).parents[2]
ENTER = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
MOUNT = 'umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && "$@"'


@pytest.fixture
def part() -> Iterator[Path]:
    """A cgroup of the test's own with every controller, and whoever is left in it is killed."""
    need_root("nested")
    hierarchies = cgroupfs.detect()
    if hierarchies.mode is not cgroupfs.Mode.V2:
        missing("nested", "cgroup v2 is not alone here")
    made = cgroups.create(hierarchies, f"pytop-test-nested-{secrets.token_hex(3)}")
    assert made.unified is not None
    try:
        yield made.unified
    finally:
        cgroups.kill_all(made)
        cgroups.remove(made)


def told_by(part: Path, *words: str) -> dict[str, Any]:
    """What a process of this cgroup has printed."""
    done = subprocess.run(
        ["sh", "-c", ENTER, "sh", str(part), *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def inside(part: Path, folder: Path, *namespaces: str) -> dict[str, Any]:
    """Run `nested` as a process of this cgroup, which is the root of its namespace."""
    config = embedded.config(folder)
    enter = ["unshare", "--cgroup", "--mount", *namespaces, "sh", "-c", MOUNT, "sh"]
    told = told_by(part, *enter, *NESTED, config.to_json())
    assert embedded.processes_of(config) == []
    return told


def test_the_processes_of_a_namespaces_root_are_moved_to_a_leaf(part: Path, tmp_path: Path) -> None:
    ours = Path("/proc/self/cgroup").read_text()
    told = inside(part, tmp_path)
    before, after = told["before"], told["after"]
    assert (before["type"], before["enabled"], before["own"], before["beside"]) == ("domain", [], "0::/", "0::/")
    level, found, _ = before["mode"]
    assert level == "good"
    assert f"whose processes go into its leaf {LEAF_NAME} when a container is started" in found
    assert {level for level, _ in before["checks"].values()} == {"good"}
    assert told.get("error") is None
    assert told["why not"] is None
    assert not {"memory", "pids", "cpus", "cpuset_cpus", "io_read_bps"} & set(told["lacking"])
    assert told["container"].startswith("0::/pytop-test-")
    assert told["held"] == [64 * MB, 33, 0.5]
    assert told["update"] == [True, 96 * MB, 44]
    assert told["state"] == "exited"
    assert (after["own"], after["beside"]) == (f"0::/{LEAF_NAME}", f"0::/{LEAF_NAME}")
    assert set(after["enabled"]) == set(cgroups.WANTED_CONTROLLERS)
    assert after["mode"][0] == "good"
    assert LEAF_NAME not in after["mode"][1]
    assert Path("/proc/self/cgroup").read_text() == ours, "nobody else is moved"


def test_processes_that_cannot_be_moved_are_reported_as_the_reason(part: Path, tmp_path: Path) -> None:
    """The parent of a new PID namespace stays in the cgroup, and cannot be seen from inside."""
    told = inside(part, tmp_path, "--pid", "--fork", "--mount-proc")
    reason = "the cgroup at the top of this part of the tree has processes of another PID namespace"
    for moment in ("before", "after"):
        looked = told[moment]
        assert (looked["type"], looked["enabled"], looked["own"], looked["beside"]) == ("domain", [], "0::/", "0::/")
        assert looked["mode"][0] == "broken"
        assert f"where no cgroup can have cpu memory pids cpuset io: {reason}" in looked["mode"][1]
        for name in cgroups.WANTED_CONTROLLERS:
            level, found = looked["checks"][name]
            assert level == "broken"
            assert found.startswith(f"v2, no cgroup can have it: {reason}")
    assert reason in told["why not"]
    assert reason in told["lacking"]["memory"]
    assert reason in told["error"]
    assert "held" not in told


def test_the_doctor_tries_what_is_delegated_to_a_user(part: Path) -> None:
    (part / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    given = part / "given"
    given.mkdir()
    for path in (given, given / "cgroup.procs", given / "cgroup.subtree_control", given / "cgroup.threads"):
        os.chown(path, nested.NOBODY, nested.NOBODY)
    told = told_by(given, *NESTED, "nobody")
    for name in ("cpu", "memory", "pids"):
        assert told["checks"][name] == ["good", "v2, delegated to you: cgroups can be made"]
    for name in ("cpuset", "io"):
        assert told["checks"][name] == ["limited", "v2, not delegated to you"]
    level, found, remedy = told["mode"]
    assert level == "limited"
    assert f"not root: cpu memory pids delegated below /{part.name}/given, so limits of your own" in found
    assert remedy == "For cpuset io: have root enable in each cgroup.subtree_control above it cpuset io"
    assert not [path for path in given.iterdir() if path.is_dir()], "probes leave nothing"
