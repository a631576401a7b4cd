"""`demo teach` on real containers: what is shown is so."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.conftest import need_root
from tests.integration.test_demo import COMMAND, QUIET, leftovers
from tests.terminal import ROOT, terminal
from tests.waiting import wait_until

ENVIRONMENT = {**os.environ, **QUIET}


@pytest.mark.timeout(300)
def test_the_lesson_shows_a_container_as_it_is() -> None:
    need_root("embedded")
    before = leftovers()
    ran = subprocess.run(
        [*COMMAND, "teach", "--json"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=200,
        env=ENVIRONMENT,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = {chapter["chapter"]: chapter for chapter in json.loads(ran.stdout)}
    assert {name: chapter["skipped"] for name, chapter in told.items()} == dict.fromkeys(told)
    facts = {fact["fact"]: list(fact.values())[1:] for chapter in told.values() for fact in chapter["facts"]}
    assert facts["pid"][1] == "1"
    assert int(facts["pid"][0]) > 1
    for differs in ("hostname", "root", "ns_pid", "ns_net", "ns_mnt"):
        assert facts[differs][0] != facts[differs][1]
    for same in ("kernel", "build", "boot"):
        assert facts[same][0] == facts[same][1]
    assert facts["oom_killed"][1] == "yes"
    assert facts["memory_end"] == ["exited", "137"]
    used, limited = map(float, facts["cpu"])
    assert limited == pytest.approx(0.2, abs=0.06)
    assert used > limited
    assert facts["freeze_state"][0] == "paused"
    assert float(facts["freeze_cpu"][1]) < 0.02
    assert float(facts["thaw_cpu"][1]) > 0.05
    wait_until(lambda: not leftovers() - before, 15, lambda: f"nothing is left: {leftovers() - before}", every_s=0.2)


@pytest.mark.timeout(120)
def test_the_lesson_on_the_screen_goes_on_back_and_over_a_chapter() -> None:
    need_root("embedded")
    before = leftovers()
    with terminal([*COMMAND, "teach"], columns=80, rows=24, env=QUIET) as screen:
        screen.wait_for(r"1/5 +A process that sees another world", timeout=30)
        screen.wait_for(r"the same process has the number +\d+ +1\b", timeout=30)
        screen.type("n")
        screen.wait_for(r"2/5 +A cgroup that is full", timeout=10)
        screen.type("z")
        screen.wait_for(r"skipped", timeout=10)
        screen.type("n")
        screen.wait_for(r"3/5 +Throttling", timeout=10)
        screen.type("b")
        screen.wait_for(r"2/5 +A cgroup that is full", timeout=10)
        screen.wait_for(r"8 MiB a second", timeout=20)
        screen.type("q")
        assert screen.status() == 0
    wait_until(lambda: not leftovers() - before, 15, lambda: f"nothing is left: {leftovers() - before}", every_s=0.2)
