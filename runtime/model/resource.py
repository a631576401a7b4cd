"""What a container can wait for because others use it."""

from __future__ import annotations

from enum import StrEnum


class Resource(StrEnum):
    """What a victim waits for."""

    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"
    NETWORK = "network"
    TASKS = "tasks"
