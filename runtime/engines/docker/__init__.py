"""Docker, over its HTTP API on a unix socket."""
