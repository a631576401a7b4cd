"""How often an engine's daemon is asked for one change of a limit, counted at the client."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from runtime.engines.containerd.client import ContainerdClient
from runtime.engines.daemon.http import DaemonClient
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.model import LimitChange, Missing
from tests.engines.subject import Needs, Subject

MB = 1 << 20
MOST_HTTP = {"inspect": 2, "update": 1}
MOST_GRPC = {"Containers/Get": 2, "Tasks/Get": 1, "Tasks/Update": 1, "Containers/Update": 1}


@pytest.fixture
async def asked(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests by kind from now on."""
    found: Counter[str] = Counter()
    opened, called = DaemonClient._open, ContainerdClient.call

    def open_counted(client: DaemonClient, method: str, path: str, *more: Any) -> AbstractAsyncContextManager[Any]:
        inspected = "/containers/" in path and path.endswith("/json")
        found["inspect" if inspected else path.rpartition("/")[2]] += 1
        return opened(client, method, path, *more)

    async def call_counted(client: ContainerdClient, path: str, *more: Any, **named: Any) -> Any:
        found[path.rpartition(".")[2]] += 1
        return await called(client, path, *more, **named)

    monkeypatch.setattr(DaemonClient, "_open", open_counted)
    monkeypatch.setattr(ContainerdClient, "call", call_counted)
    return found


async def test_a_change_of_one_limit_is_two_inspects_and_one_update(subject: Subject, asked: Counter[str]) -> None:
    subject.need(Needs.CGROUPS)
    if isinstance(subject.engine, EmbeddedEngine):
        return  # it asks nobody
    ref = await subject.run("sleep 60", limits=LimitChange(memory=64 * MB, swap=0, cpus=1.0))
    assert (await subject.engine.get(ref.id)).cgroup
    for number, change in enumerate(
        (LimitChange(pids=50), LimitChange(cpus=0.5), LimitChange(memory=96 * MB), LimitChange(cpu_shares=300))
    ):
        asked.clear()
        outcome = await subject.engine.update(ref.id, change)
        assert outcome.ok, outcome
        if not number:
            asked.pop("info", None)  # once in a while
        allowed = MOST_GRPC if isinstance(outcome.fields[0].engine, Missing) or "Tasks/Update" in asked else MOST_HTTP
        assert asked <= Counter(allowed), (change, asked)
