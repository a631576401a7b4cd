"""Records of the embedded engine that cannot be read: their containers can be ended and removed, not started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from runtime.doctor.check import Check, Level
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.state.damage import REMEDY
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import DeniedError


def record_checks(config: EmbeddedConfig) -> Iterator[Check]:
    """A check for each damaged record; none for who may not read them, whom the engine's own check tells that."""
    with suppress(DeniedError):
        for record in RecordStore(config).all():
            if record.damage:
                name = record.spec.name
                yield Check("engines", f"container {name}", Level.LIMITED, record.damage, f"{REMEDY} {name}")
