"""Limits that are lowered for a moment: whatever kills the program then, whoever looks next puts them back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from runtime.kernel import limit_journal, run_directory
from runtime.kernel.limit_journal import LoweredLimit

ROOT = Path(__file__).parents[4]
MB = 1 << 20
KILLED_AT_EACH_WRITE = """
import json, os, signal, sys
from pathlib import Path
from threading import Event
import pytest
from runtime import limits
from runtime.kernel import files, limit_journal, run_directory
from runtime.kernel.cgroupfs import Mode
from runtime.limits import reclaim
from runtime.limits.review import facts
from runtime.limits.controllers.memory import make_headroom
from runtime.model import ContainerRef, LimitChange
from tests.unit.fake_kernel import FakeKernel

MB = 1 << 20
top, mode, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
CHANGE = LimitChange(memory=100 * MB, memory_high=90 * MB if what == "change high" else None)

def act(cgroup):
    if what == "reclaim":
        limits.shrink(cgroup, 150 * MB, progress=lambda _: None, stop=Event())
    elif what == "daemon":
        made = make_headroom(cgroup, CHANGE)
        files.write(cgroup.unified / "memory.max", str(CHANGE.memory))  # by the daemon
        made.restore()
    else:
        assert limits.change(ContainerRef("test", "0"), cgroup, CHANGE, force=True).ok

def once(number, after):
    folder = top / f"{number}-{after}"
    folder.mkdir()
    patch = pytest.MonkeyPatch()
    kernel = FakeKernel(folder, Mode(mode), patch)
    patch.setattr(facts, "meminfo", lambda: {"SwapFree": 0})
    cgroup = kernel.cgroup()
    kernel.uses(cgroup, 200 * MB, cache=150 * MB)
    if mode == "v2":
        (cgroup.unified / "memory.reclaim").unlink()
    directory = cgroup.where("memory")[0]
    names = ("memory.high", "memory.max") if mode == "v2" else ("memory.limit_in_bytes",)
    before = [files.read(directory / name) for name in names]
    pid = os.fork()
    if not pid:
        write, count = files.write, 0
        def killed(path, text):
            nonlocal count
            count += 1
            if count == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, text)
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
        files.write = killed
        act(cgroup)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    left = [files.read(directory / name) for name in names]
    told = limit_journal.restore_abandoned()
    now = [files.read(directory / name) for name in names]
    patch.undo()
    return dict(ended=status == 0, before=before, left=left, now=now, told=told)

notes = top / "notes"
run_directory.candidates = lambda *_: (notes,)
found = []
for number in range(1, 30):
    found += [once(number, after) for after in (False, True)]
    if found[-1]["ended"]:
        break
print(json.dumps([found, os.listdir(notes)]))
"""


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "notes"
    monkeypatch.setattr(run_directory, "candidates", lambda *_: (place,))
    return place


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "cgroup").mkdir()
    path = tmp_path / "cgroup/memory.high"
    path.write_text("max")
    return path


@pytest.fixture
def dead() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def abandon(notes: Path, file: Path, **changes: object) -> LoweredLimit:
    """As a process leaves it that is killed after it has lowered a limit."""
    limit_journal.note(file, "max", "8192")
    (left,) = notes.iterdir()
    entry = replace(LoweredLimit(**json.loads(left.read_text())), **changes)  # type: ignore[arg-type]
    left.unlink()
    (notes / entry.name).write_text(json.dumps(asdict(entry)))
    file.write_text("8192")
    return entry


@pytest.mark.parametrize(
    ("mode", "what"),
    [("v1", "reclaim"), ("v2", "reclaim"), ("v2", "change"), ("v2", "change high"), ("v2", "daemon")],
)
def test_a_kill_at_any_write_leaves_nothing_lowered_once_somebody_looks(tmp_path: Path, mode: str, what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_WRITE, str(tmp_path), mode, what],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, left = json.loads(done.stdout)
    assert left == []
    assert found[-1]["ended"]
    assert len(found) > 4
    changed = 0
    for each in found:
        high_or_limit = {each["before"][0], str(90 * MB)} if what == "change high" else {each["before"][0]}
        assert each["now"][0] in high_or_limit, each
        assert each["now"][1:] in (each["before"][1:], [str(100 * MB)]), each
        assert bool(each["told"]) is (each["left"] != each["now"]), each
        changed += each["left"] != each["now"]
    assert changed, "no kill left anything lowered: nothing was tried"


def test_what_another_has_changed_meanwhile_is_left(notes: Path, file: Path, dead: int) -> None:
    abandon(notes, file, pid=dead)
    file.write_text("4096000")
    assert limit_journal.restore_abandoned() == []
    assert file.read_text() == "4096000"
    assert list(notes.iterdir()) == []


def test_whole_pages_are_the_same_value(notes: Path, file: Path, dead: int) -> None:
    abandon(notes, file, pid=dead, lowered=str(8192 + 100))
    (words,) = limit_journal.restore_abandoned()
    assert file.read_text().startswith("max")
    assert f"put {file} back to max" in words


def test_a_writer_that_is_at_work_or_cannot_be_seen_is_left_alone(notes: Path, file: Path, dead: int) -> None:
    abandon(notes, file)
    assert limit_journal.restore_abandoned() == []
    assert file.read_text() == "8192"
    limit_journal.forget(file)
    abandon(notes, file, pid=dead, namespace="pid:[1]")
    assert limit_journal.restore_abandoned() == []
    assert len(list(notes.iterdir())) == 1


@pytest.mark.parametrize("changes", [{"inode": 1}, {"boot": "another"}, {"path": "/nowhere/memory.high"}])
def test_another_cgroup_of_that_name_is_not_touched(
    notes: Path, file: Path, dead: int, changes: dict[str, object]
) -> None:
    abandon(notes, file, pid=dead, **changes)
    assert limit_journal.restore_abandoned() == []
    assert file.read_text() == "8192"
    assert list(notes.iterdir()) == []


def test_damaged_and_unfinished_notes_are_removed(notes: Path, file: Path) -> None:
    limit_journal.note(file, "max", "8192")
    limit_journal.forget(file)
    for text in ("", "[]", '{"path": 1}', "{" * 9000):
        (notes / f"{limit_journal.PREFIX}1").write_text(text)
        assert limit_journal.restore_abandoned() == []
        assert list(notes.iterdir()) == []
    unfinished = notes / f"{limit_journal.UNFINISHED}1"
    unfinished.write_text("")
    limit_journal.restore_abandoned()
    assert unfinished.exists(), "somebody may be writing it"
    os.utime(unfinished, (1, 1))
    limit_journal.restore_abandoned()
    assert list(notes.iterdir()) == []


def test_a_note_that_cannot_be_written_stops_nothing(notes: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes.write_text("")
    with limit_journal.lowered(file, "max", "8192"):
        file.write_text("8192")
    assert file.read_text().startswith("max")
    assert "without a note of it" in caplog.text
