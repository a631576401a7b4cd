"""`demo` as a user runs it: the table, the dashboard, and nothing left behind on any way out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import unprivileged
from tests.conftest import need_root
from tests.terminal import ROOT, Terminal, terminal
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "tui", "demo"]
QUIET = {"DOCKER_HOST": "", "XDG_CONFIG_HOME": "/nonexistent"}


def leftovers() -> set[str]:
    """Everything on this host that bears the demo's name."""
    walked = os.walk("/sys/fs/cgroup")  # passes over what is removed meanwhile
    found = {f"{folder}/{name}" for folder, names, _ in walked for name in names if name.startswith("pytop-demo-")}
    for folder in ("/var/lib/pytop-containers-demo", "/run/pytop-containers-demo"):
        found |= {str(path) for path in Path(folder).glob("*")}
    found |= {name for name in os.listdir("/sys/class/net") if name.startswith("pytd")}
    found |= {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "pytop-containers-demo" in line}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"/opt/pytop-demo/" in words:
                found.add(f"process {entry.name}: {words!r}")
    return found


@pytest.fixture
def before() -> Iterator[set[str]]:
    """What was there before; the test must leave no more."""
    need_root("embedded")
    there = leftovers()
    yield there
    wait_until(lambda: not leftovers() - there, 15, lambda: f"nothing is left: {leftovers() - there}", every_s=0.2)


def start_headless() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--headless"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **QUIET},
    )


def wait_for_hog(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "the hog starts" in line:
            time.sleep(1)
            return
    raise AssertionError(process.communicate()[1])


@pytest.mark.usefixtures("before")
@pytest.mark.timeout(300)
def test_headless_contains_the_hog_and_says_so_in_under_a_minute() -> None:
    # It measures: where somebody else takes the core meanwhile, it rightly says that containment did not help.
    for _ in range(3):
        start = time.monotonic()
        process = start_headless()
        output, errors = process.communicate(timeout=100)
        assert time.monotonic() - start < 60
        if process.returncode == 0:
            break
        assert "did NOT help" in output, output + errors
    assert process.returncode == 0, output + errors
    measured, card = output.split("\nrung ")
    phases = "alone|hog|protect|weight|idle|cap|reverted"
    rows = {line.split()[0]: line for line in measured.splitlines() if re.match(rf"({phases})\s", line)}
    assert set(rows) == set(phases.split("|"))
    p99 = {name: float(re.findall(r"([\d.]+) ms", row)[1]) for name, row in rows.items()}
    assert p99["hog"] > 5 * p99["alone"]
    assert p99["cap"] < p99["hog"] / 4
    assert p99["idle"] < p99["hog"] / 4
    assert p99["reverted"] > 5 * p99["alone"]
    assert re.search(r"^cap +0\.20 cores", card, re.MULTILINE)
    assert "kernel says 0.2 (applied)" in output
    assert "containment helped" in output
    assert errors == ""


HARDEST = {"memory": "memory", "io": "disk-rate", "network": "net-rate", "forkbomb": "tasks", "mixed": "idle-and-rate"}
"""By story, a rung that every kernel has, and that takes the harm away."""


@pytest.mark.usefixtures("before")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", HARDEST)
def test_each_story_hurts_the_victim_and_a_rung_takes_it_away(story: str, tmp_path: Path) -> None:
    picture = tmp_path / "card.svg"
    for _ in range(2):
        ran = subprocess.run(
            [*COMMAND, story, "--json", "--svg", str(picture)],
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=100,
            env={**os.environ, **QUIET},
            check=False,
        )
        (told,) = json.loads(ran.stdout)["stories"]
        if ran.returncode == 0:
            break
    assert ran.returncode == 0, ran.stdout + ran.stderr
    phases = {phase["phase"]: phase for phase in told["phases"]}
    by = f"{told['judged_by']}_ms"
    assert phases["hog"][by] > 2 * phases["alone"][by]
    assert phases[HARDEST[story]]["recovery"] > 0.5
    assert phases[HARDEST[story]]["readback_s"]
    assert all(limit["verdict"] in ("applied", "rounded") for phase in told["phases"] for limit in phase["limits"])
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_when_it_is_ended_in_the_middle(number: signal.Signals) -> None:
    process = start_headless()
    wait_for_hog(process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Traceback" not in errors


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("before")
def test_from_the_list_to_the_limit_and_back() -> None:
    """The main job: see who starves whom, cap it with a few keys, watch the victim recover, quit."""
    with terminal(COMMAND, columns=80, rows=24, env=QUIET) as screen:
        screen.wait_for(r"Which story", timeout=30)
        screen.send("Enter")
        screen.wait_for(r"victim: p50 \d+ ms", timeout=30)
        screen.wait_for(r"burns CPU on the victim's core", timeout=30)
        hurt = _p99_when(screen, lambda value: value > 200, 60)
        _move_to(screen, "hog")
        screen.type("l")
        screen.wait_for(r"Limits of hog")
        screen.type("0.2")
        screen.wait_for(r"0\.2\b")
        screen.send("Enter")
        screen.wait_for(r"hog .*0\.20/0\.20")
        quotas = [path.read_text() for path in Path("/sys/fs/cgroup").glob("cpu/pytop-demo-*/*/cpu.cfs_quota_us")] + [
            path.read_text() for path in Path("/sys/fs/cgroup").glob("pytop-demo-*/*/cpu.max")
        ]
        assert any(text.split()[0] == "20000" for text in quotas)
        screen.wait_for(r"Recovered", timeout=90)
        assert _p99_when(screen, lambda value: value < hurt / 2, 90) < hurt / 2
        assert "100%" in screen.row("hog "), "throttled in all of its periods"
        screen.type("q")
        assert screen.status() == 0
        assert "are gone" in screen.screen()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("before")
def test_the_guide_takes_each_rung_on_a_key_and_skips_it_on_another() -> None:
    with terminal([*COMMAND, "io"], columns=80, rows=24, env=QUIET) as screen:
        screen.wait_for(r"victim: p50 \d+ ms", timeout=30)
        screen.wait_for(r"keeps the disk's queue full", timeout=40)
        assert re.search(r"▌.*\bhog\b", screen.screen()), "the cursor starts on the hog"
        for _ in range(2):
            screen.type("z")
            time.sleep(0.5)
        screen.wait_for(r"n: limit the hog to 8 MiB/s of reads")
        screen.wait_for(r"-io-protect +-io-weight +>disk-rate")
        hurt = _p99_when(screen, lambda value: value > 50, 60)
        screen.type("n")
        screen.wait_for(r"\*disk-rate +>release", timeout=20)
        screen.wait_for(r"Recovered: the hog may read 8 MiB/s", timeout=60)
        assert _p99_when(screen, lambda value: value < hurt / 2, 60) < hurt / 2
        screen.type("n")
        screen.wait_for(r"\+disk-rate +\*release", timeout=20)
        screen.type("q")
        assert screen.status() == 0


def _p99_when(screen: Terminal, fits: Callable[[float], bool], timeout_s: float) -> float:
    found: list[float] = []

    def fitting() -> bool:
        match = re.search(r"p99 (\d+) ms", screen.screen())
        found[:] = [float(match[1])] if match and fits(float(match[1])) else []
        return bool(found)

    wait_until(fitting, timeout_s, screen.screen, every_s=0.2)
    return found[0]


def _move_to(screen: Terminal, name: str) -> None:
    """Press down until the cursor's bar stands before the name."""
    for _ in range(12):
        if re.search(rf"▌.*\b{name}\b", screen.screen()):
            return
        screen.send("Down")
        time.sleep(0.2)
    screen.send("g")
    time.sleep(0.3)
    assert re.search(rf"▌.*\b{name}\b", screen.screen()), screen.screen()


@pytest.mark.usefixtures("before")
def test_a_dropped_terminal_leaves_nothing() -> None:
    with terminal([*COMMAND, "cpu"], columns=100, rows=30, env=QUIET) as screen:
        screen.wait_for(r"victim: p50 \d+ ms", timeout=30)
        screen.drop()
        time.sleep(1)


def test_without_root_it_says_what_to_do() -> None:
    result = subprocess.run(
        unprivileged.command("demo", "--headless"),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        env=unprivileged.environment(),
        check=False,
    )
    assert result.returncode != 0
    assert "root" in result.stderr
    assert "Traceback" not in result.stderr
