"""A change of limits: Tasks.Update for the running task, the container's OCI spec for the next one, the kernel last.

Tasks.Update changes the cgroup and nothing else: it is not recorded, and no event follows. A new task gets the spec, so
the change is written there too (which is told as /containers/update). Whatever the OCI runtime does not do is written
to the kernel, and the kernel is the judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage

from runtime import limits
from runtime.engines.containerd import translate
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.containerd.resources import recorded
from runtime.errors import UnsupportedError
from runtime.limits import HostFacts
from runtime.model import (
    ContainerRef,
    FieldOutcome,
    LimitChange,
    LimitOutcome,
    Limits,
    Missing,
    Verdict,
)
from runtime.oci.resources import KERNEL_ONLY, ResourceContext

RESOURCES: Final = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
REPLACED: Final = "until the container ends: Kubernetes makes a new one from the pod's own limits"


@dataclass(frozen=True, slots=True)
class Before:
    """What is there before a change: the kernel's limits or the record's, the machine, and the OCI spec."""

    held: ResourceContext
    spec: Mapping[str, Any]


def before(spec: Mapping[str, Any], kernel: Limits | None, facts: HostFacts, *, cgroup_v2: bool) -> Before:
    """`kernel` is None for a container that has no cgroup here."""
    record = recorded(spec, facts, cgroup_v2=cgroup_v2)
    return Before(ResourceContext(kernel if kernel is not None else record, facts, cgroup_v2), spec)


def forbids(record: pb.Container, spec: Mapping[str, Any], change: LimitChange) -> str:
    """Why this container cannot have such limits, by its spec; "" when it can.

    Containers of a pod share its network, which the pause container stands for.
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
    """As Tasks.Update takes them."""
    return AnyMessage(type_url=RESOURCES, value=json.dumps(resources).encode())


def refuse_at_rest(change: LimitChange, found: Before) -> None:
    """The checks that need no live cgroup. Raises `RefusedError`, and `UnsupportedError` for what only a kernel can."""
    limits.refuse(change, found.held.before, found.held.facts, None)
    for name, _ in change.items():
        if name in KERNEL_ONLY:
            raise UnsupportedError(
                f"set {name.value.replace('_', ' ')}",
                detail="the container's record cannot hold it, and it has no cgroup on this machine now",
                hint="It can be set while the container runs",
            )


def at_rest(ref: ContainerRef, change: LimitChange, found: Before, after: Limits, detail: str) -> LimitOutcome:
    """The outcome where no kernel can be asked: the record is all there is."""
    held = found.held.before
    fields = tuple(
        FieldOutcome(name, value, held.get(name), after.get(name), Missing.GONE, Verdict.UNREADABLE, detail)
        for name, value in change.items()
    )
    return limits.with_persistence(LimitOutcome(ref, fields), after)


def unrecorded(outcome: LimitOutcome, record: Limits, why: str) -> LimitOutcome:
    """The outcome where the record was left as it is; `record` is what it says."""
    fields = tuple(
        replace(field, engine=record.get(field.name), detail=f"{field.detail or 'held by the kernel'}; record: {why}")
        for field in outcome.fields
    )
    return limits.with_persistence(replace(outcome, fields=fields), record)


def replaced(outcome: LimitOutcome) -> LimitOutcome:
    """The outcome for a container of Kubernetes, which is never started again."""
    return replace(
        outcome,
        fields=tuple(
            replace(field, persistent=False, detail=field.detail or REPLACED) if field.persistent is not None else field
            for field in outcome.fields
        ),
    )
