"""kill -9 while memory of a real cgroup is reclaimed by lowering its limit: the next command puts the limit back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.kernel import files, syscalls
from runtime.kernel.cgroupfs import Cgroup
from tests.conftest import need_root
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


@pytest.fixture
def in_private_run() -> Iterator[Callable[[], None]]:
    """For `preexec_fn`: a mount namespace with a /run of its own, so that no other command looks before that."""
    need_root("embedded")
    command = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && echo ready && exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == b"ready\n"
            namespace = os.open(f"/proc/{keeper.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

            def enter() -> None:
                syscalls.setns(namespace, syscalls.CLONE_NEWNS)
                os.chdir(ROOT)

            yield enter
            os.close(namespace)
        finally:
            keeper.kill()


@pytest.mark.usefixtures("holder")
def test_the_next_command_puts_back_what_a_killed_one_had_lowered(
    cgroup: Cgroup, in_private_run: Callable[[], None]
) -> None:
    where = cgroup.where("memory")
    assert where is not None
    path: Path = where[0] / ("memory.high" if where[1] == 2 else "memory.limit_in_bytes")
    before = files.read(path)
    killed = subprocess.run(
        [sys.executable, "-c", LOWER, str(where[0]), str(where[1])],
        preexec_fn=in_private_run,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert files.read(path) != before, "it was killed while the limit was lowered"
    with program() as made:
        made("--read-only", "ps", preexec_fn=in_private_run)
        assert files.read(path) != before, "--read-only changes nothing"
        done = made("ps", preexec_fn=in_private_run)
        assert files.read(path) == before
        assert f"put {path} back" in done.stderr
        assert f"put {path} back" not in made("ps", preexec_fn=in_private_run).stderr
