"""One guard at a time: the second is told who the first is, and a dead one holds nothing."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import ConflictError
from runtime.kernel import run_directory
from tests.waiting import wait_until
from tui.core.guard.writer_lock import LOCK_FILE, WriterLock

ROOT = Path(__file__).parents[3]
HOLD = (
    "import sys, time; from pathlib import Path; from runtime.kernel import run_directory;"
    "run_directory.candidates = lambda uid: (Path(sys.argv[1]),);"
    "from tui.core.guard.writer_lock import WriterLock;"
    "lock = WriterLock.acquire('/etc/first.toml'); print('held', flush=True); time.sleep(60)"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory of the test's own."""
    found = tmp_path / "run"
    monkeypatch.setattr(run_directory, "candidates", lambda uid: (found,))
    return found


def test_the_second_guard_is_told_who_the_first_is() -> None:
    first = WriterLock.acquire("/etc/guard.toml")
    with pytest.raises(ConflictError) as caught:
        WriterLock.acquire("/home/other.toml")
    user = pwd.getpwuid(os.getuid()).pw_name
    assert (
        caught.value.detail
        == f"another guard runs: process {os.getpid()} of user {user}, with the policy /etc/guard.toml"
    )
    first.close()
    WriterLock.acquire("/home/other.toml").close()


def test_a_killed_guard_of_another_process_holds_nothing(place: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConflictError) as caught:
            WriterLock.acquire("x")
        assert f"process {other.pid} of user" in caught.value.detail
        assert "/etc/first.toml" in caught.value.detail
        other.send_signal(signal.SIGKILL)
        other.wait()
    wait_until(lambda: _free(), 3)


def _free() -> bool:
    try:
        WriterLock.acquire("x").close()
    except ConflictError:
        return False
    return True


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff" * 5000])
def test_a_note_that_cannot_be_read_says_only_that_somebody_has_it(place: Path, note: bytes) -> None:
    first = WriterLock.acquire("/etc/guard.toml")
    (place / LOCK_FILE).write_bytes(note)
    with pytest.raises(ConflictError) as caught:
        WriterLock.acquire("x")
    assert caught.value.detail == "another guard runs: it has only just begun"
    first.close()
