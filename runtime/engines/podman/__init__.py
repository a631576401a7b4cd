"""Podman, over its libpod API on a unix socket."""

from runtime.engines.podman.endpoint import Place, places
from runtime.engines.podman.engine import PodmanEngine

__all__ = ["Place", "PodmanEngine", "places"]
