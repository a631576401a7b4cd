"""A record that cannot be read costs its own container's row only: that is listed, named, stopped and removed.

The same kind, a file of ours that is not what it should be, was looked for in the page of unsaved state (checksum), the
notes of lowered limits (`kernel.limit_journal`: unreadable ones are dropped), a shim's lock and exit file (no complete
line is no status), the log's position and the image's directory (`test_image`).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.doctor import Level, record_checks
from runtime.engines.embedded import lifecycle, reconcile, removal
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.process import launcher
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.state import damage, run_files
from runtime.engines.embedded.state.record import FORMAT, ContainerRecord, dumps, loads, state_to_json
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import ConflictError, EngineError, KernelError, NotFoundError, PytopError
from runtime.kernel import cgroupfs, procfs
from runtime.model import Bind, ContainerSpec, LimitChange, State
from tests.conftest import missing

NONE = cgroupfs.Hierarchies(cgroupfs.Mode.NONE)
SPEC = ContainerSpec(
    "host",
    ("sleep", "1"),
    name="good",
    network="none",
    env={"A": "b"},
    binds=(Bind("/a", "/b"),),
    limits=LimitChange(pids=5, cpus=1.5),
)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    made = RecordStore(EmbeddedConfig(tmp_path / "state", tmp_path / "run", cgroup="pytop-test-none"))
    made.prepare()
    return made


def add(store: RecordStore, name: str) -> ContainerRecord:
    return store.add(lambda container_id: ContainerRecord(container_id, replace(SPEC, name=name), 7))


def later_format(document: dict[str, Any]) -> None:
    document["format"] = FORMAT + 1


def with_field(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def damaged(document: dict[str, Any]) -> None:
        document[name] = value

    return damaged


def with_spec_field(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def damaged(document: dict[str, Any]) -> None:
        document["spec"][name] = value

    return damaged


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a later format": (later_format, "a newer version of this program has written it"),
    "pid": (with_field("pid", "12"), "field pid"),
    "created_ns": (with_field("created_ns", "yesterday"), "field created_ns"),
    "state": (with_field("state", "asleep"), "'asleep' is not a valid State"),
    "state of no type": (with_field("state", []), "field state"),
    "restarts": (with_field("restarts", True), "field restarts"),
    "spec": (with_field("spec", [1]), "field spec"),
    "another's id": (with_field("id", "b" * 64), "that of container bbbbbbbbbbbb"),
    "name": (with_spec_field("name", 5), "field name"),
    "command": (with_spec_field("command", "sleep 1"), "field command"),
    "words": (with_spec_field("command", ["sleep", 1]), "field command"),
    "env": (with_spec_field("env", {"A": 1}), "field env"),
    "labels": (with_spec_field("labels", ["a"]), "field labels"),
    "stop_timeout": (with_spec_field("stop_timeout", "10"), "field stop_timeout"),
    "auto_remove": (with_spec_field("auto_remove", "yes"), "field auto_remove"),
    "binds": (with_spec_field("binds", [{"source": 1, "target": "/b"}]), "field source"),
    "a bind's unknown field": (with_spec_field("binds", [{"source": "/a", "target": "/b", "x": 1}]), "field 'x'"),
    "a limit": (with_spec_field("limits", {"pids": "many"}), "pids cannot be 'many'"),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_field_of_a_wrong_type_costs_that_row_only(store: RecordStore, how: str) -> None:
    good, bad = add(store, "good"), add(store, "bad")
    document = json.loads(dumps(bad))
    wrong, words = WRONG[how]
    wrong(document)
    store.config.record(bad.id).write_text(json.dumps(document))
    listed = {record.id: record for record in reconcile.repair_each(store, NONE, store.all())}
    assert listed[good.id] == good
    container = listed[bad.id].container()
    assert (container.name, container.state, container.health) == ("bad", State.DEAD, "damaged")
    assert container.error.startswith("its record is damaged: ")
    assert words in container.error


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def nested(path: Path) -> None:
    path.write_bytes(b"[" * 200_000)


def a_list(path: Path) -> None:
    path.write_bytes(b"[1, null]")


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").touch()


def a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("spoil", [emptied, torn, zeroed, nested, a_list, a_fifo, a_directory, a_link])
def test_a_damaged_record_is_listed_keeps_its_name_and_can_be_removed(
    store: RecordStore, spoil: Callable[[Path], None]
) -> None:
    bad = add(store, "bad")
    spoil(store.config.record(bad.id))
    (found,) = store.all()
    assert (found.id, found.spec.name, found.state) == (bad.id, "bad", State.DEAD)
    assert store.find("bad") == store.find(bad.id) == store.find(bad.id[:9]) == found
    with pytest.raises(ConflictError, match="taken"):
        add(store, "bad")
    with pytest.raises(EngineError, match=r"its record is damaged: .*rm -f bad"):
        store.change(bad.id, lambda current: current.with_limits(LimitChange(pids=9)))
    assert store.change(bad.id, lambda current: replace(current, state=State.REMOVING)).state is State.REMOVING
    assert store.read(bad.id) == found, "nothing is written to it"
    removal.erase(store, NONE, found)
    assert store.all() == os.listdir(store.config.records) == []
    for left in (store.config.data(bad.id), store.config.live(bad.id)):
        assert not left.exists()
    add(store, "bad")


def test_a_damaged_record_is_not_started(tmp_path: Path) -> None:
    verbs = lifecycle.Lifecycle(EmbeddedConfig(tmp_path / "state", tmp_path / "run", cgroup="pytop-test-none"))
    verbs.store.prepare()
    record = add(verbs.store, "bad")
    emptied(verbs.config.record(record.id))
    with pytest.raises(EngineError, match=r"start bad.*it is empty.*rm -f bad"):
        verbs.start("bad")


def test_the_name_of_a_container_of_an_earlier_version_is_made_of_its_id(store: RecordStore) -> None:
    record = add(store, "bad")
    emptied(store.config.record(record.id))
    store.config.name(record.id).unlink()
    assert store.read(record.id).spec.name == f"c-{record.id[:12]}"
    shutil.rmtree(store.config.data(record.id))
    assert store.read(record.id).created_ns == 0


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOENT, NotFoundError), (errno.EMFILE, PytopError), (errno.ENOMEM, PytopError)]
)
def test_a_record_that_could_not_be_opened_is_not_called_damaged(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[PytopError]
) -> None:
    record = add(store, "good")
    real = os.open

    def failing(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if str(path).endswith(".json"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(kind):
        store.read(record.id)


def test_a_state_of_a_wrong_type_in_the_run_directory_is_damage_too(store: RecordStore) -> None:
    record = add(store, "good")
    fields = {**state_to_json(record), "pid": "twelve"}
    run_files.keep_unsaved(store.config.live(record.id), dumps(record), fields)
    assert "field pid" in store.read(record.id).damage


def test_the_doctor_says_what_is_damaged_and_what_to_do(store: RecordStore) -> None:
    add(store, "good")
    assert list(record_checks(store.config)) == []
    bad = add(store, "bad")
    emptied(store.config.record(bad.id))
    (check,) = record_checks(store.config)
    assert (check.level, check.name) == (Level.LIMITED, "container bad")
    assert "it is empty" in check.found
    assert check.remedy == "Remove it: pytop-containers rm -f bad"
    assert list(record_checks(EmbeddedConfig(store.config.state / "none", store.config.run / "none"))) == []


# -- what runs although its record does not say so

IN_NAMESPACE = """
import os, sys
from runtime.kernel import syscalls
CLONE_NEWUSER = 0x10000000
pid = syscalls.clone(CLONE_NEWUSER | syscalls.CLONE_NEWPID, None)
if pid == 0:
    sys.stdin.read()
    os._exit(0)
print(pid, flush=True)
os.waitpid(pid, 0)
"""


class Running:
    """A process that is process 1 of a PID namespace, in a cgroup of a temporary tree."""

    def __init__(self, store: RecordStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = tmp_path / "cgroup"
        self.hierarchies = cgroupfs.Hierarchies(cgroupfs.Mode.V2, unified=cgroupfs.Mount(root))
        monkeypatch.setattr(cgroupfs, "detect", lambda: self.hierarchies)
        self._store, self._root = store, root
        self._process = subprocess.Popen(
            [sys.executable, "-c", IN_NAMESPACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.end()
            missing("namespaces", "no PID namespace can be made here")
        self.pid = int(line)

    def put(self, record: ContainerRecord) -> None:
        """Have the process listed in the cgroup of this container, behind this test's own process."""
        directory = self._root / self._store.config.cgroup_of(record.id)
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(f"{os.getpid()}\n{self.pid}\n")
        (directory / "cgroup.freeze").write_text("0\n")
        (directory / "cgroup.events").write_text("populated 1\nfrozen 0\n")

    def end(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(5)


@pytest.fixture
def running(store: RecordStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Running(store, tmp_path, monkeypatch)
    yield made
    made.end()


def test_what_runs_with_a_damaged_record_is_known_by_its_cgroup(store: RecordStore, running: Running) -> None:
    record = add(store, "bad")
    emptied(store.config.record(record.id))
    running.put(record)
    found = store.read(record.id)
    assert (found.state, found.pid, found.pid_start) == (State.RUNNING, running.pid, procfs.start_time(running.pid))
    assert found.boot_id == procfs.boot_id()
    container = found.container()
    assert (container.name, container.pid, container.health) == ("bad", running.pid, "damaged")


def test_a_container_that_cannot_be_repaired_costs_its_own_row_only(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shim was killed and none can be had for it, as where its helper's process dies of it each time."""
    good, bad, gone = (add(store, name) for name in ("good", "bad", "gone"))
    for record in (bad, gone):
        store.change(
            record.id,
            lambda current: replace(
                current,
                state=State.RUNNING,
                pid=os.getpid(),
                pid_start=procfs.start_time(os.getpid()),
                boot_id=procfs.boot_id(),
            ),
        )

    def no_helper(*_: object) -> bool:
        raise KernelError("start the engine's helper process", detail="it died")

    monkeypatch.setattr(launcher, "request_shim", no_helper)
    records = store.all()
    store.forget(gone.id)
    listed = {record.spec.name: record for record in reconcile.repair_each(store, NONE, records)}
    assert listed.keys() == {"good", "bad"}
    assert listed["good"] == good
    assert listed["bad"].state is State.RUNNING
    assert "it died" in listed["bad"].container().error


def of_another_boot(current: ContainerRecord) -> ContainerRecord:
    return replace(current, state=State.RUNNING, pid=4, pid_start=5, boot_id="before", started_ns=6)


def test_a_record_of_another_boot_beside_a_container_that_runs_is_made_true(
    store: RecordStore, running: Running
) -> None:
    record = add(store, "copied")
    running.put(record)
    held = store.shim_lock(record.id)
    assert held is not None
    stale = store.change(record.id, of_another_boot)
    found = reconcile.repair_unless_busy(store, running.hierarchies, stale)
    os.close(held)
    assert found is not None
    assert (found.state, found.pid, found.exit_code) == (State.RUNNING, running.pid, None)
    assert found.boot_id == procfs.boot_id()


@pytest.mark.parametrize("state", [State.CREATED, State.EXITED])
def test_a_restored_record_that_knows_nothing_of_the_run_is_made_true(
    store: RecordStore, running: Running, state: State
) -> None:
    record = store.change(add(store, "copied").id, lambda current: replace(current, state=state, exit_code=3))
    held = store.shim_lock(record.id)
    assert held is not None
    assert reconcile.repair_each(store, running.hierarchies, [record]) == [record]
    running.put(record)
    (found,) = reconcile.repair_each(store, running.hierarchies, [record])
    assert (found.state, found.pid, found.exit_code) == (State.RUNNING, running.pid, None)
    os.close(held)


def test_a_start_that_is_under_way_is_not_taken_for_one(store: RecordStore, running: Running) -> None:
    record = store.change(add(store, "starting").id, lambda current: replace(current, starting=True))
    running.put(record)
    assert reconcile.adopt(store, running.hierarchies, record) == record


def test_whoever_looks_with_an_old_record_does_not_end_what_was_started_since(store: RecordStore) -> None:
    """`ps` has read the record of the boot before, and a start is faster than it."""
    record = add(store, "quick")
    stale = store.change(record.id, of_another_boot)
    held = store.shim_lock(record.id)
    assert held is not None
    started = store.change(
        record.id,
        lambda current: replace(
            current, pid=os.getpid(), pid_start=procfs.start_time(os.getpid()), boot_id=procfs.boot_id()
        ),
    )
    reconcile.repair(store, NONE, stale)
    assert store.read(record.id) == started
    os.close(held)


def test_whoever_looks_with_an_old_record_leaves_the_status_of_a_run_since(store: RecordStore) -> None:
    record = add(store, "quick")
    stale = store.change(record.id, of_another_boot)
    ended = store.change(record.id, lambda current: current.ended(3, now_ns=9))
    reconcile.repair(store, NONE, stale)
    assert store.read(record.id) == ended


def test_a_container_that_a_reboot_has_ended_is_exited_once(store: RecordStore) -> None:
    stale = store.change(add(store, "ended").id, of_another_boot)
    found = reconcile.repair_unless_busy(store, NONE, stale)
    assert found is not None
    assert (found.state, found.exit_code, found.error) == (State.EXITED, 255, "the host was restarted")


# -- what a start keeps without a sync


def test_a_start_is_kept_in_the_run_directory_and_written_afterwards(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = add(store, "quick")
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd)))
    before = store.config.record(record.id).read_bytes()
    for change in ({"starting": True}, {"starting": False, "state": State.RUNNING, "pid": 77}):
        store.change(record.id, lambda current, change=change: replace(current, **change), unsynced=True)
    assert synced == []
    assert store.config.record(record.id).read_bytes() == before
    assert (RecordStore(store.config).read(record.id).pid, store.unsaved(record.id)) == (77, True)
    store.change(record.id, lambda current: current)
    assert len(synced) == 1
    assert loads(store.config.record(record.id).read_bytes()).pid == 77
    assert not store.unsaved(record.id)


def test_without_room_in_the_run_directory_a_start_is_written_to_the_record(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = add(store, "quick")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_files, "keep_unsaved", full)
    store.change(record.id, lambda current: replace(current, starting=True), unsynced=True)
    assert loads(store.config.record(record.id).read_bytes()).starting


def test_a_reboot_loses_the_state_of_a_run_and_nothing_else(store: RecordStore) -> None:
    record = add(store, "quick")
    store.change(record.id, of_another_boot, unsynced=True)
    shutil.rmtree(store.config.live(record.id))
    assert store.read(record.id) == record


def test_no_init_is_found_where_there_is_none(tmp_path: Path) -> None:
    cgroup = sandbox_cgroup.find(cgroupfs.Hierarchies(cgroupfs.Mode.V2, unified=cgroupfs.Mount(tmp_path)), "x/y")
    assert damage.find_init(cgroup) is None
