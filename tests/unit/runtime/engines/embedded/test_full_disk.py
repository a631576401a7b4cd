"""A disk that takes no more writes: records are kept whole, states beside them, and errors name the file system."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime import limits
from runtime.engines.embedded import reconcile, removal
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.limits import update
from runtime.engines.embedded.process import launcher, log_writer, shim
from runtime.engines.embedded.process.log_writer import LogWriter
from runtime.engines.embedded.sandbox import cgroup
from runtime.engines.embedded.state import run_files
from runtime.engines.embedded.state.record import ContainerRecord, dumps, loads
from runtime.engines.embedded.state.store import RecordStore, lock, write_file
from runtime.errors import KernelError, NotFoundError
from runtime.kernel import cgroupfs, filesystems, procfs
from runtime.model import (
    ContainerRef,
    ContainerSpec,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    State,
    Verdict,
)
from runtime.oci import cri_log

NONE = cgroupfs.Hierarchies(cgroupfs.Mode.NONE)
SPEC = ContainerSpec("host", ("sleep", "1"), name="full", network="none", limits=LimitChange(pids=5))


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    made = RecordStore(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))
    made.prepare()
    return made


@pytest.fixture
def record(store: RecordStore) -> ContainerRecord:
    return store.add(lambda container_id: ContainerRecord(container_id, SPEC, 1))


class Full:
    """Files opened for writing below some directories take `room` bytes more, as on a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.below: tuple[Path, ...] = ()
        self.room = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def _taken(self, fd: int, data: bytes) -> bytes:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if not any(path.is_relative_to(directory) for directory in self.below):
            return data
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = data[: self.room]
        self.room -= len(data)
        return data

    def write(self, fd: int, data: bytes) -> int:
        return self._write(fd, self._taken(fd, data))

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return self._pwrite(fd, self._taken(fd, data), offset)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Full:
    return Full(monkeypatch)


def paused(current: ContainerRecord) -> ContainerRecord:
    return replace(current, state=State.PAUSED)


def running(current: ContainerRecord) -> ContainerRecord:
    return replace(current, state=State.RUNNING)


def test_a_part_of_a_file_never_replaces_it(tmp_path: Path, full: Full) -> None:
    path = tmp_path / "record.json"
    write_file(path, b"old", durable=True)
    full.below, full.room = (tmp_path,), 5
    with pytest.raises(OSError, match="No space left"):
        write_file(path, b"new and longer", durable=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_file_is_written_whole_and_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.write, []
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").read_bytes()))
    write_file(tmp_path / "x", b"longer than three", durable=False)
    assert (tmp_path / "x").read_bytes() == b"longer than three"
    assert synced == [b"longer than three"]


def test_a_state_that_a_full_disk_refuses_is_stored_in_the_run_directory(
    store: RecordStore, record: ContainerRecord, full: Full
) -> None:
    full.below = (store.config.state,)
    after = store.change(record.id, lambda current: current.ended(3, now_ns=7, error="x" * 9000))
    seen = RecordStore(store.config).read(record.id)
    assert (seen.state, seen.exit_code, seen.finished_ns, seen.spec) == (State.EXITED, 3, 7, SPEC)
    assert store.unsaved(record.id)
    assert loads(store.config.record(record.id).read_bytes()) == record
    full.below = ()
    saved = reconcile.repair_unless_busy(store, NONE, store.read(record.id))
    assert saved == loads(store.config.record(record.id).read_bytes()) == replace(after, error="x" * 512)
    assert not store.unsaved(record.id)


def test_a_state_kept_beside_the_record_does_not_come_back(
    store: RecordStore, record: ContainerRecord, full: Full
) -> None:
    store.change(record.id, running)
    full.below = (store.config.state,)
    store.change(record.id, paused)
    full.below = ()
    store.change(record.id, running)  # the same bytes as before
    assert store.read(record.id).state is State.RUNNING
    full.below = (store.config.state,)
    store.change(record.id, paused)
    full.below = (store.config.run,)  # what was kept cannot be taken back
    assert store.change(record.id, lambda current: replace(current, restarts=1)).state is State.PAUSED
    assert RecordStore(store.config).read(record.id) == loads(store.config.record(record.id).read_bytes())


def test_a_record_that_is_saved_during_a_read_counts_as_saved(
    store: RecordStore, record: ContainerRecord, full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    full.below = (store.config.state,)
    store.change(record.id, paused)
    full.below = ()
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        data = real(path)
        monkeypatch.setattr(Path, "read_bytes", real)
        store.change(record.id, lambda current: current)
        return data

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert store.read(record.id).state is State.PAUSED
    assert not store.unsaved(record.id)


def test_a_torn_page_is_not_believed(store: RecordStore, record: ContainerRecord, full: Full) -> None:
    full.below = (store.config.state,)
    store.change(record.id, paused)
    page = store.config.live(record.id) / "unsaved"
    data = page.read_bytes()
    page.write_bytes(data.replace(b"paused", b"exited"))
    assert store.read(record.id) == record
    page.write_bytes(data)
    assert store.read(record.id).state is State.PAUSED
    assert len(data) == run_files.PAGE_BYTES


def test_the_page_for_unsaved_state_is_allocated_at_creation(store: RecordStore, record: ContainerRecord) -> None:
    live = store.config.live(record.id)
    sizes = {path.name: path.stat().st_size for path in live.iterdir() if path.is_file()}
    assert sizes == {"lock": 0, "record.lock": 0, "shim.lock": 64, "position": 4096, "unsaved": 4096}
    assert (live / "unsaved").stat().st_blocks > 0
    assert (live / "position").stat().st_blocks > 0


@pytest.mark.parametrize("below", ["spec", "both"])
def test_what_cannot_be_kept_is_an_error_that_names_the_disk(
    store: RecordStore, record: ContainerRecord, full: Full, below: str
) -> None:
    full.below = (store.config.state, store.config.run) if below == "both" else (store.config.state,)
    change = paused if below == "both" else lambda current: current.with_limits(LimitChange(pids=7))
    with pytest.raises(KernelError, match="No space left on device") as caught:
        store.change(record.id, change)
    mount = filesystems.mount_point(store.config.state)
    assert f"on the file system at {mount}" in str(caught.value)
    assert f"df -h {mount}" in str(caught.value)
    assert caught.value.path == str(store.config.record(record.id))
    assert store.read(record.id) == record


def test_a_creation_without_room_leaves_nothing(store: RecordStore, full: Full) -> None:
    full.below = (store.config.state,)
    with pytest.raises(KernelError, match=r"create container full.*No space left"):
        store.add(lambda container_id: ContainerRecord(container_id, SPEC, 1))
    assert os.listdir(store.config.records) == os.listdir(store.config.state / "data") == []
    assert [name for name in os.listdir(store.config.run) if len(name) == 64] == []


@pytest.mark.parametrize("call", ["mkfifo", "posix_fallocate"])
def test_a_full_run_directory_is_named_and_not_the_disk_of_the_records(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Looked for in every call without a path on the disks' side: these two, and the exit file of init."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(KernelError, match="No space left") as caught:
        store.add(lambda container_id: ContainerRecord(container_id, SPEC, 1))
    assert caught.value.path is not None
    assert Path(caught.value.path).is_relative_to(store.config.run)


def test_a_lock_on_a_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").touch()
    real = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    held = lock(tmp_path / "lock")
    assert held is not None
    assert fcntl.fcntl(held, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert lock(tmp_path / "lock", wait=0) is None
    os.close(held)


# -- the end


@pytest.fixture
def gone(store: RecordStore, record: ContainerRecord) -> ContainerRecord:
    """A container whose init has ended, and nobody has written it down."""
    with subprocess.Popen(["sleep", "100"]) as process:
        start = procfs.start_time(process.pid)
        process.kill()
    return store.change(
        record.id,
        lambda current: replace(
            current, state=State.RUNNING, pid=process.pid, pid_start=start, boot_id=procfs.boot_id()
        ),
    )


def no_helper(number: int) -> Callable[..., bool]:
    def ask(*_: object) -> bool:
        raise KernelError("start the engine's helper process", errno=number)

    return ask


@pytest.mark.parametrize(("written", "code"), [(b"3 17\n".ljust(64, b"\0"), 3), (b"\0" * 64, 137)])
def test_an_exit_that_was_not_recorded_is_noticed(
    store: RecordStore, gone: ContainerRecord, monkeypatch: pytest.MonkeyPatch, written: bytes, code: int
) -> None:
    (store.config.live(gone.id) / "exit").write_bytes(written)
    monkeypatch.setattr(launcher, "request_shim", no_helper(errno.ENOSPC))
    found = reconcile.repair_unless_busy(store, NONE, gone)
    assert found is not None
    assert (found.state, found.exit_code, found.pid) == (State.EXITED, code, None)


def test_what_is_wrong_with_a_helper_is_not_hidden(
    store: RecordStore, gone: ContainerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "request_shim", no_helper(errno.EINVAL))
    with pytest.raises(KernelError, match="helper"):
        reconcile.repair_unless_busy(store, NONE, gone)


def test_a_shim_that_is_at_work_is_waited_for(store: RecordStore, gone: ContainerRecord) -> None:
    held = store.shim_lock(gone.id)
    assert held is not None
    began = time.monotonic()
    found = reconcile.repaired(store, NONE, gone)
    assert found.state is State.RUNNING
    assert time.monotonic() - began > 0.9
    os.close(held)


def test_an_exit_file_on_a_disk_with_space() -> None:
    assert shim.exit_status("137 5\n" + "\0" * 10) == 137
    assert shim.exit_status("\0" * 64) is shim.exit_status("") is shim.exit_status("13") is None


def test_removal_needs_no_disk_space(
    store: RecordStore, record: ContainerRecord, full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "release", lambda *_: None)
    full.below = (store.config.state, store.config.run)
    removal.erase(store, NONE, record)
    with pytest.raises(NotFoundError):
        store.read(record.id)
    assert not store.config.data(record.id).exists()
    assert not store.config.live(record.id).exists()


def test_a_record_that_cannot_be_unlinked_is_reported_after_the_rest_was_removed(
    store: RecordStore, record: ContainerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "release", lambda *_: None)

    def read_only(container_id: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), container_id)

    monkeypatch.setattr(store, "forget", read_only)
    with pytest.raises(KernelError, match=r"does not run any more.*Read-only file system \(EROFS\).*remount,rw"):
        removal.erase(store, NONE, record)
    assert not store.config.data(record.id).exists()
    assert store.read(record.id).state is State.REMOVING


def test_limits_without_a_record_last_until_the_restart(
    record: ContainerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = FieldOutcome(LimitName.PIDS, 77, 5, 77, 77, Verdict.APPLIED, detail="pids.max: 77")
    monkeypatch.setattr(limits, "change", lambda *_, **__: LimitOutcome(ContainerRef("embedded", record.id), (field,)))
    monkeypatch.setattr(limits, "unsupported_limits", lambda _: {})
    number = errno.ENOSPC

    def keep(_: LimitChange) -> ContainerRecord:
        raise KernelError("write the record", detail="No space left on the file system at /x", errno=number)

    alive = replace(record, state=State.RUNNING)
    outcome = update(alive, LimitChange(pids=77), NONE, cgroupfs.Cgroup(), keep)
    assert outcome.ok
    assert outcome.fields[0].persistent is False
    assert outcome.fields[0].detail.startswith("pids.max: 77; until restart, since it could not be recorded")
    assert "No space left on the file system at /x" in outcome.fields[0].detail
    number = errno.EINVAL
    with pytest.raises(KernelError):
        update(alive, LimitChange(pids=77), NONE, cgroupfs.Cgroup(), keep)


# -- output


def test_output_on_a_full_disk_is_dropped_and_the_log_says_so(tmp_path: Path, full: Full) -> None:
    log_writer.make_pipes(tmp_path)
    init = os.open(tmp_path / "stdout", os.O_RDWR | os.O_NONBLOCK)
    writer = LogWriter(tmp_path, tmp_path / "log")
    os.write(init, b"before\n")
    assert writer.pump("stdout")
    full.below, full.room = (tmp_path / "log",), 20  # a part of the line fits
    for _ in range(2):
        full._write(init, b"lost\n")
        assert writer.pump("stdout")
    full.below = ()
    os.write(init, b"after\n")
    assert writer.pump("stdout")
    writer.close()
    os.close(init)
    lines = [cri_log.decode(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert [line and (line.stream, line.data) for line in lines] == [
        ("stdout", b"before"),
        ("stderr", b"[pytop-containers: 10 bytes of output are missing here: the disk was full]"),
        ("stdout", b"after"),
    ]


def test_a_log_writer_that_cannot_store_its_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    writer = LogWriter(tmp_path, tmp_path / "log")
    writer.close()


# -- where


def test_the_mount_point_is_the_innermost_and_the_last(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /run rw - tmpfs tmpfs rw\n"
        "3 1 8:2 / /var\\040x rw - xfs /dev/b rw\nnonsense\n4 2 0:6 / /run/a rw - tmpfs tmpfs rw\n"
    )
    for path, mount in (("/run/b/c", "/run"), ("/run/a", "/run/a"), ("/runner", "/"), ("/var x/y", "/var x")):
        assert filesystems.mount_point(Path(path), mountinfo) == Path(mount)
    assert filesystems.mount_point(Path("/run/a"), tmp_path / "none") == Path("/")


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EROFS, "remount,rw"), (errno.EIO, "dmesg"), (errno.EDQUOT, "df -i")]
)
def test_what_to_do_depends_on_what_is_wrong(number: int, hint: str) -> None:
    said = filesystems.refused("write", OSError(number, os.strerror(number)), Path("/proc/nowhere/x"))
    assert said.errno == number
    assert hint in said.hint
    assert said.path == "/proc/nowhere/x"
    assert said.detail.endswith("on the file system at /proc")
    assert filesystems.refuses(said)
    assert not filesystems.refuses(OSError(errno.ENOENT, ""))
    assert not filesystems.refuses(ValueError())


def test_records_are_as_they_were(record: ContainerRecord, store: RecordStore) -> None:
    """What a version without this has written is read."""
    (store.config.live(record.id) / "unsaved").unlink()
    assert store.read(record.id) == record
    assert loads(dumps(record)) == record
