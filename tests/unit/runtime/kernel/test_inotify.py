"""One inotify instance for all directories, events that are lost, and directories in which too much happens."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.kernel import inotify, syscalls
from runtime.kernel.inotify import ENTRIES, LOGS, WRITES, Change, DirectoryWatch, watch_directory
from tests.waiting import until

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


def instances() -> int:
    links = (os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())
    return sum(link == "anon_inode:inotify" for link in links)


def queue_length() -> int:
    """How many events wait in a queue before one is lost."""
    longest = int(QUEUE.read_text())
    if longest > 1 << 17:
        pytest.skip(f"{QUEUE} is {longest}")
    return longest


class Seen:
    """What a watch was told."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lost = 0
        self.calls = 0

    def __call__(self, change: Change) -> None:
        self.calls += 1
        self.names |= change.names
        self.lost += change.lost


def write_in_turn(directory: Path, times: int) -> None:
    """Write to two files in turn: events that follow each other and are alike would be one."""
    files = [os.open(directory / name, os.O_WRONLY | os.O_CREAT) for name in ("a", "b")]
    for number in range(times):
        os.pwrite(files[number % 2], b"1", 0)
    for file in files:
        os.close(file)


async def test_many_directories_are_one_instance_which_ends_with_the_last_watch(tmp_path: Path) -> None:
    """Each watch of a log and of records had an instance of its own, of which a user has 128."""
    before = instances()
    watches: list[Callable[[], None]] = []
    for number in range(20):
        directory = tmp_path / str(number)
        directory.mkdir()
        watches.append(watch_directory(directory, WRITES, Seen()).close)
        watches.append(DirectoryWatch(directory, LOGS).close)
    assert instances() == before + 1
    for close in watches:
        close()
        close()
    assert instances() == before


async def test_each_watcher_of_a_directory_is_told_of_what_it_asked_for(tmp_path: Path) -> None:
    entries, writes = Seen(), Seen()
    watches = [watch_directory(tmp_path, ENTRIES, entries), watch_directory(tmp_path, WRITES, writes)]
    (tmp_path / "new").mkdir()
    (tmp_path / "limit").write_text("1")
    await until(lambda: writes.names)
    assert entries.names == {"new", "limit"}
    assert writes.names == {"limit"}
    watches[1].close()
    writes.names.clear()
    (tmp_path / "limit").write_text("2")
    (tmp_path / "last").mkdir()
    await until(lambda: "last" in entries.names)
    assert not writes.names
    watches[0].close()


async def test_where_too_much_happens_the_watch_pauses_and_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "STORM_PAUSE_S", 0.2)
    busy, calm, log = Seen(), Seen(), Seen()
    for name in ("busy", "calm", "log"):
        (tmp_path / name).mkdir()
    watch = watch_directory(tmp_path / "busy", WRITES, busy, max_per_s=50)
    others = [
        watch_directory(tmp_path / "calm", WRITES, calm, max_per_s=50),
        watch_directory(tmp_path / "log", WRITES, log),
    ]
    write_in_turn(tmp_path / "busy", 200)
    write_in_turn(tmp_path / "log", 200)
    await until(lambda: busy.lost)
    assert not watch.live
    assert all(other.live for other in others)
    calls = busy.calls
    write_in_turn(tmp_path / "busy", 10)
    write_in_turn(tmp_path / "calm", 10)
    await until(lambda: calm.calls)
    assert busy.calls == calls
    await until(lambda: watch.live)
    assert busy.lost == 2, "it looks by itself when the watch begins again"
    busy.names.clear()
    write_in_turn(tmp_path / "busy", 2)
    await until(lambda: busy.names == {"a", "b"})
    for each in (watch, *others):
        each.close()


async def test_a_queue_that_overflows_is_told_to_everybody(tmp_path: Path) -> None:
    longest = queue_length()
    (tmp_path / "busy").mkdir()
    (tmp_path / "calm").mkdir()
    busy, calm = Seen(), Seen()
    watches = [watch_directory(tmp_path / "busy", WRITES, busy), watch_directory(tmp_path / "calm", WRITES, calm)]
    write_in_turn(tmp_path / "busy", longest + 10)
    await until(lambda: calm.lost and busy.lost)
    for watch in watches:
        watch.close()


async def test_a_directory_that_is_removed_ends_its_watch(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    watch = watch_directory(gone, WRITES, Seen())
    gone.rmdir()
    await until(lambda: not watch.live)
    watch.close()
    with pytest.raises(FileNotFoundError):
        watch_directory(gone, WRITES, Seen())
    assert not instances()


async def test_without_an_instance_the_watch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(syscalls, "inotify_init", refused)
    for _ in range(2):
        with pytest.raises(OSError, match="Too many open files"):
            watch_directory(tmp_path, WRITES, Seen())
    monkeypatch.undo()
    watch_directory(tmp_path, WRITES, Seen()).close()
    await asyncio.sleep(0)
    assert not instances()


async def test_a_read_that_fails_is_told_as_lost_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended in a traceback, and nobody looked. Looked for elsewhere: `collectors.sampling.limit_watch`."""
    seen = Seen()
    watch = watch_directory(tmp_path, ENTRIES, seen)
    real = os.read

    def failing(fd: int, size: int) -> bytes:
        monkeypatch.setattr(inotify.os, "read", real)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(inotify.os, "read", failing)
    (tmp_path / "new").touch()
    await until(lambda: seen.lost and "new" in seen.names, 5)
    watch.close()
