"""kill -9 while memory of a real cgroup is reclaimed by lowering its limit: the next command puts the limit back."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup
from tests.integration.program import ROOT, program
from tests.integration.test_limits_reclaim_real import cgroup, holder

__all__ = ["cgroup", "holder"]

LOWER = """
import os, signal, sys
from pathlib import Path
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import reclaim
from runtime.limits.controllers import memory

directory, version = Path(sys.argv[1]), int(sys.argv[2])
cgroup = Cgroup({}, directory, frozenset({"memory"})) if version == 2 else Cgroup({"memory": directory})
write = files.write

def killed(path, text):
    write(path, text)
    os.kill(os.getpid(), signal.SIGKILL)

files.write = killed
(reclaim._by_high if version == 2 else reclaim._by_limit)(cgroup, memory.read_use(cgroup), 16 << 20)
"""


@pytest.mark.usefixtures("holder")
def test_the_next_command_puts_back_what_a_killed_one_had_lowered(cgroup: Cgroup) -> None:
    where = cgroup.where("memory")
    assert where is not None
    path: Path = where[0] / ("memory.high" if where[1] == 2 else "memory.limit_in_bytes")
    before = files.read(path)
    killed = subprocess.run(
        [sys.executable, "-c", LOWER, str(where[0]), str(where[1])], cwd=ROOT, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert files.read(path) != before, "it was killed while the limit was lowered"
    with program() as made:
        made("--read-only", "ps")
        assert files.read(path) != before, "--read-only changes nothing"
        done = made("ps")
        assert files.read(path) == before
        assert f"put {path} back" in done.stderr
        assert f"put {path} back" not in made("ps").stderr
