"""What is containerd's own in a change of limits (see `runtime.engines.containerd.update`)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from runtime import limits
from runtime.engines.containerd import resources, translate, update
from runtime.engines.containerd.client import ContainerdClient
from runtime.engines.containerd.life import SPEC
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
    """A container's record and task, and the OCI spec that the record holds or is to hold."""

    found: StoredContainer
    spec: Mapping[str, Any]


class ContainerdLimits(DaemonLimits[Document]):
    """Its record of limits is the container's OCI spec, which a change of the running task leaves as it is."""

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
        return self._client.socket.parent  # at rest it is the record alone that is read and written

    async def read(self, key: str) -> DaemonContainer[Document]:
        return await self._read(key)

    async def tell(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        found = target.document.found
        message = pb.UpdateTaskRequest(container_id=found.record.id, resources=update.packed(request))
        await self._client.tell("tasks.v1.Tasks/Update", message, title, namespace=found.namespace)

    async def tell_at_rest(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        if target.container.state.live:  # elsewhere: its task is told too
            await self.tell(target, request, title)
        await self._record(target.document.found, request, title)

    async def _record(self, found: StoredContainer, request: Mapping[str, Any], title: str) -> None:
        """Write a change into the container's OCI spec as it is now: another client may have changed it meanwhile."""
        now = (await self._store.record(found.namespace, found.record.id, title)).spec
        spec = resources.amended(translate.document(now), request)
        whole = AnyMessage(type_url=now.type_url or SPEC, value=json.dumps(spec).encode())
        await self._store.change(found, title, spec=whole)

    async def reread(self, target: DaemonContainer[Document], sent: Mapping[str, Any]) -> Document:
        """What the record will say: it follows the kernel, in `finish`."""
        if not sent or translate.is_kubernetes(target.document.found.record):
            return target.document
        return replace(target.document, spec=resources.amended(target.document.spec, sent))

    def persisted_limits(self, target: DaemonContainer[Document], document: Document) -> Limits:
        return resources.recorded(document.spec, limits.host_facts(), cgroup_v2=target.cgroup_v2)

    def request(self, context: ChangeContext[Document]) -> dict[str, Any]:
        return oci_resources(context.change, context.baseline)

    def revert_request(self, context: ChangeContext[Document], document: Document, now: Limits) -> dict[str, Any]:
        """For what the OCI runtime keeps of the task; the record has not heard of the change."""
        change = revert([name for name, _ in context.change.items()], context.baseline.before, now)
        return oci_resources(change, replace(context.baseline, before=now))

    def forbids(self, context: ChangeContext[Document]) -> str:
        found, spec = context.target.document.found, context.target.document.spec
        if context.cgroup is None and translate.is_kubernetes(found.record):
            return "it is not running, and Kubernetes makes a new one"
        return update.forbids(found.record, spec, context.change)

    async def finish(
        self, context: ChangeContext[Document], request: Mapping[str, Any], outcome: LimitOutcome
    ) -> LimitOutcome:
        """The record follows the kernel."""
        found = context.target.document.found
        if translate.is_kubernetes(found.record):
            return update.replaced(outcome)
        if not request:
            return outcome
        if not outcome.ok:
            return update.unrecorded(outcome, context.recorded, "it keeps what was before")
        try:
            await self._record(found, request, context.title)
        except PytopError as error:
            return update.unrecorded(outcome, context.recorded, str(error))
        return outcome
