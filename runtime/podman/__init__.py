"""Podman, over its libpod API on a unix socket."""

from runtime.podman.endpoint import Place, places
from runtime.podman.engine import PodmanEngine

__all__ = ["Place", "PodmanEngine", "places"]
