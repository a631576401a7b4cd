"""A command line that blocks costs its own, and at most two threads for ever.

The same kind was looked for in every reader of /proc/PID/cmdline: the processes page, found containers, containerd's
loggers, the embedded engine's zygotes; they all read it here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.inspection import processes
from runtime.engines.found import process
from runtime.kernel import command_line
from runtime.kernel.command_line import CommandLines

ROOT = Path(__file__).parents[4]


def machine(proc: Path, *pids: int) -> None:
    for pid in pids:
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "stat").write_text(f"{pid} (name-{pid}) S " + " ".join(str(n) for n in range(1, 50)))
        (proc / str(pid) / "status").write_text(f"Uid:\t0\t0\t0\t0\nNSpid:\t{pid}\n")
        (proc / str(pid) / "cmdline").write_bytes(f"program-{pid}\0--option\0".encode())


class Blocking:
    """Reads that block for some processes until `free` is set."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self.free = threading.Event()
        self.asked: list[int] = []

    def __call__(self, path: Path) -> bytes:
        pid = int(path.parent.name)
        self.asked.append(pid)
        if pid in self.pids:
            self.free.wait()
        return path.read_bytes()


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    made = Blocking(1, 3, 5)
    yield made
    made.free.set()


def threads() -> int:
    return sum(thread.name == command_line.THREAD for thread in threading.enumerate())


def test_what_blocks_is_asked_once_and_the_others_are_read(tmp_path: Path, blocking: Blocking) -> None:
    machine(tmp_path, 1, 2)
    lines, before = CommandLines(blocking), threads()
    for _ in range(20):
        assert lines.of(1, proc=tmp_path) is None
        assert lines.of(2, proc=tmp_path) == b"program-2\0--option\0"
    assert blocking.asked.count(1) == 1
    assert threads() - before == 2


def test_two_threads_are_stuck_at_most_and_read_again_when_they_are_free(tmp_path: Path, blocking: Blocking) -> None:
    machine(tmp_path, 1, 2, 3, 4, 5)
    lines, before = CommandLines(blocking), threads()
    assert [lines.of(pid, proc=tmp_path) for pid in (1, 3)] == [None, None]
    begun = time.monotonic()
    assert [lines.of(pid, proc=tmp_path) for pid in (2, 4, 5) * 10] == [None] * 30
    assert time.monotonic() - begun < command_line.READ_TIMEOUT_S, "nobody waits for a third"
    assert threads() - before == 2
    blocking.free.set()
    time.sleep(0.05)
    assert lines.of(4, proc=tmp_path) == b"program-4\0--option\0"


def test_a_fifo_over_it_is_not_waited_for_and_the_name_is_shown(tmp_path: Path) -> None:
    machine(tmp_path, 7)
    (tmp_path / "7" / "cmdline").unlink()
    os.mkfifo(tmp_path / "7" / "cmdline")
    begun = time.monotonic()
    assert process.command(7, tmp_path) == ()
    shown = processes._read(7, tmp_path, 0, ())
    assert shown is not None
    assert shown.command == "[name-7]"
    assert time.monotonic() - begun < command_line.READ_TIMEOUT_S


def test_it_is_read_in_one_place() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for package in ("runtime", "collectors", "tui")
        for path in (ROOT / package).rglob("*.py")
        if '"cmdline"' in path.read_text()
    ]
    assert readers == ["runtime/kernel/command_line.py"]
