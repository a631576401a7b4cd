"""Docker's hooks for a change of limits (see `runtime.engines.docker.update`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from runtime import limits
from runtime.engines.daemon.documents import shared_network
from runtime.engines.daemon.limit_hooks import ChangeContext, DaemonContainer, DaemonLimits
from runtime.engines.daemon.peer import Peer
from runtime.engines.daemon.settle import annotated
from runtime.engines.docker import translate, update
from runtime.engines.docker.client import DockerClient
from runtime.limits.controllers.io import RATES
from runtime.model import LimitName, LimitOutcome, Limits

Document = Mapping[str, Any]


class DockerLimits(DaemonLimits[Document]):
    """Hooks of Docker: a document is the answer to an inspect, the record of limits is its HostConfig."""

    name = "Docker"
    kernel_only = translate.KERNEL_ONLY | RATES.keys()
    always_requested = frozenset({LimitName.MEMORY, LimitName.MEMORY_RESERVATION})  # see `update.body`

    def __init__(self, client: DockerClient, read: Callable[[str], Awaitable[DaemonContainer[Document]]]) -> None:
        self._client = client
        self._read = read

    @property
    def peer(self) -> Peer:
        return self._client.peer

    @property
    def lock_directory(self) -> Path | None:
        return None  # Docker serialises changes of a record and keeps the other fields

    async def read(self, key: str) -> DaemonContainer[Document]:
        found = await self._read(key)
        devices = frozenset(() if self._client.takes_device_limits else RATES)
        self.kernel_only = translate.KERNEL_ONLY | devices
        return found

    async def tell(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        await self._client.json("POST", f"/containers/{target.container.ref.id}/update", title, body=request)

    async def reread(self, target: DaemonContainer[Document], sent: Mapping[str, Any]) -> Document:
        return await self._client.inspect(target.container.ref.id)

    def persisted_limits(self, target: DaemonContainer[Document], document: Document) -> Limits:
        return translate.record(host_config(document), target.ncpu or limits.host_facts().ncpu)

    def request(self, context: ChangeContext[Document]) -> dict[str, Any]:
        return update.body(
            context.change,
            host_config(context.target.document),
            context.baseline,
            device_limits=self._client.takes_device_limits,
        )

    def revert_request(self, context: ChangeContext[Document], document: Document, now: Limits) -> dict[str, Any]:
        names = [name for name, _ in context.change.items()]
        then = host_config(context.target.document)
        devices = self._client.takes_device_limits
        return update.undone(names, then, host_config(document), context.baseline, device_limits=devices)

    def forbids(self, context: ChangeContext[Document]) -> str:
        if not limits.asks_network(context.change):
            return ""
        return shared_network(str(host_config(context.target.document).get("NetworkMode", "")))

    def is_irrevocable(self, context: ChangeContext[Document], request: Mapping[str, Any]) -> bool:
        return update.is_irrevocable(request, host_config(context.target.document), context.change)

    async def finish(
        self, context: ChangeContext[Document], request: Mapping[str, Any], outcome: LimitOutcome
    ) -> LimitOutcome:
        return annotated(outcome, "held by the kernel: Docker does not keep it")


def host_config(document: Document) -> Mapping[str, Any]:
    """The part of an inspect document with the limits."""
    config: Mapping[str, Any] = document.get("HostConfig") or {}
    return config
