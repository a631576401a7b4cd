"""Faults at the embedded engine's kernel seam: a sample drawn by a printed seed, all of them in `make test-long`.

The harness is a process of its own (`tests.injection`), since it forks. It fails where a container is lost, is not what
its record says, cannot be used or removed, or leaves anything; where a client hangs or raises what is no `PytopError`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests import loops
from tests.conftest import missing, need_root

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(7200)]

ROOT: Final = Path(__file__).parents[2]
SAMPLE_S: Final = 30
STRACE_SAMPLE_S: Final = 15
DISKS_SAMPLE_S: Final = 10


def run(module: str, *bound: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", module, *bound]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    with capsys.disabled():
        print("\n" + done.stdout)
    assert done.returncode == 0, done.stdout


def test_each_call_of_the_kernel_may_fail_and_each_process_may_be_killed_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    need_root("embedded")
    bound = () if loops.whole() else ("--seconds", str(SAMPLE_S))
    run("tests.injection", *bound, capsys=capsys)


def test_faults_at_random_in_what_really_runs_find_no_hole(capsys: pytest.CaptureFixture[str]) -> None:
    need_root("embedded")
    if shutil.which("strace") is None:
        missing("strace", "there is no strace")
    bound = () if loops.whole() else ("--seconds", str(STRACE_SAMPLE_S))
    run("tests.injection.by_strace", *bound, capsys=capsys)


def test_a_start_whose_every_helper_dies_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The zygote forked one shim after the other and the start hung. Looked for elsewhere: a limit of processes."""
    need_root("embedded")
    if shutil.which("strace") is None:
        missing("strace", "there is no strace")
    run("tests.injection.by_strace", "--inject", "accept4:ENOMEM:1", capsys=capsys)


def test_small_disks_may_be_full_during_each_verb(capsys: pytest.CaptureFixture[str]) -> None:
    need_root("embedded")
    bound = () if loops.whole() else ("--seconds", str(DISKS_SAMPLE_S))
    run("tests.injection.small_disks", *bound, capsys=capsys)
