"""The facet of engines that start another process in a running container.

Docker and Podman: POST /containers/ID/exec, then /exec/ID/start with a hijacked connection. containerd: Tasks.Exec.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """What to start. An empty `user` or `workdir` is the container's own; `env` is added to the container's."""

    command: tuple[str, ...]
    user: str = ""
    workdir: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    terminal: bool = False  # a pseudo-terminal, on which stdout and stderr are one stream
    stdin: bool = False


class ExecSession(Protocol):
    """A process that was started, until it ends or `close` leaves it."""

    def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """Pieces of output as they come, each with its stream, "stdout" or "stderr"; it ends with the process."""
        ...

    async def write(self, data: bytes) -> None:
        """To its standard input. Raises `ConflictError` when it has none, or has ended."""
        ...

    async def end_input(self) -> None:
        """Nothing more will be written: the process reads the end of its input."""
        ...

    async def resize(self, columns: int, rows: int) -> None:
        """The size of its terminal. Raises `ConflictError` when it has none."""
        ...

    async def wait(self) -> int:
        """Wait for the end; the exit status, 128+N for a death by signal N."""
        ...

    async def close(self) -> None:
        """Let go of the connection; the process goes on."""
        ...


class Exec(Protocol):
    """Starts processes in containers."""

    async def exec(self, key: str, spec: ExecSpec) -> ExecSession:
        """Start it.

        Raises `NotFoundError` for an unknown container or program, `ConflictError` when the container is not running.
        """
        ...
