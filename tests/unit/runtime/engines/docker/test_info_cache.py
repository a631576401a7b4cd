"""How often Docker is asked what its machine offers: not for every change, and anew when that may have changed."""

from __future__ import annotations

import pytest

from runtime.engines.daemon import info
from runtime.engines.docker.engine import DockerEngine
from runtime.errors import UnavailableError
from runtime.model import LimitChange
from tests.unit.runtime.engines.docker.test_client import ID, Daemon, container, daemon, engine

__all__ = ["daemon", "engine"]  # fixtures


@pytest.fixture(autouse=True)
def answers(daemon: Daemon) -> None:
    daemon.answers |= {
        "/info": {"NCPU": 2, "CgroupVersion": "1"},
        "/version": {"Version": "99"},
        f"/containers/{ID}/json": container(status="exited"),
        f"/containers/{ID}/update": {"Warnings": None},
    }


def counted(daemon: Daemon, path: str) -> int:
    return len([request for request in daemon.asked if request.endswith(path)])


async def test_changes_in_a_row_ask_once(daemon: Daemon, engine: DockerEngine) -> None:
    for pids in (40, 41, 42):
        await engine.update(ID, LimitChange(pids=pids))
    assert (counted(daemon, "/info"), counted(daemon, "/version")) == (1, 0)
    assert counted(daemon, "/_ping") <= 2, "the first two requests begin together"
    assert counted(daemon, "/update") == 3


async def test_a_request_for_info_refreshes_the_capabilities(daemon: Daemon, engine: DockerEngine) -> None:
    await engine.recorded(ID)
    daemon.answers["/info"] = {"NCPU": 8}
    assert (await engine.recorded(ID)).cpuset_cpus == "0-1"
    await engine.info()
    assert (await engine.recorded(ID)).cpuset_cpus == "0-7"


async def test_a_daemon_that_was_away_is_asked_anew(daemon: Daemon, engine: DockerEngine) -> None:
    await engine.recorded(ID)
    await daemon.stop()
    with pytest.raises(UnavailableError):
        await engine.recorded(ID)
    daemon.answers["/info"] = {"NCPU": 8}
    await daemon.start()
    assert (await engine.recorded(ID)).cpuset_cpus == "0-7"


async def test_an_answer_has_its_time(daemon: Daemon, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "INFO_MAX_AGE_S", 0.0)
    await engine.recorded(ID)
    await engine.recorded(ID)
    assert counted(daemon, "/info") == 2
