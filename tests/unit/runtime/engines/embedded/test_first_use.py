"""A failure at the engine's first use is the first use's failure only: the next call tries again.

The same kind, something made once and kept although it failed, was looked for in the clients of the daemons' engines
(they connect for each request) and in the session's tasks (test_supervisor).
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.errors import PytopError


async def test_a_full_disk_at_the_first_use_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EmbeddedEngine(EmbeddedConfig(state=tmp_path / "state", run=tmp_path / "run"))
    failures = [OSError(errno.ENOSPC, "No space left on device", str(tmp_path))]

    def repair() -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(engine, "_reconcile", repair)
    try:
        with pytest.raises(PytopError, match="ENOSPC"):
            await engine.containers()
        assert await engine.containers() == []
    finally:
        await engine.close()
