"""Containers that no engine answers for, found from the cgroup tree and from namespaces alone."""

from runtime.engines.found.engine import FoundEngine
from runtime.engines.found.names import KEY

__all__ = ["KEY", "FoundEngine"]
