"""The same commands on a real Docker beside the embedded engine: names in both, limits, a daemon that dies."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from tests.dockerd import Dockerd, busybox_rootfs, dockerd
from tests.integration.program import Program, program
from tests.waiting import wait_until

IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")


@dataclass(frozen=True, slots=True)
class Both:
    """The program, with a daemon of the tests' own."""

    program: Program
    daemon: Dockerd


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    folder = Path(tempfile.mkdtemp(prefix="ptd-"))
    try:
        with dockerd(folder) as daemon, program(DOCKER_HOST=daemon.url) as made:
            asyncio.run(_import(daemon.url))
            yield Both(made, daemon)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _import(url: str) -> None:
    engine = DockerEngine(Endpoint(url, "the test"))
    try:
        await engine.import_image("busybox:latest", busybox_rootfs())
    finally:
        await engine.close()


@pytest.fixture
def clean(both: Both) -> Iterator[Both]:
    yield both
    left = both.program("ps", "-aq", "--no-trunc").stdout.split()
    if left:
        both.program("rm", "-f", *left)


def test_the_image_chooses_the_engine_and_names_may_be_in_both(clean: Both) -> None:
    p = clean.program
    p("run", "-d", "--name", "web", "--network", "none", "busybox:latest", *IDLE)
    p("run", "-d", "--name", "web", "--network", "none", "host", *IDLE)
    rows = [line.split("\t") for line in p("ps").stdout.splitlines()[1:]]
    assert sorted(row[2] for row in rows) == ["docker", "embedded"]
    ambiguous = p("stop", "web", code=3)
    assert "docker:web" in ambiguous.stderr
    assert "embedded:web" in ambiguous.stderr
    p("stop", "-t", "2", "docker:web")
    p("stop", "-t", "2", "--engine", "embedded", "web")
    assert p("ps", "-q").stdout == ""


def test_foreground_on_docker(clean: Both) -> None:
    p = clean.program
    words = ("run", "--rm", "--network", "none", "busybox:latest")
    done = p(*words, "sh", "-c", "echo out; echo err >&2; exit 5", code=5)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert p(*words, "no-such-program", code=127).stderr
    assert p("run", "--rm", "--engine", "docker", "no-such-image", "x", code=125).stderr
    assert p("ps", "-aq").stdout == ""


def test_update_on_docker_is_held_by_kernel_and_daemon(clean: Both) -> None:
    p = clean.program
    p("run", "-d", "--name", "limited", "--network", "none", "-m", "64m", "busybox:latest", *IDLE)
    done = p("update", "--cpus", "0.25", "-m", "48m", "--json", "limited")
    (outcome,) = json.loads(done.stdout)
    assert outcome["ok"] is True
    assert {limit["name"]: limit["kernel"] for limit in outcome["limits"]} == {"cpus": 0.25, "memory": 48 << 20}
    assert p.file("limited", ("memory", "memory.limit_in_bytes"), "memory.max") == str(48 << 20)
    host = json.loads(p("inspect", "limited").stdout)[0]["HostConfig"]
    assert host["Memory"] == 48 << 20
    document = json.loads(p("stats", "--once", "--json", "limited").stdout)
    assert document["containers"][0]["cpu_limit"] == 0.25


def test_daemon_that_dies_and_comes_back(clean: Both) -> None:
    p = clean.program
    p("run", "-d", "--name", "mine", "--network", "none", "host", *IDLE)
    clean.daemon.kill()
    try:
        done = p("ps")
        assert "mine" in done.stdout
        assert "docker" in done.stderr
        assert p("stop", "docker:x", code=5).stderr
    finally:
        clean.daemon.start()
    wait_until(lambda: p("ps").stderr == "", 15)
