"""Shared by the engines of daemons: HTTP over a unix socket, streams, common documents, and changes of limits."""
