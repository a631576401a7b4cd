"""Records of other versions: those in tests/data/records were written by commit 3517048, as format 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.engines.embedded import lifecycle
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.state import run_files
from runtime.engines.embedded.state.record import FORMAT, dumps, loads, state_from_json, state_to_json
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import EngineError, UnsupportedError
from runtime.model import UNLIMITED, Bind, DeviceRate, LimitChange, State

RECORDS = Path(__file__).parents[5] / "tests/data/records"
FILES = sorted(RECORDS.glob("*.json"))
LATER = {"taste": "sweet", "colours": [1, 2]}


def test_each_state_of_a_life_is_among_them() -> None:
    states = {loads(path.read_bytes()).state for path in FILES}
    assert states == set(State) - {State.DEAD, State.UNKNOWN}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_record_is_read_and_written_back_with_the_same_content(path: Path) -> None:
    record = loads(path.read_bytes())
    assert record.spec.name == path.stem
    assert not record.unknown
    assert record.container().state == record.state
    assert json.loads(dumps(record)) == json.loads(path.read_bytes()), "also readable for the version that wrote it"
    assert state_from_json(record, state_to_json(record)) == record


def test_every_field_of_an_old_record() -> None:
    record = loads((RECORDS / "created.json").read_bytes())
    spec = record.spec
    assert (spec.image, spec.command, spec.network) == ("host", ("sleep", "60"), "none")
    assert (spec.env, spec.labels) == ({"A": "b", "C": "d=e"}, {"com.docker.compose.project": "shop"})
    assert (spec.workdir, spec.user, spec.hostname) == ("/tmp", "1000:1000", "box")
    assert spec.binds == (Bind("/usr/share", "/data", True), Bind("/srv", "/srv", False))
    assert (spec.restart_policy, spec.stop_signal, spec.stop_timeout) == ("on-failure:3", "SIGINT", 3.5)
    assert (spec.read_only, spec.auto_remove) == (True, False)
    assert spec.limits == LimitChange(
        cpus=1.5,
        cpu_period=50000,
        cpu_burst=10000,
        cpu_shares=512,
        cpuset_cpus="0-1",
        cpuset_mems="0",
        memory=64 << 20,
        memory_high=48 << 20,
        memory_reservation=32 << 20,
        swap=128 << 20,
        pids=50,
        io_weight=200,
        io_read_bps=(DeviceRate("8:0", 1 << 20),),
        io_write_bps=(DeviceRate("8:0", 1 << 20), DeviceRate("8:16", UNLIMITED)),
        io_read_iops=(DeviceRate("8:0", 100),),
        io_write_iops=(DeviceRate("8:0", 100),),
        net_egress=1000000,
        net_ingress=2000000,
    )
    paused = loads((RECORDS / "paused.json").read_bytes())
    assert paused.spec.limits == LimitChange(memory=UNLIMITED, cpus=UNLIMITED, pids=UNLIMITED, cpu_idle=True)
    assert (paused.pid, paused.pid_start) == (4242, 123456)
    ended = loads((RECORDS / "exited.json").read_bytes())
    assert (ended.exit_code, ended.oom_killed, ended.finished_ns) == (137, True, 1763733600009000000)


def newer(path: Path, **fields: Any) -> dict[str, Any]:
    """A record as a later version may write it."""
    document: dict[str, Any] = json.loads(path.read_bytes())
    spec = document["spec"]
    return {**document, **LATER, "spec": {**spec, "gpu": "0", "limits": {**spec["limits"], "hugetlb": 7}}, **fields}


def test_what_a_newer_version_has_written_is_kept() -> None:
    document = newer(RECORDS / "running.json")
    record = loads(json.dumps(document).encode())
    assert record.state is State.RUNNING
    assert json.loads(dumps(record)) == document
    changed = record.with_limits(LimitChange(pids=9)).ended(3, now_ns=5)
    after = json.loads(dumps(changed))
    assert {name: after[name] for name in LATER} == LATER
    assert after["spec"]["gpu"] == "0"
    assert after["spec"]["limits"] == {"hugetlb": 7, "pids": 9}
    assert not set(LATER) & set(state_to_json(record))
    assert state_from_json(record, {**state_to_json(record), "state": "exited", "later": 1}).state is State.EXITED


def test_what_is_absent_has_its_default() -> None:
    document = {"id": "a" * 64, "created_ns": 5, "state": "created", "spec": {"image": "host", "command": ["true"]}}
    record = loads(json.dumps(document).encode())
    assert (record.spec.network, record.spec.binds, record.restarts) == ("bridge", (), 0)


def test_a_later_format_is_refused_in_words() -> None:
    document = newer(RECORDS / "running.json", format=FORMAT + 1)
    with pytest.raises(EngineError, match="newer version"):
        loads(json.dumps(document).encode())
    assert loads(json.dumps(newer(RECORDS / "running.json", format=FORMAT)).encode()).spec.name == "running"


def test_a_container_with_what_only_a_newer_version_can_do_is_not_started_without_it(tmp_path: Path) -> None:
    verbs = lifecycle.Lifecycle(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))
    verbs.store.prepare()
    record = loads(json.dumps(newer(RECORDS / "exited.json")).encode())
    verbs.config.record(record.id).write_bytes(dumps(record))
    with pytest.raises(UnsupportedError, match="gpu, limits"):
        verbs.start(record.id)
    assert verbs.store.read(record.id) == record


def test_the_run_directory_of_an_old_container_has_no_page_for_unsaved_state(tmp_path: Path) -> None:
    store = RecordStore(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))
    store.prepare()
    record = loads((RECORDS / "running.json").read_bytes())
    path, live = store.config.record(record.id), store.config.live(record.id)
    path.write_bytes(dumps(record))
    live.mkdir()
    assert store.read(record.id) == record
    assert not store.unsaved(record.id)
    run_files.drop_unsaved(live)
    run_files.keep_unsaved(live, path.read_bytes(), {**state_to_json(record), "state": "stopping"})
    assert store.read(record.id).state is State.STOPPING
    assert store.unsaved(record.id)
