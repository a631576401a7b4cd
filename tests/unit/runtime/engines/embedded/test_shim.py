"""A shim acts on the record as it is when it has the container's lock, not as it was when it was requested."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.process.shim import Shim
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import ConflictError
from runtime.model import ContainerSpec, State


def test_a_start_that_another_shim_has_made_meanwhile_is_not_made_again(tmp_path: Path) -> None:
    """Its client was killed in the middle, another has asked again, and the first shim has started it and seen its end.

    Looked for elsewhere: `attach` looks at the state again, restarts by the policy read the record after their pause.
    """
    config = EmbeddedConfig(tmp_path / "state", tmp_path / "run")
    store = RecordStore(config)
    store.prepare()
    spec = ContainerSpec("host", ("true",), name="one")
    record = store.add(lambda container_id: replace(ContainerRecord(container_id, spec, 1), state=State.EXITED))
    shim = object.__new__(Shim)
    shim.config, shim.store, shim.id = config, store, record.id
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ConflictError, match="one was started by another command"):
        shim.start(ours)
