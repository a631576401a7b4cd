"""An engine that somebody has configured in a way that cannot work: it is listed, and whatever is asked says why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn

from runtime.errors import PytopError
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    Image,
    LimitChange,
    LimitOutcome,
    Limits,
    LogLine,
)


class UnusableEngine:
    """Answers everything with the one error."""

    def __init__(self, key: str, error: PytopError) -> None:
        self._key = key
        self._error = error

    @property
    def key(self) -> str:
        return self._key

    def _fail(self) -> NoReturn:
        raise self._error.with_traceback(None)

    async def info(self) -> EngineInfo:
        self._fail()

    async def capabilities(self) -> Capabilities:
        self._fail()

    async def containers(self) -> list[Container]:
        self._fail()

    async def get(self, key: str) -> Container:
        self._fail()

    async def inspect(self, key: str) -> Mapping[str, Any]:
        self._fail()

    async def recorded(self, key: str) -> Limits:
        self._fail()

    def events(self) -> AsyncIterator[Event]:
        self._fail()

    async def images(self) -> list[Image]:
        self._fail()

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        self._fail()

    async def remove_image(self, name: str) -> None:
        self._fail()

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        self._fail()

    async def start(self, key: str) -> None:
        self._fail()

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        self._fail()

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        self._fail()

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        self._fail()

    async def pause(self, key: str) -> None:
        self._fail()

    async def unpause(self, key: str) -> None:
        self._fail()

    async def remove(self, key: str, *, force: bool = False) -> None:
        self._fail()

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        self._fail()

    def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        self._fail()

    async def wait(self, key: str) -> int:
        self._fail()

    async def close(self) -> None:
        """Nothing was opened."""
