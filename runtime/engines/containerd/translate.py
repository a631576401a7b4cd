"""Translates containerd's messages to the model. Pure.

A container is a record of the metadata store (labels, image, OCI spec); a task is its running processes. An id is
unique only in its namespace, so a ref's id is "namespace/id". `engine` is the key of the containerd.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp

from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.model import (
    Container,
    ContainerRef,
    Event,
    EventKind,
    GroupKind,
    GroupRef,
    Image,
    Missing,
    State,
)

EXTENSION: Final = "io.pytop-containers"
"""The key of this program's notes in a container's extensions: JSON, written by `lifecycle`."""
STOP_SIGNAL: Final = "io.containerd.image.config.stop-signal"
RESTART_STATUS: Final = "containerd.io/restart.status"
RESTART_POLICY: Final = "containerd.io/restart.policy"
RESTART_STOPPED: Final = "containerd.io/restart.explicitly-stopped"
RESTART_COUNT: Final = "containerd.io/restart.count"
RESTART_LOG: Final = "containerd.io/restart.loguri"
CRI_KIND: Final = "io.cri-containerd.kind"
_POD, _POD_NAMESPACE = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace"
_POD_CONTAINER: Final = "io.kubernetes.container.name"
_NERDCTL_NAME, _COMPOSE = "nerdctl/name", "com.docker.compose.project"
_STATES: Final[Mapping[int, State]] = {
    pb.CREATED: State.CREATED,
    pb.RUNNING: State.RUNNING,
    pb.STOPPED: State.EXITED,
    pb.PAUSED: State.PAUSED,
    pb.PAUSING: State.RUNNING,
}
_TOPICS: Final[Mapping[str, EventKind]] = {
    "/containers/create": EventKind.CREATED,
    "/containers/update": EventKind.UPDATED,
    "/containers/delete": EventKind.REMOVED,
    "/tasks/create": EventKind.UPDATED,
    "/tasks/start": EventKind.STARTED,
    "/tasks/paused": EventKind.PAUSED,
    "/tasks/resumed": EventKind.UNPAUSED,
    "/tasks/oom": EventKind.OOM,
    "/tasks/exit": EventKind.DIED,
    "/tasks/delete": EventKind.UPDATED,
}


def ref(engine: str, namespace: str, identity: str) -> ContainerRef:
    """The ref of a container on this host: an id is unique only in its namespace."""
    return ContainerRef(engine, f"{namespace}/{identity}")


def time_ns(moment: Timestamp) -> int:
    """Wall-clock nanoseconds; 0 for "not set"."""
    return 0 if moment.seconds < 0 else int(moment.seconds) * 1_000_000_000 + int(moment.nanos)


def document(message: AnyMessage) -> dict[str, Any]:
    """A JSON document that containerd stores for its clients, such as the OCI spec; empty when it is not valid."""
    try:
        content = json.loads(message.value or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def notes(record: pb.Container) -> dict[str, Any]:
    """This program's own notes about a container."""
    return document(record.extensions[EXTENSION]) if EXTENSION in record.extensions else {}


def is_kubernetes(record: pb.Container) -> bool:
    """Whether Kubernetes manages it through containerd's CRI plugin, which must not be bypassed."""
    return CRI_KIND in record.labels or _POD in record.labels


def container(engine: str, namespace: str, record: pb.Container, process: pb.Process | None) -> Container:
    """Translate a container; `process` is its task's process, None without a task."""
    spec, own, labels = document(record.spec), notes(record), dict(record.labels)
    state = State.CREATED if process is None else _STATES.get(process.status, State.UNKNOWN)
    ended = process is not None and state is State.EXITED
    arguments = (spec.get("process") or {}).get("args") or ()
    return Container(
        ref=ref(engine, namespace, record.id),
        name=name(record.id, labels),
        image=record.image,
        state=state,
        pid=process.pid or None if process is not None and state.live else None,
        command=tuple(str(word) for word in arguments),
        created_ns=time_ns(record.created_at),
        finished_ns=time_ns(process.exited_at) or None if ended and process is not None else None,
        exit_code=process.exit_status if ended and process is not None else None,
        restart_policy=_policy(labels),
        restarts=int(labels[RESTART_COUNT]) if labels.get(RESTART_COUNT, "").isdecimal() else None,
        labels={**labels, **dict.fromkeys(own.get("empty labels", ()), "")},
        group=group(labels, engine),
        error=str(own.get("error", "")),
        placed=cgroup_path(spec) != f"/{namespace}/{record.id}",
    )


def name(identity: str, labels: Mapping[str, str]) -> str:
    """The display name: pod and container for Kubernetes, else nerdctl's name, else the id."""
    pod = labels.get(_POD)
    if pod:  # the pause container, which holds the pod's namespaces, has no name
        return f"{pod}/{labels.get(_POD_CONTAINER) or 'pause'}"
    return labels.get(_NERDCTL_NAME) or identity


def group(labels: Mapping[str, str], engine: str) -> GroupRef | None:
    """The group: its pod, or nerdctl's compose project."""
    if labels.get(_POD):
        return GroupRef(GroupKind.POD, f"{labels.get(_POD_NAMESPACE, 'default')}/{labels[_POD]}", engine)
    return GroupRef(GroupKind.COMPOSE, labels[_COMPOSE], engine) if labels.get(_COMPOSE) else None


def _policy(labels: Mapping[str, str]) -> str:
    given = labels.get(RESTART_POLICY, "")
    return given or ("always" if labels.get(RESTART_STATUS) == "running" else "no")


def cgroup_path(spec: Mapping[str, Any]) -> str:
    """The container's own cgroup path according to its OCI spec; "" when the spec does not name one.

    systemd's form "slice:prefix:name" is the scope prefix-name.scope in that slice, whose dashes are its parents.
    """
    given = str((spec.get("linux") or {}).get("cgroupsPath") or "")
    if given.count(":") != 2 or given.startswith("/"):
        return given if given.startswith("/") else ""
    slice_name, prefix, scope = given.split(":")
    parts = slice_name.removesuffix(".slice").split("-") if slice_name not in ("", "-.slice") else []
    above = "".join(f"/{'-'.join(parts[: count + 1])}.slice" for count in range(len(parts)))
    return f"{above}/{prefix}-{scope}.scope" if not scope.endswith(".slice") else f"{above}/{scope}"


def event(envelope: pb.Envelope, engine: str) -> Event | None:
    """Translate an event; None when it is not about a container, and for the exit of a process other than its first."""
    kind = _TOPICS.get(envelope.topic)
    if kind is None:
        return None
    detail: dict[str, str] = {}
    if kind is EventKind.DIED:
        ended = pb.TaskExit.FromString(envelope.event.value)
        if ended.id not in ("", ended.container_id):
            return None
        identity, detail = ended.container_id, {"exitCode": str(ended.exit_status)}
    else:
        identity = pb.AboutContainer.FromString(envelope.event.value).id
    if not identity:
        return None
    return Event(kind, ref(engine, envelope.namespace, identity), time_ns(envelope.timestamp), detail)


def image(entry: pb.Image) -> Image:
    """Translate an entry of the image store, which has no size."""
    return Image(entry.target.digest, (entry.name,), Missing.UNSUPPORTED, time_ns(entry.created_at) or None)


def images(entries: Iterable[pb.Image]) -> list[Image]:
    """Translate the whole image store; names of the same image are merged."""
    by_id: dict[str, Image] = {}
    for entry in entries:
        translated = image(entry)
        before = by_id.get(translated.id)
        by_id[translated.id] = (
            translated if before is None else replace(before, names=(*before.names, *translated.names))
        )
    return list(by_id.values())
