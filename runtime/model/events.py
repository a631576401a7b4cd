"""What an engine reports while a container runs: lines of output and changes of its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from runtime.model.container import ContainerRef

_EXIT_CODE: Final = ("exitCode", "containerExitCode")  # in the detail: of Docker and containerd, of Podman


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of output without its newline; `partial` when the newline did not come (yet)."""

    stream: str  # "stdout" or "stderr"
    time_ns: int  # wall clock
    data: bytes
    partial: bool = False


class EventKind(StrEnum):
    """What happened to a container."""

    CREATED = "created"
    STARTED = "started"
    DIED = "died"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    UPDATED = "updated"
    REMOVED = "removed"
    RENAMED = "renamed"
    OOM = "oom"
    HEALTH = "health"
    OUTPUT_LIMITED = "output_limited"  # it prints faster than its engine logs, and waits
    OUTPUT_UNLIMITED = "output_unlimited"


@dataclass(frozen=True, slots=True)
class Event:
    """One change that an engine reports; `time_ns` is wall clock."""

    kind: EventKind
    ref: ContainerRef
    time_ns: int
    detail: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int | None:
        """How the run ended, of `EventKind.DIED` where the engine tells it."""
        told = next((self.detail[name] for name in _EXIT_CODE if name in self.detail), "")
        return int(told) if self.kind is EventKind.DIED and told.isdecimal() else None
