"""What a daemon's engine gives to the one way of changing limits (`runtime.engines.daemon.changing_limits`)."""

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
        container: with its pid and cgroup, where its processes are of this machine.
        document: the daemon's own description.
        capabilities: which limits this daemon can change.
        ncpu: how many CPUs the daemon's machine has; None where it is this machine.
        cgroup_v2: the daemon's machine has its controllers on cgroup v2.
    """

    container: Container
    document: Document
    capabilities: Capabilities
    ncpu: int | None
    cgroup_v2: bool


@dataclass(frozen=True, slots=True)
class ChangeContext(Generic[Document]):
    """What a change starts from, as it is under the container's lock.

    Attributes:
        cgroup: the container's own; None for one that is at rest, or on another machine.
        pid: a process of it, where its network is to be limited.
        baseline: the limits before the change: the kernel's, or the daemon's record where there is no cgroup.
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
    """What is one daemon's own in a change of limits: talk to the daemon and translate. The order is `LimitChanger`'s.

    Attributes:
        name: the daemon's, for messages.
        kernel_only: limits that its API cannot change, so that they need a cgroup on this machine.
        refusals: errors after which the change is tried on the kernel, which does it or says why not.
        always_requested: limits whose recorded values go into every request, whatever it is about.
        record_lags: the record may be read back in its old state after a change at rest was accepted.
    """

    name: str
    kernel_only: frozenset[LimitName]
    refusals: tuple[type[PytopError], ...] = ()
    always_requested: frozenset[LimitName] = frozenset()
    record_lags = False

    @property
    @abstractmethod
    def peer(self) -> Peer:
        """Who has answered so far."""

    @property
    @abstractmethod
    def lock_directory(self) -> Path | None:
        """What is locked for a container that has no cgroup here; None where the daemon itself keeps changes apart."""

    @abstractmethod
    async def read(self, key: str) -> DaemonContainer[Document]:
        """The container as it is now."""

    @abstractmethod
    async def tell(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        """Have the daemon change a live container."""

    @abstractmethod
    async def reread(self, target: DaemonContainer[Document], sent: Mapping[str, Any]) -> Document:
        """The description once the daemon was told `sent`; empty when that was taken back again."""

    @abstractmethod
    def persisted_limits(self, target: DaemonContainer[Document], document: Document) -> Limits:
        """What a description of the container says of its limits. Blocking."""

    @abstractmethod
    def request(self, context: ChangeContext[Document]) -> dict[str, Any]:
        """What the daemon is told; empty when its API has nothing to do with this change. Raises what forbids it."""

    @abstractmethod
    def revert_request(self, context: ChangeContext[Document], document: Document, now: Limits) -> dict[str, Any]:
        """What makes the daemon hold again what it held. `document` describes it now, `now` are the kernel's limits."""

    def forbids(self, context: ChangeContext[Document]) -> str:
        """Why this container cannot have such limits; "" when it can."""
        return ""

    def is_irrevocable(self, context: ChangeContext[Document], request: Mapping[str, Any]) -> bool:
        """Whether the daemon's record could not forget the request, so that the kernel is asked before it."""
        return False

    async def tell_at_rest(self, target: DaemonContainer[Document], request: Mapping[str, Any], title: str) -> None:
        """Have the daemon record a change of a container that has no cgroup here."""
        await self.tell(target, request, title)

    async def finish(
        self, context: ChangeContext[Document], request: Mapping[str, Any], outcome: LimitOutcome
    ) -> LimitOutcome:
        """The last word about a live container's change: what is left to record or to say."""
        return outcome
