"""What Docker's and Podman's documents have in common."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, Final

from runtime.model import Port

UNLIMITED_BYTES: Final = 2**63 - 4096
"""The kernel's largest size in whole pages (PAGE_COUNTER_MAX), which it reads back as unlimited."""


def ports(document: Mapping[str, Any]) -> tuple[Port, ...]:
    """{"80/tcp": [{"HostIp", "HostPort"}]} or null for a port that is only exposed."""
    found: list[Port] = []
    for name, bindings in document.items():
        number, _, protocol = name.partition("/")
        if not number.isdigit():
            continue
        for binding in bindings or [{}]:
            host = str(binding.get("HostPort", ""))
            address = str(binding.get("HostIp", ""))
            found.append(Port(int(number), int(host) if host.isdigit() else None, address, protocol or "tcp"))
    return tuple(found)


def device_number(path: str) -> str | None:
    """The number of "/dev/sda", "8:0"; None for what is no block device here. Blocking."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else None


def shared_network(mode: str) -> str:
    """Why the network of a container is not its own, by its NetworkMode; "" when it is."""
    kind, _, other = mode.partition(":")
    if kind == "host":
        return "it uses the host's network"
    if kind == "container":
        return f"it uses the network of container {other[:12]}, where the limit would be everybody's: set it there"
    return "it uses a network namespace that somebody else has made" if kind == "ns" else ""
