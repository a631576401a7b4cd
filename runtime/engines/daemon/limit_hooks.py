"""The hooks that an engine provides for changing limits (see `runtime.engines.daemon.changing_limits`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from runtime.engines.daemon.peer import Peer
from runtime.errors import PytopError
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Capabilities, Container, LimitChange, LimitName, LimitOutcome, Limits
from runtime.oci.resources import ResourceContext

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True)
class DaemonContainer(Generic[Document]):
    """A container as its daemon describes it.

    Attributes:
        container: with pid and cgroup if its processes are on this machine.
        document: the daemon's own description.
        capabilities: which limits this daemon can change.
        ncpu: the number of CPUs of the daemon's machine; None when it is this machine.
        cgroup_v2: whether the daemon's machine has its controllers on cgroup v2.
        undescribed: why the daemon cannot describe it, "" when it does. Then `document` is empty, and limits are
            changed in the kernel only.
    """

    container: Container
    document: Document
    capabilities: Capabilities
    ncpu: int | None
    cgroup_v2: bool
    undescribed: str = ""


@dataclass(frozen=True, slots=True)
class ChangeContext(Generic[Document]):
    """The state before a change, read under the container's lock.

    Attributes:
        cgroup: the container's own; None when it is at rest or on another machine.
        pid: a process of the container, set when the change has network limits.
        baseline: the limits before the change: the kernel's, or the daemon's record without a cgroup.
        recorded: the limits in the daemon's record.
    """

    target: DaemonContainer[Document]
    change: LimitChange
    title: str
    cgroup: Cgroup | None
    _: KW_ONLY
    pid: int | None
    baseline: ResourceContext
    recorded: Limits


class DaemonLimits(ABC, Generic[Document]):
    """The parts of a change of limits that differ between daemons: requests and translation. `LimitChanger` calls them.

    Attributes:
        name: the daemon's, for messages.
        kernel_only: limits that its API cannot change, so that they need a cgroup on this machine.
        refusals: errors after which the change is written to the kernel, which accepts it or gives the reason.
        always_requested: limits whose recorded values are part of every request.
        record_lags: whether the old record may still be read after a change at rest was accepted.
    """

    name: str
    kernel_only: frozenset[LimitName]
    refusals: tuple[type[PytopError], ...] = ()
    always_requested: frozenset[LimitName] = frozenset()
    record_lags = False

    @property
    @abstractmethod
    def peer(self) -> Peer:
        """The users as whom the daemon has answered so far."""

    @property
    @abstractmethod
    def lock_directory(self) -> Path | None:
        """The directory to lock for a container without a cgroup here; None when the daemon serialises changes."""

    @abstractmethod
    async def read(self, key: str) -> DaemonContainer[Document]:
        """Read the container."""

    @abstractmethod
    async def tell(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        """Request the change of a live container."""

    @abstractmethod
    async def reread(self, target: DaemonContainer[Document], sent: Mapping[str, Any]) -> Document:
        """Read the description after the request `sent`, which is empty after a revert."""

    @abstractmethod
    def persisted_limits(self, target: DaemonContainer[Document], document: Document) -> Limits:
        """The limits in a description of the container. Blocking."""

    @abstractmethod
    def request(self, context: ChangeContext[Document]) -> dict[str, Any]:
        """The request for a change; empty when the API has none of its limits. Raises when it is forbidden."""

    @abstractmethod
    def revert_request(self, context: ChangeContext[Document], document: Document, now: Limits) -> dict[str, Any]:
        """The request that reverts a change. `document` is the current description, `now` are the kernel's limits."""

    def forbids(self, context: ChangeContext[Document]) -> str:
        """Why this container cannot have these limits; "" when it can."""
        return ""

    def is_irrevocable(self, context: ChangeContext[Document], request: Mapping[str, Any]) -> bool:
        """Whether the request cannot be reverted in the daemon's record, so that the kernel is changed first."""
        return False

    async def tell_at_rest(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        """Request that the daemon records a change of a container without a cgroup here."""
        await self.tell(target, request, title)

    async def finish(
        self, context: ChangeContext[Document], request: Mapping[str, Any], outcome: LimitOutcome
    ) -> LimitOutcome:
        """Complete the outcome of a live container's change: record it, or add notes."""
        return outcome
