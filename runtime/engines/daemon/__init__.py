"""What Docker and Podman share: HTTP over a unix socket, their streams, and the shape of their documents."""

from runtime.engines.daemon.endpoint import Endpoint, identity

__all__ = ["Endpoint", "identity"]
