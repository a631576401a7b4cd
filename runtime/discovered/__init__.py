"""Containers that no engine answers for, found from the cgroup tree and from namespaces alone."""

from runtime.discovered.engine import DiscoveredEngine
from runtime.discovered.names import KEY

__all__ = ["KEY", "DiscoveredEngine"]
