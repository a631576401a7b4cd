"""In a cgroup namespace of its own, as in a container without --cgroupns=host: the missing option is named."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.kernel import cgroupfs
from tests.conftest import need_root
from tests.integration.program import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.root
ID = secrets.token_hex(32)
SCRIPT = """
import json, sys
from runtime.engines.daemon.peer import Peer
from runtime.engines.daemon.placement import DOCKER, placed
from runtime.kernel import cgroupfs
from runtime.kernel.visibility import visibility
from runtime.model import Container, ContainerRef, State
pid, identity = int(sys.argv[1]), sys.argv[2]
hierarchies = cgroupfs.detect()
web = Container(ContainerRef("docker", identity), "web", "", State.RUNNING, pid=pid)
found = placed(web, Peer(frozenset({0})), DOCKER, hierarchies)
seen = visibility(hierarchies)
print(json.dumps([found.pid, found.cgroup, found.unplaced, seen.own_cgroups, seen.own_pids]))
"""


@pytest.fixture
def beside() -> Iterator[tuple[Path, int]]:
    """A cgroup for the program, and a process in a cgroup beside it that is called after a container."""
    need_root("cgroups")
    hierarchies = cgroupfs.detect()
    mount = hierarchies.unified or hierarchies.v1["pids"]
    top = mount.path / f"pytop-test-{secrets.token_hex(3)}"
    inside, outside = top / "program", top / ID
    for directory in (top, inside, outside):
        directory.mkdir()
    process = subprocess.Popen(["sleep", "600"])
    try:
        (outside / "cgroup.procs").write_text(str(process.pid))
        yield inside, process.pid
    finally:
        process.kill()
        process.wait()
        for directory in (inside, outside, top):
            wait_until(lambda directory=directory: not (directory / "cgroup.procs").read_text(), 10)  # type: ignore[misc]
            directory.rmdir()


@pytest.mark.parametrize("own", [False, True], ids=["the machine's", "its own"])
def test_a_private_cgroup_namespace_is_the_reason(beside: tuple[Path, int], own: bool) -> None:
    inside, pid = beside
    unshare = "unshare --cgroup" if own else ""
    shell = f'echo $$ > "$0/cgroup.procs" && exec {unshare} "$@"'
    command = ["sh", "-c", shell, str(inside), sys.executable, "-c", textwrap.dedent(SCRIPT), str(pid), ID]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found_pid, cgroup, why, own_cgroups, own_pids = json.loads(done.stdout)
    assert (found_pid, own_cgroups, own_pids) == (pid, own, False)
    if own:
        assert cgroup == "/"
        assert "hides the machine's cgroups: start it with docker run --cgroupns=host" in why
    else:
        assert cgroup.endswith(f"/{ID}")
        assert why == ""
