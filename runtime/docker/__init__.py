"""Docker, over its HTTP API on a unix socket."""

from runtime.docker.endpoint import Endpoint, endpoints
from runtime.docker.engine import DockerEngine

__all__ = ["DockerEngine", "Endpoint", "endpoints"]
