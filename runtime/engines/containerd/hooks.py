"""containerd's hooks for a change of limits (see `runtime.engines.containerd.update`)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from runtime import limits
from runtime.engines.containerd import resources, translate, update
from runtime.engines.containerd.client import ANSWER_TIMEOUT_S, ContainerdClient
from runtime.engines.containerd.lifecycle import SPEC
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.containerd.store import MetadataStore, StoredContainer
from runtime.engines.daemon.limit_hooks import ChangeContext, DaemonContainer, DaemonLimits
from runtime.engines.daemon.peer import Peer
from runtime.engines.daemon.settle import revert
from runtime.errors import EngineError, InvalidError, NotFoundError, PytopError
from runtime.model import LimitOutcome, Limits
from runtime.oci.resources import KERNEL_ONLY
from runtime.oci.resources import resources as oci_resources


@dataclass(frozen=True, slots=True)
class Document:
    """A container's record and task, and its OCI spec: the recorded one or the one to be recorded."""

    stored: StoredContainer
    spec: Mapping[str, Any]


class ContainerdLimits(DaemonLimits[Document]):
    """Hooks of containerd: the record of limits is the OCI spec, which a change of the task does not touch."""

    name = "containerd"
    kernel_only = KERNEL_ONLY
    refusals = (EngineError, InvalidError, NotFoundError)  # the OCI runtime's

    def __init__(
        self,
        client: ContainerdClient,
        store: MetadataStore,
        read: Callable[[str], Awaitable[DaemonContainer[Document]]],
    ) -> None:
        self._client = client
        self._store = store
        self._read = read

    @property
    def peer(self) -> Peer:
        return self._client.peer

    @property
    def lock_directory(self) -> Path | None:
        return self._client.socket.parent  # for a container at rest only the record is read and written

    async def read(self, key: str) -> DaemonContainer[Document]:
        return await self._read(key)

    async def tell(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        stored = target.document.stored
        message = pb.UpdateTaskRequest(container_id=stored.record.id, resources=update.packed(request))
        await self._client.tell(
            "tasks.v1.Tasks/Update", message, title, namespace=stored.namespace, timeout=ANSWER_TIMEOUT_S
        )

    async def tell_at_rest(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        if target.container.state.live:  # on another machine: its task is updated too
            await self.tell(target, request, title)
        await self._record(target.document.stored, request, title)

    async def _record(self, stored: StoredContainer, request: Mapping[str, Any], title: str) -> None:
        """Write a change into the container's current OCI spec, which another client may have changed meanwhile."""
        now = (await self._store.record(stored.namespace, stored.record.id, title)).spec
        spec = resources.amended(translate.document(now), request)
        whole = AnyMessage(type_url=now.type_url or SPEC, value=json.dumps(spec).encode())
        await self._store.change(stored, title, spec=whole)

    async def reread(self, target: DaemonContainer[Document], sent: Mapping[str, Any]) -> Document:
        """The document with the spec that `finish` will record."""
        if not sent or translate.is_kubernetes(target.document.stored.record):
            return target.document
        return replace(target.document, spec=resources.amended(target.document.spec, sent))

    def persisted_limits(self, target: DaemonContainer[Document], document: Document) -> Limits:
        return resources.persisted_limits(document.spec, limits.host_facts(), cgroup_v2=target.cgroup_v2)

    def request(self, context: ChangeContext[Document]) -> dict[str, Any]:
        return oci_resources(context.change, context.baseline)

    def revert_request(self, context: ChangeContext[Document], document: Document, now: Limits) -> dict[str, Any]:
        """Reverts the OCI runtime's state of the task; the record was not changed yet."""
        change = revert([name for name, _ in context.change.items()], context.baseline.before, now)
        return oci_resources(change, replace(context.baseline, before=now))

    def forbids(self, context: ChangeContext[Document]) -> str:
        stored, spec = context.target.document.stored, context.target.document.spec
        if context.cgroup is None and translate.is_kubernetes(stored.record):
            return "it is not running, and Kubernetes makes a new one"
        return update.forbids(stored.record, spec, context.change)

    async def finish(
        self, context: ChangeContext[Document], request: Mapping[str, Any], outcome: LimitOutcome
    ) -> LimitOutcome:
        """Record the limits that the kernel holds."""
        stored = context.target.document.stored
        if translate.is_kubernetes(stored.record):
            return update.replaced(outcome)
        if not request:
            return outcome
        if not outcome.ok:
            return update.unrecorded(outcome, context.recorded, "it keeps what was before")
        try:
            await self._record(stored, request, context.title)
        except PytopError as error:
            return update.unrecorded(outcome, context.recorded, str(error))
        return outcome
