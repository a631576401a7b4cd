"""The same commands on a real Podman: its containers and pods in the list, its limits, and how long they last."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.program import Program, program
from tests.podmand import IMAGE, Podmand, podmand
from tests.waiting import wait_until

IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")


@dataclass(frozen=True, slots=True)
class Both:
    """The program, with a Podman of the tests' own."""

    program: Program
    service: Podmand


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    folder = Path(tempfile.mkdtemp(prefix="ptp-"))
    try:
        with podmand(folder) as service, program(CONTAINER_HOST=service.url) as made:
            yield Both(made, service)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_container_from_run_to_rm(both: Both) -> None:
    p = both.program
    p("run", "-d", "--engine", "podman", "--name", "web", "--network", "none", "busybox:latest", *IDLE)
    assert "web" in both.service.cli("ps", "--format", "{{.Names}}")
    rows = [line.split("\t") for line in p("ps").stdout.splitlines()[1:]]
    assert [(row[1], row[2], row[4]) for row in rows] == [("web", "podman", "running")]
    (outcome,) = json.loads(p("update", "--cpus", "0.25", "-m", "48m", "--json", "web").stdout)
    assert outcome["ok"] is True
    assert {limit["name"]: limit["kernel"] for limit in outcome["limits"]} == {"cpus": 0.25, "memory": 48 << 20}
    assert p.file("web", ("memory", "memory.limit_in_bytes"), "memory.max") == str(48 << 20)
    document = json.loads(p("stats", "--once", "--json", "web").stdout)
    assert document["containers"][0]["cpu_limit"] == 0.25
    p("stop", "-t", "2", "web")
    assert both.service.cli("ps", "--format", "{{.Names}}") == ""
    p("rm", "podman:web")
    assert p("ps", "-aq").stdout == ""


def test_foreground(both: Both) -> None:
    p = both.program
    words = ("run", "--rm", "--engine", "podman", "--network", "none", "busybox:latest")
    done = p(*words, "sh", "-c", "echo out; echo err >&2; exit 5", code=5)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert p(*words, "no-such-program", code=127).stderr
    assert p("run", "--rm", "--engine", "podman", "no-such-image", "x", code=125).stderr
    assert p("ps", "-aq").stdout == ""


def test_containers_started_by_podmans_client_are_listed_and_a_killed_service_is_reported(both: Both) -> None:
    p, service = both.program, both.service
    service.cli("run", "-d", "--name", "theirs", "--network", "none", IMAGE, *IDLE)
    assert "theirs" in p("ps").stdout
    service.kill()
    try:
        assert "podman" in p("ps").stderr
        assert p("stop", "podman:theirs", code=5).stderr
    finally:
        service.start()
    wait_until(lambda: "podman" not in p("ps").stderr, 15)
    assert "theirs" in p("ps").stdout
    p("rm", "-f", "theirs")
