"""What containerd's messages are read as, and what is said of changes, against the record in tests/data/approved."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp

from runtime.engines.containerd import resources, translate, update
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.model import Container, ContainerRef, FieldOutcome, LimitChange, LimitName, LimitOutcome, Limits, Verdict
from tests.approved import approve, stable

LABELS = {
    "nerdctl/name": "web",
    "com.docker.compose.project": "shop",
    "containerd.io/restart.policy": "on-failure:3",
    "containerd.io/restart.count": "2",
}
POD = {"io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "n", "io.kubernetes.container.name": "c"}
SPEC: dict[str, Any] = {"process": {"args": ["sh", 1]}, "linux": {"cgroupsPath": "/elsewhere"}}


def message(document: object) -> AnyMessage:
    return AnyMessage(value=json.dumps(document).encode())


def record(**changed: Any) -> pb.Container:
    given: dict[str, Any] = {
        "id": "one",
        "image": "i:1",
        "labels": LABELS,
        "spec": message(SPEC),
        "created_at": Timestamp(seconds=5, nanos=6),
        "extensions": {translate.EXTENSION: message({"error": "why", "empty labels": ["none"]})},
    }
    return pb.Container(**{**given, **changed})


def process(status: Any, **changed: Any) -> pb.Process:
    given: dict[str, Any] = {"pid": 42, "status": status, "exit_status": 3, "exited_at": Timestamp(seconds=7, nanos=8)}
    return pb.Process(**{**given, **changed})


def against(whole: Container, other: Container) -> str:
    names = (field.name for field in dataclasses.fields(Container))
    pairs = ((name, getattr(whole, name), getattr(other, name)) for name in names)
    return ", ".join(f"{name}={stable(after)}" for name, before, after in pairs if before != after)


def test_containers() -> None:
    def read(one: pb.Container, running: pb.Process | None = None) -> Container:
        return translate.container("containerd", "default", one, running)

    whole = read(record())
    lines = [f"whole: {stable(whole)}"]
    lines += [f"{status}: {against(whole, read(record(), process(status)))}" for status in range(6)]
    lines.append(f"no pid, no end: {against(whole, read(record(), process(pb.STOPPED, pid=0, exited_at=Timestamp())))}")
    lines.append(f"running without a pid: {against(whole, read(record(), process(pb.RUNNING, pid=0)))}")
    variants: dict[str, dict[str, Any]] = {
        **{f"without {name}": {"labels": {k: v for k, v in LABELS.items() if k != name}} for name in LABELS},
        "restarted": {"labels": {"containerd.io/restart.status": "running"}},
        "of a pod": {"labels": POD},
        "pause of a pod": {"labels": {"io.kubernetes.pod.name": "p"}},
        "without notes": {"extensions": {}},
        "bad notes": {"extensions": {translate.EXTENSION: AnyMessage(value=b"{")}},
        "notes without an error": {"extensions": {translate.EXTENSION: message({})}},
        "list for a spec": {"spec": message([])},
        "without a spec": {"spec": AnyMessage()},
        "its own place": {"spec": message({"linux": {"cgroupsPath": "/default/one"}})},
        "created before time": {"created_at": Timestamp(seconds=-5)},
    }
    lines += [f"{what}: {against(whole, read(record(**changed)))}" for what, changed in variants.items()]
    for path in (
        "",
        "/a/b",
        "a/b",
        "x.slice:p:s",
        "a-b-c.slice:p:s",
        "-.slice:p:s",
        ":p:s",
        "a.slice:p:s.slice",
        "/a:b:c",
    ):
        lines.append(f"cgroup {path!r}: {translate.cgroup_path({'linux': {'cgroupsPath': path}})!r}")
    approve("containerd_containers", lines)


def test_events() -> None:
    lines = []
    for topic in (*translate._TOPICS, "/tasks/exec-added", ""):
        about = pb.AboutContainer(id="one").SerializeToString()
        if topic == "/tasks/exit":
            about = pb.TaskExit(container_id="one", id="one", exit_status=9).SerializeToString()
        envelope = pb.Envelope(
            topic=topic, namespace="ns", timestamp=Timestamp(seconds=1, nanos=2), event=AnyMessage(value=about)
        )
        lines.append(f"{topic}: {stable(translate.event(envelope, 'containerd'))}")
        empty = pb.Envelope(topic=topic, namespace="ns", event=AnyMessage())
        lines.append(f"{topic} of nobody: {stable(translate.event(empty, 'containerd'))}")
    other = pb.TaskExit(container_id="one", id="exec", exit_status=9).SerializeToString()
    envelope = pb.Envelope(topic="/tasks/exit", event=AnyMessage(value=other))
    lines.append(f"exit of another process: {stable(translate.event(envelope, 'containerd'))}")
    approve("containerd_events", lines)


def test_changes_of_a_spec() -> None:
    held: dict[str, Any] = {
        "cpu": {"quota": 50_000, "period": 25_000},
        "memory": {"limit": 5, "swap": 7, "reservation": 3},
        "pids": {"limit": 9},
        "unified": {"memory.high": "11"},
        "blockIO": {"weight": 13, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 4}]},
    }
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"cpu": {"quota": -1}},
        {"memory": {"limit": -1, "swap": -1}},
        {"memory": {"reservation": -1}},
        {"pids": {"limit": -1}},
        {"unified": {"memory.high": "max"}},
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        {"blockIO": {"weight": 1, "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 6}]}},
    )
    lines = [
        f"{change} of {'nothing' if not spec else 'what is held'}: {resources.amended(spec, change)}"
        for spec in ({}, {"linux": {"resources": held}})
        for change in changes
    ]
    outcome = LimitOutcome(
        ContainerRef("containerd", "one"),
        (
            FieldOutcome(LimitName.PIDS, 7, 5, 7, 7, Verdict.APPLIED, persistent=True),
            FieldOutcome(LimitName.MEMORY, 7, 5, 7, 7, Verdict.APPLIED, detail="why", persistent=None),
        ),
    )
    lines += [str(update.replaced(outcome)), str(update.unrecorded(outcome, Limits(pids=5, memory=5), "because"))]
    spaces = (
        {},
        {"linux": {"namespaces": [{"type": "network"}]}},
        {"linux": {"namespaces": [{"type": "network", "path": "/p"}]}},
    )
    for spec in spaces:
        for labels in ({}, POD, {translate.CRI_KIND: "sandbox"}):
            for change in (LimitChange(pids=1), LimitChange(net_ingress=1)):
                lines.append(f"{spec} {labels} {change}: {update.forbids(record(labels=labels), spec, change)!r}")
    approve("containerd_changes", lines)
