"""Docker, over its HTTP API on a unix socket."""

from runtime.docker.endpoint import endpoints, is_of_this_machine
from runtime.docker.engine import DockerEngine
from runtime.engines.daemon import Endpoint

__all__ = ["DockerEngine", "Endpoint", "endpoints", "is_of_this_machine"]
