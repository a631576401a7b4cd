"""A change of limits: Tasks.Update for the running task, the OCI spec for the next one, then the kernel.

Tasks.Update changes the cgroup and nothing else: it is not recorded, and no event follows. A new task gets the spec, so
the change is written there too (with the event /containers/update). What the OCI runtime does not apply is written to
the kernel, and the outcome is what the kernel holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage

from runtime import limits
from runtime.engines.containerd import translate
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.model import LimitChange, LimitOutcome, Limits

RESOURCES: Final = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
REPLACED: Final = "until the container ends: Kubernetes makes a new one from the pod's own limits"


def forbids(record: pb.Container, spec: Mapping[str, Any], change: LimitChange) -> str:
    """Why this container cannot have these limits, by its spec; "" when it can.

    Containers of a pod share the network of its pause container.
    """
    if (change.net_egress is None and change.net_ingress is None) or record.labels.get(translate.CRI_KIND) == "sandbox":
        return ""
    spaces = {str(entry.get("type")): entry for entry in (spec.get("linux") or {}).get("namespaces") or ()}
    if "network" not in spaces:
        return "it uses the host's network"
    if not spaces["network"].get("path"):
        return ""
    if translate.is_kubernetes(record):
        return "it shares its pod's network, where the limit would be everybody's: set it on the pod's pause container"
    return "it uses a network namespace that somebody else has made"


def packed(resources: Mapping[str, Any]) -> AnyMessage:
    """The resources as a message for Tasks.Update."""
    return AnyMessage(type_url=RESOURCES, value=json.dumps(resources).encode())


def unrecorded(outcome: LimitOutcome, record: Limits, why: str) -> LimitOutcome:
    """The outcome of a change that the record does not have; `record` is what it says."""
    fields = tuple(
        replace(field, engine=record.get(field.name), detail=f"{field.detail or 'held by the kernel'}; record: {why}")
        for field in outcome.fields
    )
    return limits.with_persistence(replace(outcome, fields=fields), record)


def replaced(outcome: LimitOutcome) -> LimitOutcome:
    """The outcome for a container of Kubernetes, which is replaced, never restarted."""
    return replace(
        outcome,
        fields=tuple(
            replace(field, persistent=False, detail=field.detail or REPLACED) if field.persistent is not None else field
            for field in outcome.fields
        ),
    )
