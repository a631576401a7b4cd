"""The guard as a process of its own, on real containers: it contains, takes back, and is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.kernel import cgroupfs
from tests.integration.program import Program, program
from tests.waiting import wait_until

CONTAINS_WITHIN_S = 20.0
VICTIM = "while :; do :; done"
HOG = "for cpu in $(seq $(nproc)); do while :; do :; done & done; wait"
QUIET = "while :; do sleep 1; done"
POLICY = """
lease_s = 12
calm_s = 4
trial_s = 3
hold_s = 2
cool_down_s = 4

[[protect]]
name = "victim"
cpu_wait = 0.1

[[contain]]
name = "hog"
last_rung = "limit"
"""


class GuardProcess:
    """A running guard, and the events that it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def done(self, action: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == "done" and each["action"] == action]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(5)
        return code


@contextmanager
def guard(pt: Program, policy: str, *more: str) -> Iterator[GuardProcess]:
    path = Path(pt.env["PYTOP_STATE_DIR"]).parent / "guard.toml"
    path.write_text(policy)
    process = pt.begin("guard", "--json", "--interval", "0.5", *more, str(path))
    started = GuardProcess(process)
    try:
        wait_until(lambda: started.events or process.poll() is not None, 20)
        assert started.events, process.communicate()
        yield started
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="module")
def pt() -> Iterator[Program]:
    with program() as made:
        yield made


def run(pt: Program, name: str, script: str) -> None:
    pt("run", "-d", "--name", name, "--network", "none", "host", "sh", "-c", script)


def prefer(pt: Program) -> None:
    """Let the containers together have most of the CPUs: what else runs on this machine is then not the cause."""
    cpu = cgroupfs.detect().v1.get("cpu")
    if cpu is not None:
        (cpu.path / pt.where.cgroup / "cpu.shares").write_text("51200")
    else:
        unified = cgroupfs.detect().unified
        assert unified is not None
        (unified.path / pt.where.cgroup / "cpu.weight").write_text("5000")


@pytest.fixture
def pair(pt: Program) -> Iterator[None]:
    """A victim, and a hog that takes all CPUs."""
    run(pt, "victim", VICTIM)
    prefer(pt)
    run(pt, "hog", HOG)
    yield
    pt("rm", "-f", "victim", "hog", code=None)


def limits(pt: Program) -> dict[str, str]:
    """What the kernel holds of both, as far as the guard may change it."""
    return {
        "victim weight": pt.file("victim", ("cpu", "cpu.shares"), "cpu.weight"),
        "hog weight": pt.file("hog", ("cpu", "cpu.shares"), "cpu.weight"),
        "hog quota": pt.file("hog", ("cpu", "cpu.cfs_quota_us"), "cpu.max"),
    }


def test_it_contains_within_seconds_and_takes_it_back_after_the_hog_has_ended(pt: Program, pair: None) -> None:
    before = limits(pt)
    with guard(pt, POLICY) as started:
        begun = time.monotonic()
        wait_until(lambda: started.done("climb"), CONTAINS_WITHIN_S, lambda: f"{started.events}")
        print("first rung after", time.monotonic() - begun, "s:", started.done("climb")[0])
        first = started.done("climb")[0]
        assert (first["victim"], first["suspect"]) == ("victim", "hog")
        assert first["target"]["of"] == "cpu_wait"
        assert limits(pt) != before
        assert started.process.poll() is None
        pt("kill", "hog")
        wait_until(
            lambda: any(each["reason"] == "recovered" for each in started.events),
            60,
            lambda: f"{started.events}",
        )
        assert pt.file("victim", ("cpu", "cpu.shares"), "cpu.weight") == before["victim weight"]
        assert started.end(signal.SIGTERM) == 0


def test_sigterm_takes_everything_back_at_once(pt: Program, pair: None) -> None:
    before = limits(pt)
    with guard(pt, POLICY) as started:
        wait_until(lambda: started.done("climb"), CONTAINS_WITHIN_S, lambda: f"{started.events}")
        wait_until(lambda: limits(pt) != before, 5)
        assert started.end(signal.SIGTERM) == 0
        assert limits(pt) == before
        assert started.events[-1]["event"] == "stopped"


def test_a_killed_guard_frees_everything_when_its_leases_run_out(pt: Program, pair: None) -> None:
    before = limits(pt)
    with guard(pt, POLICY) as started:
        wait_until(lambda: started.done("climb"), CONTAINS_WITHIN_S, lambda: f"{started.events}")
        assert started.end(signal.SIGKILL) == -signal.SIGKILL
        killed = time.monotonic()
        assert limits(pt) != before
        wait_until(lambda: limits(pt) == before, 15, lambda: f"{limits(pt)} is {before} again")
        print("free after", time.monotonic() - killed, "s")
    with guard(pt, POLICY) as again:  # its lock went with it
        assert again.events[0]["event"] == "started"
        assert again.end(signal.SIGTERM) == 0


def test_benign_load_gives_no_action(pt: Program) -> None:
    run(pt, "victim", VICTIM)
    prefer(pt)
    run(pt, "hog", QUIET)
    try:
        with guard(pt, POLICY) as started:
            time.sleep(15)
            assert not started.done("climb")
            assert started.end(signal.SIGTERM) == 0
            assert {each["event"] for each in started.events} <= {"started", "not done", "stopped"}
    finally:
        pt("rm", "-f", "victim", "hog", code=None)


def test_a_dry_run_changes_nothing(pt: Program, pair: None) -> None:
    before = limits(pt)
    with guard(pt, POLICY, "--dry-run") as started:
        would: Callable[[], list[dict[str, Any]]] = lambda: [  # noqa: E731
            each for each in started.events if each["event"] == "would do" and each["action"] == "climb"
        ]
        wait_until(would, CONTAINS_WITHIN_S, lambda: f"{started.events}")
        assert limits(pt) == before
        assert started.end(signal.SIGINT) == 0
    assert limits(pt) == before


def test_the_second_guard_is_told_of_the_first(pt: Program) -> None:
    with guard(pt, POLICY) as started:
        path = Path(pt.env["PYTOP_STATE_DIR"]).parent / "guard.toml"
        done = pt("guard", str(path), code=1)
        assert f"another guard runs: process {started.process.pid} of user" in done.stderr
        assert started.end(signal.SIGHUP) == 0


def test_its_cgroup_has_a_high_weight_and_is_gone_after_it(pt: Program) -> None:
    hierarchies = cgroupfs.detect()
    mount = hierarchies.v1.get("cpu") or hierarchies.unified
    assert mount is not None
    directory = mount.path / "pytop-containers-guard"
    with guard(pt, POLICY) as started:
        assert str(started.process.pid) in (directory / "cgroup.procs").read_text().split()
        name, weight = ("cpu.shares", "10240") if "cpu" in hierarchies.v1 else ("cpu.weight", "1000")
        assert (directory / name).read_text().strip() == weight
        assert started.end(signal.SIGTERM) == 0
        assert not directory.exists()
