"""From "slow" to "recovered" in a real terminal: who hurts whom is named, and contained with at most six keys."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator

import pytest

from tests.integration.program import Program, program
from tests.terminal import Terminal, terminal
from tests.waiting import wait_until
from tui.app.typeahead import DIALOG_GRACE_S

SLOW = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.02; done"
HOG = "while :; do :; done"
MAX_KEYS = 6
FALLEN_SHARE = 0.5  # of the waiting that is left, where others load this host too and nobody can recover whole
RUNG_S = 12.0  # for what a rung brings


@pytest.fixture
def run() -> Iterator[Program]:
    with program() as made:
        cpu = str(max(os.sched_getaffinity(0)))
        for name, script in (("api", SLOW), ("hog", HOG)):
            made("run", "-d", "--name", name, "--network", "none", "--cpuset-cpus", cpu, "host", "sh", "-c", script)
        yield made


def helped(screen: Terminal) -> bool:
    """The WHY line says that the victim has recovered, or waits half as much as before."""
    text = screen.screen()
    found = re.search(r"api waits (\d+)% -> (\d+)%", text)
    return "recovered" in text or (found is not None and int(found[2]) <= FALLEN_SHARE * int(found[1]))


@pytest.mark.timeout(180)
def test_from_slow_to_recovered_in_at_most_six_keys_at_80x24(run: Program) -> None:
    command = [sys.executable, "-m", "tui", "--engine", "embedded"]
    keys = 0
    with terminal(command, columns=80, rows=24, env={**run.env, "XDG_CONFIG_HOME": "/nonexistent"}) as screen:
        screen.wait_for(r"WHY hog hurts api \(waits \d+% for cpu\)", timeout=40)
        while not helped(screen):
            assert keys < MAX_KEYS, screen.screen()
            screen.send("m")
            screen.wait_for(r"Contain hog for api\?")
            screen.wait_for(r"y or m: do it")
            time.sleep(DIALOG_GRACE_S + 0.2)  # the dialog takes no key that was typed before it could be read
            screen.send("m")
            wait_until(lambda: "Contain hog for api?" not in screen.screen(), 5, screen.screen, every_s=0.1)
            keys += 2
            screen.wait_for(r"WHY api wait(s|ed) \d+%")
            assert re.search(r"lease", screen.row("cpu ")), "the countdown is in the head"
            _await_help(screen)
        assert keys <= MAX_KEYS
        screen.wait_for(r"\d+ s left|recovered")
        listed = run("leases").stdout
        assert "active" in listed
        screen.type("q")
        assert screen.status() == 0
    assert "leased" in run("audit", "--since", "3m").stdout
    for line in run("leases").stdout.splitlines()[1:]:
        if "active" in line:
            run("leases", "revert", line.split("\t")[0])
    assert "active" not in run("leases").stdout
    assert run.file("hog", ("cpu", "cpu.shares"), "cpu.weight") in ("1024", "100")


def _await_help(screen: Terminal) -> None:
    try:
        wait_until(lambda: helped(screen), RUNG_S, screen.screen, every_s=0.3)
    except AssertionError:
        return  # the next rung


def test_why_names_the_hog_without_a_screen(run: Program) -> None:
    assert "hog" in run("why", "api", "--for", "6").stdout
    assert "hog hurts api" in run("why", "hog", "--for", "6").stdout
