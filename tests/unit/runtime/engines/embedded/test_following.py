"""Followers of a container learn its end by an event, not by the look that is their net.

The same was looked for in `wait` and `stop` (they watch the records), `events` (no net), and in the other engines:
Docker's and Podman's streams end by themselves, containerd's task tells its exit.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.engines.embedded import engine as embedded
from runtime.engines.embedded import reconcile
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.model import ContainerSpec, State
from runtime.oci import cri_log
from tests.waiting import until


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedEngine:
    """Its records are taken as they are, and looked at again after an event only."""
    monkeypatch.setattr(reconcile, "repaired", lambda store, hierarchies, record: record)
    monkeypatch.setattr(reconcile, "repair_unless_busy", lambda store, hierarchies, record, *_: record)
    monkeypatch.setattr(embedded, "_RECHECK_INTERVAL_S", 600.0)
    made = EmbeddedEngine(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))
    made._store.prepare()
    return made


@pytest.mark.timeout(30)
async def test_the_end_is_an_event_for_who_follows_the_log_or_waits(engine: EmbeddedEngine) -> None:
    spec = ContainerSpec("host", ("true",), name="one", network="none")
    record = engine._store.add(lambda container_id: ContainerRecord(container_id, spec, 1, State.RUNNING))
    said: list[bytes] = []

    async def follow() -> None:
        async for line in engine.logs(record.id, follow=True):
            said.append(line.data)

    followers = [asyncio.create_task(follow()), asyncio.create_task(engine.wait(record.id))]
    with engine.config.log(record.id).open("ab", buffering=0) as log:
        log.write(cri_log.encode(b"stdout", b"last\n", 1))
    await until(lambda: said, 10, "the line is read")
    await asyncio.sleep(0.1)  # the follower has looked after the last line, and sleeps
    engine._store.change(record.id, lambda current: current.ended(3, now_ns=2))
    await asyncio.gather(*followers)
    assert (said, followers[1].result()) == ([b"last"], 3)
