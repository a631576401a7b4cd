"""Starting containers when the machine has booted, for an engine without a daemon that does so."""

from __future__ import annotations

from typing import Protocol

from runtime.model import Container, ContainerRef

BOOT_POLICIES = frozenset({"always", "unless-stopped"})
"""Restart policies that also mean: after a boot."""


class Boot(Protocol):
    """Knows which containers are to be started after a boot. Nothing starts them until somebody asks."""

    async def due_at_boot(self) -> list[ContainerRef]:
        """Those that ran before this boot, have not been started since, and whose policy says so.

        With `always` also one that was stopped, with `unless-stopped` not: as Docker's daemon has it.
        """
        ...


def is_started_at_boot(container: Container) -> bool:
    """Whether its policy says so; one that was never started is not."""
    return container.restart_policy in BOOT_POLICIES
