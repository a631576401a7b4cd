"""The evaluation of containment leaves nothing behind, neither at its end nor when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 90.0

pytestmark = pytest.mark.root


def left() -> set[str]:
    """What an evaluation makes on this host and has to remove."""
    found = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if "pytop-eval-" in line}
    found |= {str(path) for path in Path("/sys/fs/cgroup").glob("*/pytop-eval-*")}
    found |= {str(path) for path in Path("/sys/fs/cgroup").glob("pytop-eval-*")}
    found |= {name for name in os.listdir("/sys/class/net") if name.startswith(("pe-", "pu-"))}
    found |= {str(path) for path in Path("/tmp").glob("pytop-eval-*")}
    found |= {str(path) for path in Path("/run/pytop-containers-limits").glob("lease-*")}
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        if "pytop-eval-" in backing.read_text():
            found.add(str(backing))
    return found


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.eval", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": "/tmp"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_scenario_is_run_judged_and_recorded(tmp_path: Path) -> None:
    before = left()
    process = started(
        "--only", "net-streams", "--repeats", "1", "--json", str(tmp_path / "found.json"), "--record", str(tmp_path)
    )
    said, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode in (0, 1), errors  # on a busy host a bound may not be met
    assert "net-streams: p99" in said, errors
    assert "FAILED" not in said
    assert (tmp_path / "net-streams.json").stat().st_size < 200_000
    assert '"scenario": "net-streams"' in (tmp_path / "found.json").read_text()
    assert left() - before == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_scenario_leaves_nothing(number: signal.Signals) -> None:
    before = left()
    process = started("--only", "io-reader", "--repeats", "1")
    try:
        until(lambda: any("/disk" in name for name in left() - before))
        time.sleep(2.0)  # some of its containers run
        process.send_signal(number)
        time.sleep(0.2)
        process.send_signal(number)  # an impatient user
        _, errors = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert left() - before == set()


@pytest.mark.timeout(400)
def test_the_ladder_is_climbed_on_leases_of_its_own(tmp_path: Path) -> None:
    before = left()
    process = started("--only", "containment", "--repeats", "1", "--json", str(tmp_path / "found.json"))
    said, errors = process.communicate(timeout=3 * TIMEOUT_S)
    assert process.returncode in (0, 1), errors  # on a busy host a bound may not be met
    assert "FAILED" not in said
    found = json.loads((tmp_path / "found.json").read_text())["containments"]
    assert {each["scenario"] for each in found} == {"cpu-spare", "io-heavy-writer", "net-streams"}
    assert any(each["rungs"] for each in found), said
    assert left() - before == set()
