"""Records of the embedded engine as they are written and read, against the record in tests/data/approved."""

from __future__ import annotations

import json

from runtime.engines.embedded.state import record
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.model import UNLIMITED, Bind, ContainerSpec, DeviceRate, LimitChange, State
from tests.approved import approve, told

SPEC = ContainerSpec(
    "host",
    ("sh", "-c", "true"),
    "web",
    labels={"com.docker.compose.project": "shop"},
    binds=(Bind("/s", "/t", read_only=True),),
    limits=LimitChange(cpus=0.5, memory=UNLIMITED, io_read_bps=(DeviceRate("8:0", 5), DeviceRate("8:1", UNLIMITED))),
    restart_policy="on-failure:3",
    storage_bytes=1 << 20,
)
FULL = ContainerRecord(
    "a" * 64,
    SPEC,
    5,
    pid=42,
    pid_start=43,
    boot_id="boot",
    started_ns=6,
    finished_ns=7,
    exit_code=8,
    oom_killed=True,
    error="why",
    address="10.0.0.2",
    stop_wanted=True,
    restarts=2,
    starting=True,
    output_limited=True,
)
POLICIES = (
    "",
    "no",
    "always",
    "unless-stopped",
    "on-failure",
    "on-failure:",
    "on-failure:3",
    "on-failure:x",
    "no:1",
    "odd",
)


def with_state(state: State) -> ContainerRecord:
    return ContainerRecord(**{**{name: getattr(FULL, name) for name in FULL.__slots__}, "state": state})


def test_records() -> None:
    lines = []
    for state in State:
        one = with_state(state)
        lines += [f"{state.value}: {one.container()}", f"    state: {record.state_to_json(one)}"]
    plain = ContainerRecord("b" * 64, ContainerSpec("host"), 1)
    lines += [f"written: {record.dumps(one).decode()}" for one in (FULL, plain)]
    document = json.loads(record.dumps(FULL))
    for name in document:
        less = {key: value for key, value in document.items() if key != name}
        lines.append(f"without {name}: {told(record.loads, json.dumps(less).encode())}")
        wrong = {**document, name: ["wrong"]}
        lines.append(f"wrong {name}: {told(record.loads, json.dumps(wrong).encode())}")
    for data in (b"", b"[]", b"{", b'{"format": 2}', b'{"format": "x"}', b"\xff", b"null"):
        lines.append(f"{data!r}: {told(record.loads, data)}")
    lines += [f"policy {text!r}: {told(record.parse_policy, text)}" for text in POLICIES]
    approve("embedded_records", lines)
