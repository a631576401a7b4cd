"""Records, locks, names; what a change between two records means."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConflictError, EngineError, InvalidError, NotFoundError
from runtime.model import UNLIMITED, Bind, ContainerSpec, EventKind, LimitChange, State
from runtime.native import NativeConfig, accounts
from runtime.native.engine import changes
from runtime.native.lifecycle import check_limits, signal_number
from runtime.native.record import Record, RestartPolicy, dumps, loads, parse_policy
from runtime.native.store import Store, check_name, lock, write_file

SPEC = ContainerSpec(
    "host",
    ("sleep", "1"),
    name="n",
    env={"A": "b"},
    binds=(Bind("/a", "/b", True),),
    limits=LimitChange(cpus=1.5, memory=UNLIMITED, cpuset_cpus="0-1", pids=5),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(NativeConfig(tmp_path / "state", tmp_path / "run"))
    made.prepare()
    return made


def add(store: Store, name: str) -> Record:
    return store.add(lambda container_id: Record(container_id, replace(SPEC, name=name), 1))


def test_a_record_survives_its_file() -> None:
    record = Record("a" * 64, SPEC, 5, state=State.PAUSED, pid=7, exit_code=3, address="10.0.0.2/16")
    assert loads(dumps(record)) == record


@given(st.binary(max_size=100))
def test_a_damaged_record_is_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(EngineError):
        loads(data)


def test_a_damaged_record_does_not_hide_the_others(store: Store) -> None:
    good, bad = add(store, "good"), add(store, "bad")
    store.config.record(bad.id).write_bytes(b"{")
    assert [record.id for record in store.all()] == [good.id]
    assert store.find("good").id == good.id


def test_names_ids_and_prefixes(store: Store) -> None:
    first = add(store, "first")
    with pytest.raises(ConflictError):
        add(store, "first")
    assert store.find("first") == store.find(first.id) == store.find(first.id[:12]) == first
    for key in ("", "nobody", "f" * 64):
        with pytest.raises(NotFoundError):
            store.find(key)
    named = add(store, first.id[:6])
    assert store.find(first.id[:6]) == named  # a name goes before the beginning of an id


def test_change_is_written_and_seen(store: Store) -> None:
    record = add(store, "x")
    store.change(record.id, lambda current: replace(current, state=State.RUNNING, pid=1))
    assert store.read(record.id).state is State.RUNNING
    assert sorted(os.listdir(store.config.records)) == [f"{record.id}.json"]
    store.forget(record.id)
    with pytest.raises(NotFoundError):
        store.change(record.id, lambda current: current)


def test_a_write_that_is_killed_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_file(path, b"old", durable=True)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        write_file(path, b"new", durable=False)
    assert path.read_bytes() == b"old"


def test_locks_exclude_and_end_with_their_descriptor(tmp_path: Path) -> None:
    held = lock(tmp_path / "lock")
    assert held is not None
    assert lock(tmp_path / "lock", wait=0.02) is None
    os.close(held)
    again = lock(tmp_path / "lock", wait=0)
    assert again is not None
    os.close(again)


def test_an_instance_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Store(NativeConfig(tmp_path / "none", tmp_path / "none")).all() == []


def test_limits_asked_for_later_replace_those_before() -> None:
    after = Record("a", SPEC, 1).with_limits(LimitChange(pids=9, memory=1 << 20))
    assert after.spec.limits == replace(SPEC.limits, pids=9, memory=1 << 20)


@pytest.mark.parametrize("name", ["ab", "a.b-c_d", "A1" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["a", "", "-ab", ".x", "a b", "a/b", "a\n", "ü1", "a" * 129])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidError):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "code", "restarts", "wants"),
    [
        ("no", 1, 0, False),
        ("", 1, 0, False),
        ("on-failure", 0, 0, False),
        ("on-failure", 1, 50, True),
        ("on-failure:2", 1, 1, True),
        ("on-failure:2", 1, 2, False),
        ("always", 0, 9, True),
        ("unless-stopped", 0, 9, True),
    ],
)
def test_restart_policies(text: str, code: int, restarts: int, wants: bool) -> None:
    policy = parse_policy(text)
    assert isinstance(policy, RestartPolicy)
    assert policy.wants(code, restarts=restarts) is wants


@pytest.mark.parametrize("text", ["sometimes", "on-failure:", "on-failure:x", "always:3", "no:", "on-failure:-1"])
def test_what_is_no_policy(text: str) -> None:
    assert parse_policy(text) is None


@pytest.mark.parametrize(("text", "number"), [("SIGTERM", 15), ("hup", 1), ("9", 9), (" kill ", 9)])
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "SIGNOPE", "0", "99", "-1", "SIG_DFL"])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(InvalidError):
        signal_number(text)


def test_limits_that_no_kernel_takes() -> None:
    check_limits(LimitChange(swap=0, memory=UNLIMITED, cpuset_cpus="0-2,4"))
    for change in (LimitChange(memory=0), LimitChange(cpus=-1), LimitChange(cpuset_mems="x"), LimitChange(pids=-1)):
        with pytest.raises(InvalidError):
            check_limits(change)


PASSWD = [line.split(":") for line in ("root:x:0:0::/root:/bin/sh", "web:x:33:34::/var/www:/bin/sh")]
GROUP = [line.split(":") for line in ("root:x:0:", "web:x:34:", "logs:x:50:root,web")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", (33, 34, (50,), "/var/www")),
        ("33", (33, 34, (50,), "/var/www")),
        ("web:logs", (33, 50, (), "/var/www")),
        ("1000", (1000, 0, (), "/")),
        ("1000:7", (1000, 7, (), "/")),
    ],
)
def test_users(text: str, expected: tuple[int, int, tuple[int, ...], str]) -> None:
    user = accounts.find(text, PASSWD, GROUP)
    assert (user.uid, user.gid, user.groups, user.home) == expected


@pytest.mark.parametrize("text", ["nobody", "web:none", "-1", "99999999999", "a b"])
def test_unknown_users(text: str) -> None:
    with pytest.raises(InvalidError):
        accounts.find(text, PASSWD, GROUP)


def test_what_happened_between_two_looks() -> None:
    created = Record("a" * 64, SPEC, 1)
    running = replace(created, state=State.RUNNING, started_ns=5)
    paused = replace(running, state=State.PAUSED)
    ended = running.ended(137, now_ns=9, oom_killed=True)
    again = replace(running, started_ns=10)
    kinds = EventKind
    assert changes(None, created) == [kinds.CREATED]
    assert changes(None, running) == [kinds.CREATED, kinds.STARTED]
    assert changes(created, running) == [kinds.STARTED]
    assert changes(running, paused) == [kinds.PAUSED]
    assert changes(paused, running) == [kinds.UNPAUSED]
    assert changes(running, ended) == [kinds.OOM, kinds.DIED]
    assert changes(running, again) == [kinds.DIED, kinds.STARTED]
    assert changes(running, running.with_limits(LimitChange(pids=9))) == [kinds.UPDATED]
    assert changes(ended, None) == [kinds.REMOVED]
    assert changes(running, None) == [kinds.DIED, kinds.REMOVED]
    assert changes(None, None) == []
