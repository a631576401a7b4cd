"""The guard as a process of its own, on real containers: it contains, takes back, and is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.kernel import cgroupfs, cgroups, own_cgroup
from runtime.kernel.cgroupfs import Cgroup
from tests.integration.program import Program, program
from tests.waiting import wait_until
from tui.cli.guard import CGROUP

STARTS_WITHIN_S = 60.0  # on a machine that other tests load
CONTAINS_WITHIN_S = 30.0
BUSY = "while :; do :; done"
HOG = """
burn() { for cpu in $(seq $(nproc)); do while :; do :; done & done; }
trap burn USR1
trap 'kill $(jobs -p)' USR2
while :; do sleep 0.1; done
"""
"""Takes all CPUs from SIGUSR1 to SIGUSR2, so that no command has to be run while it does."""
# the target is above what other programs of a loaded machine make the victim wait while the hog rests
POLICY = """
lease_s = 12
calm_s = 4
trial_s = 3
hold_s = 2
cool_down_s = 4

[[protect]]
name = "victim"
cpu_wait = 0.35

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
        wait_until(lambda: started.events or process.poll() is not None, STARTS_WITHIN_S)
        assert started.events, process.communicate()
        yield started
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        for mount in (*cgroupfs.detect().v1.values(), cgroupfs.detect().unified):  # of one that was killed
            if mount is not None:
                cgroups.remove(Cgroup({"": mount.path / CGROUP}))


class Pair:
    """A victim that always wants a core, and a hog of more weight that is quiet until it is told.

    Their limits are read past the program.
    """

    def __init__(self, pt: Program) -> None:
        self._pt = pt
        for name, shares, script in (("victim", "1024", BUSY), ("hog", "8192", HOG)):
            given = ("--name", name, "--cpu-shares", shares, "--network", "none")
            pt("run", "-d", *given, "host", "sh", "-c", script)
        self._cgroups = {name: own_cgroup.locate(cgroupfs.detect(), self.pid(name)) for name in ("victim", "hog")}
        init = self.pid("hog")
        self._shell = int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])

    def pid(self, name: str) -> int:
        return int(self._pt.container(name)["pid"])

    def prefer(self, v1: int = 30_720, v2: int = 3000) -> None:
        """Have the containers together get most of the CPUs: what else runs on this machine is then not the cause."""
        for directory, version in filter(None, [self._cgroups["victim"].where("cpu")]):
            name, weight = ("cpu.shares", v1) if version == 1 else ("cpu.weight", v2)
            (directory.parent / name).write_text(str(weight))

    def burn(self) -> None:
        self.prefer()
        os.kill(self._shell, signal.SIGUSR1)

    def rest(self) -> None:
        os.kill(self._shell, signal.SIGUSR2)

    def limits(self) -> list[str]:
        """What the guard may change."""
        found = []
        for cgroup in self._cgroups.values():
            where = cgroup.where("cpu")
            assert where is not None
            names = ("cpu.shares", "cpu.cfs_quota_us") if where[1] == 1 else ("cpu.weight", "cpu.max", "cpu.idle")
            found += [(where[0] / name).read_text().strip() for name in names]
        return found

    def remove(self) -> None:
        self.rest()
        self.prefer(1024, 100)
        self._pt("rm", "-f", "victim", "hog", code=None)


@pytest.fixture(scope="module")
def pt() -> Iterator[Program]:
    with program() as made:
        yield made


@pytest.fixture
def pair(pt: Program) -> Iterator[Pair]:
    made = Pair(pt)
    yield made
    made.remove()


def test_it_contains_takes_back_after_the_hog_has_ended_and_sigterm_frees_everything(pt: Program, pair: Pair) -> None:
    before = pair.limits()
    with guard(pt, POLICY) as started:
        pair.burn()
        begun = time.monotonic()
        wait_until(lambda: started.done("climb"), CONTAINS_WITHIN_S, lambda: f"{started.events}")
        print(f"first rung {time.monotonic() - begun:.1f} s after the hog's start: {started.done('climb')[0]}")
        first = started.done("climb")[0]
        assert (first["victim"], first["suspect"], first["target"]["of"]) == ("victim", "hog", "cpu_wait")
        assert pair.limits() != before
        pair.rest()
        rested = time.monotonic()
        wait_until(lambda: pair.limits() == before, 60, lambda: f"{pair.limits()} is {before}: {started.events}")
        print(f"all back {time.monotonic() - rested:.1f} s after the hog's end")
        assert started.done("release")
        climbed = len(started.done("climb"))
        pair.burn()
        wait_until(lambda: len(started.done("climb")) > climbed, CONTAINS_WITHIN_S, lambda: f"{started.events}")
        wait_until(lambda: pair.limits() != before, 5)
        assert started.end(signal.SIGTERM) == 0
        assert pair.limits() == before
        assert started.events[-1]["event"] == "stopped"


def test_a_killed_guard_frees_everything_when_its_leases_run_out(pt: Program, pair: Pair) -> None:
    before = pair.limits()
    with guard(pt, POLICY) as started:
        pair.burn()
        wait_until(lambda: started.done("climb"), CONTAINS_WITHIN_S, lambda: f"{started.events}")
        assert started.end(signal.SIGKILL) == -signal.SIGKILL
        killed = time.monotonic()
        assert pair.limits() != before
        wait_until(lambda: pair.limits() == before, 20, lambda: f"{pair.limits()} is {before} again")
        print(f"free {time.monotonic() - killed:.1f} s after the guard was killed; its leases are of 12 s")
    pair.rest()
    with guard(pt, POLICY) as again:  # its lock went with it
        assert again.events[0]["event"] == "started"
        assert again.end(signal.SIGTERM) == 0


def test_benign_load_gives_no_action(pt: Program, pair: Pair) -> None:
    pair.prefer()
    before = pair.limits()
    with guard(pt, POLICY) as started:
        time.sleep(20)
        assert pair.limits() == before
        assert started.end(signal.SIGTERM) == 0
        assert {each["event"] for each in started.events} <= {"started", "not done", "stopped"}


def test_a_dry_run_changes_nothing(pt: Program, pair: Pair) -> None:
    before = pair.limits()
    with guard(pt, POLICY, "--dry-run") as started:
        pair.burn()
        wait_until(
            lambda: any(each["event"] == "would do" for each in started.events),
            CONTAINS_WITHIN_S,
            lambda: f"{started.events}",
        )
        assert pair.limits() == before
        assert started.end(signal.SIGINT) == 0
    assert pair.limits() == before


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
    directory = mount.path / CGROUP
    with guard(pt, POLICY) as started:
        assert str(started.process.pid) in (directory / "cgroup.procs").read_text().split()
        name, weight = ("cpu.shares", "10240") if "cpu" in hierarchies.v1 else ("cpu.weight", "1000")
        assert (directory / name).read_text().strip() == weight
        assert started.end(signal.SIGTERM) == 0
        assert not directory.exists()
