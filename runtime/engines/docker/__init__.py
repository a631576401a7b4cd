"""Docker, over its HTTP API on a unix socket."""

from runtime.engines.daemon import Endpoint
from runtime.engines.docker.endpoint import endpoints, is_of_this_machine
from runtime.engines.docker.engine import DockerEngine

__all__ = ["DockerEngine", "Endpoint", "endpoints", "is_of_this_machine"]
