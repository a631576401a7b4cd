"""Fields that Docker's and Podman's documents have in common."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, Final

from runtime.model import Port

UNLIMITED_BYTES: Final = 2**63 - 4096
"""The kernel's largest size in whole pages (PAGE_COUNTER_MAX), which reads back as unlimited."""


def ports(document: Mapping[str, Any]) -> tuple[Port, ...]:
    """Ports of {"80/tcp": [{"HostIp", "HostPort"}]}, or null for a port that is only exposed."""
    published: list[Port] = []
    for name, bindings in document.items():
        number, _, protocol = name.partition("/")
        if not number.isdigit():
            continue
        for binding in bindings or [{}]:
            host = str(binding.get("HostPort", ""))
            address = str(binding.get("HostIp", ""))
            published.append(Port(int(number), int(host) if host.isdigit() else None, address, protocol or "tcp"))
    return tuple(published)


def device_number(path: str) -> str | None:
    """The number, "8:0" for "/dev/sda"; None when it is no block device of this host. Blocking."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if stat.S_ISBLK(status.st_mode) else None


def shared_network(mode: str) -> str:
    """Why a container with this NetworkMode has no network of its own; "" when it has one."""
    kind, _, other = mode.partition(":")
    if kind == "host":
        return "it uses the host's network"
    if kind == "container":
        return f"it uses the network of container {other[:12]}, where the limit would be everybody's: set it there"
    return "it uses a network namespace that somebody else has made" if kind == "ns" else ""
