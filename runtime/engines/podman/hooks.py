"""Podman's hooks for a change of limits, by version (see `runtime.engines.podman.update`)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runtime import limits
from runtime.engines.daemon.documents import device_number
from runtime.engines.daemon.http import ANSWER_TIMEOUT_S
from runtime.engines.daemon.limit_hooks import ChangeContext, DaemonContainer, DaemonLimits
from runtime.engines.daemon.peer import Peer
from runtime.engines.daemon.settle import annotated, revert
from runtime.engines.podman import translate, update
from runtime.engines.podman.client import PodmanClient, numbers
from runtime.errors import EngineError
from runtime.kernel import threads
from runtime.model import LimitOutcome, Limits
from runtime.oci import resources

_RUNTIME_FAILED: Final = re.compile(r"`.* update .*` failed: exit status \d+")
Document = Mapping[str, Any]


class PodmanLimits(DaemonLimits[Document]):
    """Hooks of Podman: a document is the answer to an inspect, the record of limits is its HostConfig."""

    name = "Podman"
    kernel_only = resources.KERNEL_ONLY
    refusals = (EngineError,)  # the OCI runtime's refusal, without its message
    record_lags = True

    def __init__(self, client: PodmanClient, read: Callable[[str], Awaitable[DaemonContainer[Document]]]) -> None:
        self._client = client
        self._read = read

    @property
    def peer(self) -> Peer:
        return self._client.peer

    @property
    def lock_directory(self) -> Path | None:
        # At rest only the record changes, and of two concurrent changes Podman 5.4 keeps one.
        socket = self._client.endpoint.socket
        return socket.parent if socket is not None else None

    async def read(self, key: str) -> DaemonContainer[Document]:
        return await self._read(key)

    async def tell(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        version = numbers(await self._client.version())
        body = await threads.acting(update.whole, request, target.document, version, self._client.peer.owners)
        path = f"/containers/{target.container.ref.id}/update"
        try:
            async with self._client.stream("POST", path, title, body=body, timeout=ANSWER_TIMEOUT_S) as response:
                await self._client.read(response, title)  # the id, as plain text
        except EngineError as error:
            raise EngineError(title, detail=_RUNTIME_FAILED.sub("its OCI runtime failed", error.detail)) from error

    async def reread(self, target: DaemonContainer[Document], sent: Mapping[str, Any]) -> Document:
        if numbers(await self._client.version()) < update.MIN_RECORDING_VERSION:
            return target.document  # this version's record is the container's creation
        return await self._client.inspect(target.container.ref.id)

    def persisted_limits(self, target: DaemonContainer[Document], document: Document) -> Limits:
        return persisted_limits(document, target.ncpu or limits.host_facts().ncpu)

    def request(self, context: ChangeContext[Document]) -> dict[str, Any]:
        return resources.resources(context.change, context.baseline)

    def revert_request(self, context: ChangeContext[Document], document: Document, now: Limits) -> dict[str, Any]:
        recorded = not context.target.capabilities.unrecorded
        then = context.recorded if recorded else context.baseline.before
        change = revert([name for name, _ in context.change.items()], then, now)
        return resources.resources(change, replace(context.baseline, before=now))

    def forbids(self, context: ChangeContext[Document]) -> str:
        return update.forbids(context.target.document.get("HostConfig") or {}, context.change)

    async def finish(
        self, context: ChangeContext[Document], request: Mapping[str, Any], outcome: LimitOutcome
    ) -> LimitOutcome:
        version = await self._client.version()
        return annotated(outcome, f"until the container is restarted: Podman {version} keeps what it was created with")


def persisted_limits(document: Document, ncpu: int) -> Limits:
    """The limits in an inspect document. Blocking: looks up devices."""
    return translate.record(document.get("HostConfig") or {}, ncpu, device_number)
