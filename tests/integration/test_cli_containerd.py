"""The same commands on a real containerd: its containers in the list, its limits, and what it cannot do."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.containerdd import Containerdd, containerdd
from tests.dockerd import busybox_rootfs
from tests.engines.containerd_subject import IMAGE, engine_of
from tests.integration.program import Program, program
from tests.waiting import wait_until

IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
RUN = ("run", "--engine", "containerd", "--network", "none")


@dataclass(frozen=True, slots=True)
class Both:
    """The program, with a containerd of the tests' own."""

    program: Program
    daemon: Containerdd


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    folder = Path(tempfile.mkdtemp(prefix="ptc-"))
    try:
        with containerdd(folder) as daemon:
            asyncio.run(bring_image(daemon))
            where = {"CONTAINERD_ADDRESS": str(daemon.socket), "CONTAINERD_NAMESPACE": daemon.name}
            with program(**where) as made:
                yield Both(made, daemon)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def bring_image(daemon: Containerdd) -> None:
    engine = engine_of(daemon)
    await engine.import_image(IMAGE, busybox_rootfs())
    await engine.close()


def test_a_container_from_run_to_rm(both: Both) -> None:
    p = both.program
    identity = p(*RUN, "-d", "--name", "web", "busybox", *IDLE).stdout.strip()
    assert identity == f"{both.daemon.name}/web"
    assert "web" in both.daemon.ctr("tasks", "ls")
    rows = [line.split("\t") for line in p("ps").stdout.splitlines()[1:]]
    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [("web", "web", "containerd", "running")]
    (outcome,) = json.loads(p("update", "--cpus", "0.25", "-m", "48m", "--json", "web").stdout)
    assert outcome["ok"] is True
    assert {limit["name"]: limit["kernel"] for limit in outcome["limits"]} == {"cpus": 0.25, "memory": 48 << 20}
    assert p.file("web", ("memory", "memory.limit_in_bytes"), "memory.max") == str(48 << 20)
    document = json.loads(p("stats", "--once", "--json", "web").stdout)
    assert document["containers"][0]["cpu_limit"] == 0.25
    p("stop", "-t", "2", identity)
    assert "STOPPED" in both.daemon.ctr("tasks", "ls")
    p("rm", "containerd:web")
    assert p("ps", "-aq").stdout == ""


def test_foreground_and_what_it_cannot_do(both: Both) -> None:
    p = both.program
    done = p(*RUN, "--name", "once", "busybox", "sh", "-c", "echo out; echo err >&2; exit 5", code=5)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    p("rm", "once")
    assert "--network none" in p("run", "--engine", "containerd", "busybox", "true", code=125).stderr
    assert p(*RUN, "--rm", "busybox", "echo", "gone after it").stdout == "gone after it\n"
    assert "--rm" in p(*RUN, "-d", "--rm", "busybox", "true", code=125).stderr
    assert "no-such-image" in p(*RUN, "no-such-image", "x", code=125).stderr
    assert p("ps", "-aq").stdout == ""


def test_containers_started_by_ctr_are_listed_and_a_killed_daemon_is_reported(both: Both) -> None:
    p, daemon = both.program, both.daemon
    daemon.run(IMAGE, "theirs", *IDLE)
    assert "theirs" in p("ps").stdout
    daemon.kill()
    try:
        assert "containerd" in p("ps").stderr
        assert p("stop", "containerd:theirs", code=5).stderr
    finally:
        daemon.start()
    wait_until(lambda: "containerd" not in p("ps").stderr, 15)
    assert "theirs" in p("ps").stdout
    p("rm", "-f", "theirs")


def test_doctor(both: Both) -> None:
    found = {check["name"]: check for check in json.loads(both.program("doctor", "--json").stdout)["checks"]}
    assert found["containerd"]["level"] == "good"
    assert str(both.daemon.socket) in found["containerd"]["found"]
