"""Podman, over its libpod API on a unix socket."""
