"""Which container has taken the place of one that is gone: the one made anew under its name."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.model import Container


def successor(gone: Container, containers: Iterable[Container]) -> Container | None:
    """The container of the same host and engine that has its name now; None for a nameless one."""
    home = (gone.ref.host, gone.ref.engine)
    same = (c for c in containers if c.name == gone.name and (c.ref.host, c.ref.engine) == home and c.ref != gone.ref)
    return next(same, None) if gone.name else None
