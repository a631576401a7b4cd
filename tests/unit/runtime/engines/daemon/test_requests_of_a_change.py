"""How often a daemon is asked for one change of a live container, counted by the daemon."""

from __future__ import annotations

import asyncio
import errno
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runtime import limits
from runtime.engines.daemon import changing_limits
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.podman.engine import PodmanEngine
from runtime.kernel import block
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits import apply
from runtime.limits.review.facts import HostFacts
from runtime.model import UNLIMITED, ContainerRef, DeviceRate, LimitChange, LimitName
from tests.unit.fake_kernel import FakeKernel

MB = 1 << 20
ID = "ab" * 32
FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
PODMAN_HOST = {"cpus": 4, "cgroupVersion": "v1", "cgroupControllers": ["cpu", "cpuset", "memory", "blkio", "pids"]}


@dataclass
class Daemon:
    """Docker or Podman with one container, whose limits it records and writes to the kernel."""

    socket: Path
    cgroup: Cgroup
    podman: str = ""
    api: str = "1.41"
    updates: list[dict[str, Any]] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.rpartition("/")[2]
        self.asked["inspect" if kind == "json" else kind] += 1
        if kind == "_ping":
            headers = {"Libpod-Api-Version": self.podman} if self.podman else {"Api-Version": self.api}
            return web.Response(text="OK", headers=headers)
        if kind == "info":
            return web.json_response({"NCPU": 4, "CgroupVersion": "1", "host": PODMAN_HOST})
        if kind == "update":
            await asyncio.to_thread(self._update, json.loads(await request.read()))
            return web.json_response(ID, status=201) if self.podman else web.json_response({"Warnings": None})
        state = {"Status": "running", "Pid": 42}
        return web.json_response({"Id": ID, "Name": "web", "State": state, "HostConfig": self.host})

    def _update(self, body: dict[str, Any]) -> None:
        if self.podman:
            cpu, pids = body.get("cpu") or {}, body.get("pids") or {}
            body = {
                "CpuQuota": cpu.get("quota", 0),
                "CpuPeriod": cpu.get("period", 0),
                "PidsLimit": pids.get("limit", 0),
            }
            body = {name: value for name, value in body.items() if value}
        self.updates.append(body)
        self.host.update(body)
        quota, nano = self.host.get("CpuQuota", 0) / 100_000, self.host.get("NanoCpus", 0) / 1e9
        pids = self.host.get("PidsLimit") or -1
        written = LimitChange(cpus=quota or nano or UNLIMITED, pids=pids if pids > 0 else UNLIMITED)
        limits.change(ContainerRef("test", ID), self.cgroup, written, force=True)
        if self.api >= "1.55" and "BlkioDeviceWriteBps" in body:
            rates = tuple(DeviceRate("8:0", each["Rate"]) for each in body["BlkioDeviceWriteBps"])
            rates = rates or (DeviceRate("8:0", UNLIMITED),)
            limits.change(ContainerRef("test", ID), self.cgroup, LimitChange(io_write_bps=rates), force=True)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    monkeypatch.setattr(apply, "host_facts", lambda: FACTS)
    return FakeKernel(tmp_path, Mode.V1, monkeypatch)


@pytest.fixture(params=["docker", "podman 5.8.2", "podman 4.3.1"])
async def daemon(
    request: pytest.FixtureRequest, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Daemon]:
    cgroup = kernel.cgroup()
    monkeypatch.setattr(changing_limits, "cgroup_of", lambda *_: cgroup)
    with tempfile.TemporaryDirectory(prefix="pytop-") as folder:
        made = Daemon(Path(folder) / "engine.sock", cgroup, podman=request.param.partition(" ")[2])
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", made.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(made.socket)).start()
        yield made
        await runner.cleanup()


@pytest.fixture
async def engine(daemon: Daemon) -> AsyncIterator[DockerEngine | PodmanEngine]:
    endpoint = Endpoint(f"unix://{daemon.socket}", "the test")
    made = PodmanEngine(endpoint) if daemon.podman else DockerEngine(endpoint)
    yield made
    await made.close()


def once(daemon: Daemon, names: Iterable[str] = ("_ping", "info")) -> Counter[str]:
    """What was asked since the last time, without what is asked once in a while."""
    found = Counter({name: number for name, number in daemon.asked.items() if name not in names})
    daemon.asked.clear()
    return found


async def test_a_change_is_two_inspects_and_one_update(daemon: Daemon, engine: DockerEngine | PodmanEngine) -> None:
    inspects = 1 if daemon.podman.startswith("4") else 2  # which records nothing
    assert (await engine.update(ID, LimitChange(pids=50))).ok
    assert daemon.asked["info"] == 1
    assert once(daemon) == {"inspect": inspects, "update": 1}
    assert (await engine.update(ID, LimitChange(cpus=0.5))).ok
    assert once(daemon, ()) == {"inspect": inspects, "update": 1}


async def test_a_limit_that_the_api_does_not_know_is_one_inspect(
    daemon: Daemon, engine: DockerEngine | PodmanEngine
) -> None:
    assert (await engine.update(ID, LimitChange(cpu_idle=True))).ok
    assert once(daemon) == {"inspect": 1}


async def test_a_change_that_is_taken_back_is_three_inspects(
    daemon: Daemon, engine: DockerEngine | PodmanEngine, kernel: FakeKernel
) -> None:
    daemon.host["CpuQuota"] = 100_000
    limits.change(ContainerRef("test", ID), daemon.cgroup, LimitChange(cpus=1.0))
    before = dict(daemon.host)
    kernel.fail["cpu.cfs_burst_us"] = errno.EINVAL
    outcome = await engine.update(ID, LimitChange(cpus=0.5, cpu_burst=1000))
    assert not outcome.ok
    assert limits.read(daemon.cgroup).cpus == 1.0
    assert once(daemon)["inspect"] <= 3
    assert daemon.host["CpuQuota"] == before["CpuQuota"]


@pytest.mark.parametrize("daemon", ["docker"], indirect=True)
@pytest.mark.parametrize("api", ["1.41", "1.54", "1.55", "1.60"])
async def test_device_rates_and_weight_go_to_a_docker_that_takes_them(
    daemon: Daemon, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    daemon.api, takes = api, api >= "1.55"
    monkeypatch.setattr(block, "number", lambda text: "8:0")
    monkeypatch.setattr(block, "node", lambda number: "/dev/sda")
    limited = await engine.update(ID, LimitChange(io_write_bps=(DeviceRate("8:0", MB),)))
    lifted = await engine.update(ID, LimitChange(io_write_bps=(DeviceRate("8:0", UNLIMITED),)))
    assert limited.ok
    assert lifted.ok
    assert limited.fields[0].persistent is takes
    fields = [{"BlkioDeviceWriteBps": [{"Path": "/dev/sda", "Rate": MB}]}, {"BlkioDeviceWriteBps": []}]
    assert daemon.updates == (fields if takes else [])
    assert ("Docker does not keep it" in limited.fields[0].detail) is not takes
    assert (LimitName.IO_WRITE_BPS in (await engine.capabilities()).unrecorded) is not takes
    assert (await engine.update(ID, LimitChange(io_weight=300))).ok
    assert daemon.updates[-1] == {"BlkioWeight": 300}, "on v1 every version takes it"
