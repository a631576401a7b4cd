"""Records, locks, names; what a change between two records means."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.embedded import lifecycle, limits
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.state.changes import event_kinds
from runtime.engines.embedded.state.record import ContainerRecord, RestartPolicy, dumps, loads, parse_policy
from runtime.engines.embedded.state.store import RecordStore, check_name, lock, write_file
from runtime.errors import ConflictError, EngineError, InvalidError, NotFoundError, PytopError, UnsupportedError
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.model import UNLIMITED, Bind, ContainerSpec, DeviceRate, EventKind, LimitChange, Missing, State
from runtime.oci import users

SPEC = ContainerSpec(
    "host",
    ("sleep", "1"),
    name="n",
    env={"A": "b"},
    binds=(Bind("/a", "/b", True),),
    limits=LimitChange(cpus=1.5, memory=UNLIMITED, cpuset_cpus="0-1", pids=5),
)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    made = RecordStore(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))
    made.prepare()
    return made


def add(store: RecordStore, name: str) -> ContainerRecord:
    return store.add(lambda container_id: ContainerRecord(container_id, replace(SPEC, name=name), 1))


def test_a_record_survives_its_file() -> None:
    record = ContainerRecord("a" * 64, SPEC, 5, state=State.PAUSED, pid=7, exit_code=3, address="10.0.0.2/16")
    assert loads(dumps(record)) == record


@given(st.binary(max_size=100))
def test_a_damaged_record_is_a_pytop_error(data: bytes) -> None:
    with pytest.raises(EngineError):
        loads(data)


def test_a_damaged_record_does_not_hide_the_others(store: RecordStore) -> None:
    good, bad = add(store, "good"), add(store, "bad")
    store.config.record(bad.id).write_bytes(b"{")
    assert [(record.id, bool(record.damage)) for record in store.all()] == [(good.id, False), (bad.id, True)]
    assert store.find("good").id == good.id


def test_names_ids_and_prefixes(store: RecordStore) -> None:
    first = add(store, "first")
    with pytest.raises(ConflictError):
        add(store, "first")
    assert store.find("first") == store.find(first.id) == store.find(first.id[:12]) == first
    for key in ("", "nobody", "f" * 64):
        with pytest.raises(NotFoundError):
            store.find(key)
    named = add(store, first.id[:6])
    assert store.find(first.id[:6]) == named  # a name goes before the beginning of an id


def test_change_is_written_and_seen(store: RecordStore) -> None:
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
    assert RecordStore(EmbeddedConfig(tmp_path / "none", tmp_path / "none")).all() == []


def test_limits_asked_for_later_replace_those_before() -> None:
    after = ContainerRecord("a", SPEC, 1).with_limits(LimitChange(pids=9, memory=1 << 20))
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


RATED = LimitChange(
    cpu_period=20_000,
    cpu_burst=0,
    cpu_idle=True,
    io_weight=200,
    io_read_bps=(DeviceRate("8:0", 1 << 20), DeviceRate("8:16", 5)),
    io_write_iops=(DeviceRate("8:0", UNLIMITED),),
    net_egress=UNLIMITED,
    net_ingress=20_000_000,
)


def test_every_limit_survives_its_file_and_an_old_file_is_read() -> None:
    record = ContainerRecord("a" * 64, replace(SPEC, limits=RATED), 5)
    assert loads(dumps(record)) == record
    old = json.loads(dumps(ContainerRecord("a" * 64, SPEC, 5)))
    assert old["spec"]["limits"] == {"cpus": 1.5, "memory": "unlimited", "cpuset_cpus": "0-1", "pids": 5}
    assert loads(json.dumps(old).encode()).spec.limits == SPEC.limits


def test_a_rate_is_recorded_beside_those_of_other_disks_and_lifted_alone() -> None:
    record = ContainerRecord("a" * 64, replace(SPEC, limits=RATED), 5)
    changed = record.with_limits(LimitChange(io_read_bps=(DeviceRate("8:16", UNLIMITED), DeviceRate("7:0", 9)), pids=6))
    assert changed.spec.limits.io_read_bps == (DeviceRate("7:0", 9), DeviceRate("8:0", 1 << 20))
    assert changed.spec.limits.io_write_iops == RATED.io_write_iops
    assert changed.spec.limits.pids == 6


def test_what_is_on_record_is_what_a_start_sets(tmp_path: Path) -> None:
    everything = Hierarchies(Mode.V1, {name: Mount(tmp_path) for name in ("cpu", "cpuset", "memory", "blkio", "pids")})
    for name in ("cpu.cfs_burst_us", "cpu.idle", "memory.memsw.limit_in_bytes", "blkio.bfq.weight"):
        (tmp_path / name).touch()
    held = limits.persisted_limits(ContainerRecord("a" * 64, replace(SPEC, limits=RATED), 5), everything)
    assert (held.cpu_period, held.cpu_idle, held.net_ingress, held.pids) == (20_000, True, 20_000_000, 512)
    assert held.memory_high is Missing.UNSUPPORTED
    assert (held.memory_reservation, held.cpu_shares, held.io_write_bps) == (UNLIMITED, 1024, ())
    lone = limits.persisted_limits(ContainerRecord("a" * 64, replace(SPEC, network="none"), 5), everything)
    assert lone.net_egress is Missing.UNSUPPORTED


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (LimitChange(memory=0), InvalidError, "take 0"),
        (LimitChange(memory_high=1 << 30), UnsupportedError, "no memory controller"),
        (LimitChange(net_egress=1000), UnsupportedError, "--network none"),
    ],
)
def test_what_cannot_be_held_is_not_recorded(change: LimitChange, error: type[PytopError], word: str) -> None:
    with pytest.raises(error, match=word):
        limits.check(change, replace(SPEC, network="none"), Hierarchies(Mode.NONE))


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
    user = users.find(text, PASSWD, GROUP)
    assert (user.uid, user.gid, user.groups, user.home) == expected


NO_ID = ["2147483648", "4294967295", "4294967296", "-1", "+4294967295", "9" * 5000]


@pytest.mark.parametrize("number", NO_ID)
def test_a_number_that_is_no_user_is_refused_at_create_and_at_start(number: str) -> None:
    for text in (number, f"{number}:0", f"root:{number}", f"web:{number}", f"0:{number}"):
        with pytest.raises(InvalidError, match="not the number of a user"):
            users.check(text)
        with pytest.raises(InvalidError, match="not the number of a user"):
            users.find(text, PASSWD, GROUP)
        with pytest.raises(InvalidError, match="not the number of a user"):
            lifecycle.check_spec(replace(SPEC, name="web", binds=(), user=text))


@pytest.mark.parametrize("number", [*NO_ID, "", "x", "1_0", "\u0663"])
def test_an_image_cannot_name_a_number_that_is_no_user(number: str) -> None:
    lines = ("u:x:{}:5::/:", "g:x:5:{}::/:", "m:x:5:5::/:")
    passwd = [line.format(number).split(":") for line in lines]
    group = [["bad", "x", number, "m"]]
    for text in ("u", "g", "m", "m:bad"):
        with pytest.raises(InvalidError, match=r"not the number of a user.*/etc/(passwd|group)"):
            users.find(text, passwd, group)


def test_the_greatest_user_and_names_are_not_refused() -> None:
    for text in ("", "root", "web:logs", "2147483647:2147483647", "0:0"):
        users.check(text)
    user = users.find("2147483647:2147483647", PASSWD, GROUP)
    assert (user.uid, user.gid) == (2147483647, 2147483647)


def test_a_number_is_not_looked_up_as_a_name() -> None:
    """An image with a user called 1000 that is root would else make root of who asked for 1000."""
    user = users.find("1000:7", [["1000", "x", "0", "0", "", "/root", ""]], [["7", "x", "0", ""]])
    assert (user.uid, user.gid, user.home) == (1000, 7, "/")


@pytest.mark.parametrize("text", ["nobody", "web:none", "-1", "99999999999", "a b", ":5"])
def test_unknown_users(text: str) -> None:
    with pytest.raises(InvalidError):
        users.find(text, [*PASSWD, ["", "", "", "", "", "/"]], GROUP)


def test_differences_between_two_lists_are_events() -> None:
    created = ContainerRecord("a" * 64, SPEC, 1)
    running = replace(created, state=State.RUNNING, started_ns=5)
    paused = replace(running, state=State.PAUSED)
    ended = running.ended(137, now_ns=9, oom_killed=True)
    again = replace(running, started_ns=10)
    kinds = EventKind
    assert event_kinds(None, created) == [kinds.CREATED]
    assert event_kinds(None, running) == [kinds.CREATED, kinds.STARTED]
    assert event_kinds(created, running) == [kinds.STARTED]
    assert event_kinds(running, paused) == [kinds.PAUSED]
    assert event_kinds(paused, running) == [kinds.UNPAUSED]
    assert event_kinds(running, ended) == [kinds.OOM, kinds.DIED]
    assert event_kinds(running, again) == [kinds.DIED, kinds.STARTED]
    assert event_kinds(running, running.with_limits(LimitChange(pids=9))) == [kinds.UPDATED]
    assert event_kinds(ended, None) == [kinds.REMOVED]
    assert event_kinds(running, None) == [kinds.DIED, kinds.REMOVED]
    assert event_kinds(None, None) == []


def test_what_a_dead_writer_has_left_goes_and_what_is_being_written_stays(store: RecordStore) -> None:
    record, gone = add(store, "one"), "ab" * 32
    mine, nobodys = (store.config.records / f".{which}.json.77" for which in (record.id, gone))
    for path in (mine, nobodys):
        path.write_bytes(b"{")

    def write(current: ContainerRecord) -> ContainerRecord:
        store.sweep_temporaries()
        assert mine.exists()
        return replace(current, starting=True)

    assert store.change(record.id, write).starting
    assert not nobodys.exists()
    store.sweep_temporaries()
    assert not mine.exists()
