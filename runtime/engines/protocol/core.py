"""What every engine does: list containers, follow them, and carry out verbs and changes of limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from runtime.engines.protocol.facets import Facets
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    LimitChange,
    LimitOutcome,
    Limits,
    LogLine,
)


class Engine(Protocol):
    """One container engine on this host.

    Every `key` argument is a full id, an unambiguous prefix of an id, or a name. Methods raise only
    `runtime.errors.PytopError`s: `NotFoundError` for an unknown container, `ConflictError` when its state forbids
    the verb, `UnsupportedError` with the capability's reason, `UnavailableError` when the engine cannot be reached.
    """

    @property
    def key(self) -> str:
        """The short name that goes into `ContainerRef.engine`: "embedded", "docker"."""
        ...

    @property
    def facets(self) -> Facets:
        """Which optional parts of the contract it implements."""
        ...

    async def info(self) -> EngineInfo:
        """Who answers; raises `UnavailableError` when nobody does. Cheap enough for a health check."""
        ...

    async def capabilities(self) -> Capabilities:
        """What can be done here and now; whatever is declared impossible is refused with that same reason."""
        ...

    async def containers(self) -> list[Container]:
        """Every container, running or not."""
        ...

    async def get(self, key: str) -> Container: ...

    async def inspect(self, key: str) -> Mapping[str, Any]:
        """The engine's own full document about one container, JSON-serialisable."""
        ...

    async def recorded(self, key: str) -> Limits:
        """The limits by the engine's own record: what the container gets at its next start.

        A limit that the engine does not keep is `Missing.UNSUPPORTED`: whatever the kernel holds is lost then.
        """
        ...

    def events(self) -> AsyncIterator[Event]:
        """Changes from now on, until the iterator is closed.

        Subscribed before the first `__anext__` returns; raises `UnavailableError` when the engine goes away.
        """
        ...

    async def create(self, spec: ContainerSpec) -> ContainerRef: ...

    async def start(self, key: str) -> None: ...

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        """Stop signal, then SIGKILL after `timeout` seconds (None: the container's own). Stopped already is fine."""
        ...

    async def restart(self, key: str, *, timeout: float | None = None) -> None: ...

    async def kill(self, key: str, signal: str = "SIGKILL") -> None: ...

    async def pause(self, key: str) -> None: ...

    async def unpause(self, key: str) -> None: ...

    async def remove(self, key: str, *, force: bool = False) -> None: ...

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        """Change limits and read them back from the kernel.

        Raises before anything is written when the request is malformed (`InvalidError`), unavailable
        (`UnsupportedError`) or harmful (`RefusedError`). Once something was written it returns: what could not be
        kept was rolled back, and the outcome says so per field. On a container that is not live the
        engine's record changes and the verdict is `UNREADABLE`.
        """
        ...

    def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        """Output so far (the last `tail` lines), then with `follow` what comes until the container ends."""
        ...

    async def wait(self, key: str) -> int:
        """Wait for the end; the exit status, 128+N for a death by signal N."""
        ...

    async def close(self) -> None:
        """Let go of connections; containers go on."""
        ...
