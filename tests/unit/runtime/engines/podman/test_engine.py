"""PodmanEngine against a service of a few lines: versions that are not installed here, and their ways with a record."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.podman.engine import PodmanEngine
from runtime.errors import (
    ConflictError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)
from runtime.model import ContainerSpec, LimitChange, LimitName, State, Verb, Verdict
from runtime.oci.resources import merged

ID = "cd" * 32
MB = 1 << 20
HOST: dict[str, Any] = {
    "cpus": 2,
    "cgroupVersion": "v1",
    "cgroupControllers": ["cpu", "cpuset", "memory", "blkio", "pids"],
    "eventLogger": "journald",
    "security": {"rootless": False},
}


@dataclass
class Service:
    """Speaks as one version of Podman; `record` is what it keeps, `asked` and `sent` what it was asked."""

    folder: Path
    version: str = "5.8.2"
    host: dict[str, Any] = field(default_factory=lambda: dict(HOST))
    status: str = "exited"
    cgroups: str = "default"
    pid: int = 0
    record: dict[str, Any] = field(default_factory=lambda: {"cpu": {"shares": 512}, "pids": {"limit": 2048}})
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "podman.sock"

    @property
    def spec(self) -> Path:
        return self.folder / "config.json"

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        if request.path == "/_ping":
            return web.Response(text="OK", headers={"Libpod-Api-Version": self.version} if self.version else {})
        path = request.path.removeprefix("/v4.0.0/libpod")
        if path in self.answers:
            status, words = self.answers[path]
            return web.json_response({"cause": words, "message": words, "response": status}, status=status)
        if path == "/info":
            return web.json_response({"host": self.host})
        if path == "/containers/create":
            self.sent.append(await request.json())
            return web.json_response({"Id": ID, "Warnings": []}, status=201)
        if path.endswith("/update"):
            return await self._update(await request.json())
        if path == f"/containers/{ID}/json":
            return web.json_response(self._inspect())
        return web.json_response({"cause": "", "message": f"nothing at {path}"}, status=404)

    async def _update(self, body: dict[str, Any]) -> web.Response:
        self.sent.append(body)
        numbers = tuple(map(int, self.version.split(".")[:2]))
        if numbers >= (5, 4):
            before = self.record
            await asyncio.sleep(0.02)  # as in 5.4.2: another change of this time is lost
            self.record = merged(before, body)
        elif numbers >= (5, 1):
            self.record = body
        return web.Response(text=ID, status=201)

    def _inspect(self) -> dict[str, Any]:
        cpu, memory = self.record.get("cpu", {}), self.record.get("memory", {})
        return {
            "Id": ID,
            "Name": "web",
            "State": {"Status": self.status, "Pid": self.pid},
            "OCIConfigPath": str(self.spec),
            "HostConfig": {
                "Cgroups": self.cgroups,
                "CpuShares": cpu.get("shares", 0),
                "CpuQuota": cpu.get("quota", 0),
                "CpuPeriod": cpu.get("period", 0),
                "Memory": memory.get("limit", 0),
                "PidsLimit": self.record.get("pids", {}).get("limit", 0),
            },
        }


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    with tempfile.TemporaryDirectory(prefix="pytop-") as folder:
        made = Service(Path(folder))
        await made.start()
        yield made
        await made.stop()


@pytest.fixture
async def engine(service: Service, tmp_path: Path) -> AsyncIterator[PodmanEngine]:
    made = PodmanEngine(Endpoint(f"unix://{service.socket}", "the test"), proc=tmp_path)
    yield made
    await made.close()


async def test_from_5_4_on_a_change_at_rest_is_kept_and_only_what_changes_is_sent(
    service: Service, engine: PodmanEngine
) -> None:
    assert (await engine.capabilities()).at_rest == ""
    outcome = await engine.update(ID, LimitChange(cpus=0.5))
    assert service.sent == [{"cpu": {"quota": 50_000, "period": 100_000}}]
    assert [request for request in service.asked if "update" in request] == [
        f"POST /v4.0.0/libpod/containers/{ID}/update"
    ], "the restart policy is not in the request, so it stays; Docker's emulation is not asked"
    (entry,) = outcome.fields
    assert (entry.verdict, entry.engine, entry.persistent, entry.detail) == (
        Verdict.UNREADABLE,
        0.5,
        True,
        "for the next start",
    )
    recorded = await engine.recorded(ID)
    assert (recorded.cpus, recorded.cpu_shares, recorded.pids) == (0.5, 512, 2048)


async def test_two_clients_changes_at_rest_are_both_kept(
    service: Service, engine: PodmanEngine, tmp_path: Path
) -> None:
    other = PodmanEngine(Endpoint(f"unix://{service.socket}", "the test"), proc=tmp_path)
    try:
        await asyncio.gather(engine.update(ID, LimitChange(cpus=0.5)), other.update(ID, LimitChange(pids=40)))
    finally:
        await other.close()
    recorded = await engine.recorded(ID)
    assert (recorded.cpus, recorded.pids) == (0.5, 40)


@pytest.mark.parametrize("version", ["4.3.1", "4.9.5", "5.0.3", "5.1.0", "5.3.2"])
async def test_before_5_4_a_change_at_rest_is_refused_beforehand(
    service: Service, engine: PodmanEngine, version: str
) -> None:
    service.version = version
    reason = (await engine.capabilities()).at_rest
    assert "while it runs" in reason
    unrecorded = (await engine.capabilities()).unrecorded
    assert unrecorded == (frozenset() if version.startswith(("5.1", "5.3")) else set(LimitName))
    with pytest.raises(UnsupportedError) as caught:
        await engine.update(ID, LimitChange(cpus=0.5))
    assert caught.value.detail == reason
    assert service.sent == []


async def test_5_1_to_5_3_forget_what_is_not_sent_so_the_whole_record_is(
    service: Service, engine: PodmanEngine
) -> None:
    service.version, service.status, service.pid = "5.2.5", "running", 77
    devices = [{"allow": False, "access": "rwm"}]
    service.spec.write_text(json.dumps({"linux": {"resources": {**service.record, "devices": devices}}}))
    outcome = await engine.update(ID, LimitChange(cpus=0.5))
    assert service.sent == [
        {
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            "pids": {"limit": 2048},
            "devices": devices,
        }
    ]
    assert outcome.fields[0].detail == "its processes are not on this machine"
    service.spec.unlink()
    with pytest.raises(UnsupportedError, match=r"5\.4"):
        await engine.update(ID, LimitChange(cpus=0.7))
    assert len(service.sent) == 1


async def test_a_container_without_a_cgroup_of_its_own_is_neither_measured_nor_limited(
    service: Service, engine: PodmanEngine, tmp_path: Path
) -> None:
    service.status, service.pid, service.cgroups = "running", 77, "disabled"
    (tmp_path / "77").mkdir()
    (tmp_path / "77/cgroup").write_text("0::/user.slice/session-1.scope\n")
    found = await engine.get(ID)
    assert (found.state, found.pid, found.cgroup) == (State.RUNNING, None, "")
    with pytest.raises(UnsupportedError, match="--cgroups=disabled"):
        await engine.update(ID, LimitChange(cpus=0.5))
    assert service.sent == []


@pytest.mark.parametrize(
    ("mode", "words"),
    [("host", "the host's network"), (f"container:{ID}", f"container {ID[:12]}"), ("ns:/run/netns/x", "somebody else")],
)
async def test_a_network_that_is_not_its_own_is_not_limited_for_it(
    service: Service, engine: PodmanEngine, monkeypatch: pytest.MonkeyPatch, mode: str, words: str
) -> None:
    document = service._inspect()
    document["HostConfig"]["NetworkMode"] = mode
    monkeypatch.setattr(service, "_inspect", lambda: document)
    with pytest.raises(UnsupportedError, match=words):
        await engine.update(ID, LimitChange(net_egress=1_000_000))
    assert (await engine.update(ID, LimitChange(cpus=0.5))).fields


async def test_crun_puts_the_processes_below_the_containers_own_cgroup(
    service: Service, engine: PodmanEngine, tmp_path: Path
) -> None:
    service.status, service.pid = "running", 77
    (tmp_path / "77").mkdir()
    (tmp_path / "77/cgroup").write_text(f"0::/machine.slice/libpod-{ID}.scope/container\n")
    assert (await engine.get(ID)).cgroup == f"/machine.slice/libpod-{ID}.scope"


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (500, '"web" is already paused: container state improper', ConflictError),
        (500, "that name is already in use", ConflictError),
        (409, "container state improper", ConflictError),
        (500, "nope: image not known", NotFoundError),
        (404, "no such container", NotFoundError),
        (500, "invalid signal: SIGFOO", InvalidError),
        (500, "the disk is full", EngineError),
    ],
)
async def test_an_error_is_what_podman_says_whatever_its_status(
    service: Service, engine: PodmanEngine, status: int, words: str, kind: type[PytopError]
) -> None:
    service.answers[f"/containers/{ID}/pause"] = (status, words)
    with pytest.raises(kind) as caught:
        await engine.pause(ID)
    assert (type(caught.value), caught.value.detail) == (kind, words)


@pytest.mark.parametrize(("version", "words"), [("4.2.1", "4.2.1"), ("3.4.4", "3.4.4"), ("", "no Podman")])
async def test_too_old_versions_and_other_services_are_refused(
    service: Service, engine: PodmanEngine, version: str, words: str
) -> None:
    service.version = version
    with pytest.raises(UnavailableError) as caught:
        await engine.info()
    assert words in caught.value.detail


async def test_an_upgrade_is_noticed_when_info_is_requested(service: Service, engine: PodmanEngine) -> None:
    service.version = "4.3.1"
    assert (await engine.info()).version == "4.3.1"
    service.version = "5.8.2"
    assert (await engine.info()).version == "5.8.2"
    assert (await engine.capabilities()).at_rest == ""
    assert service.asked.count("GET /v4.0.0/libpod/info") == 2, "capabilities ask no more than is needed"


async def test_what_this_podman_cannot_do_is_declared(service: Service, engine: PodmanEngine) -> None:
    service.host |= {"eventLogger": "none", "cgroupControllers": ["cpu", "memory", "pids"], "cgroupVersion": "v2"}
    service.host["security"] = {"rootless": True}
    capabilities = await engine.capabilities()
    assert "events" in (capabilities.why_not(Verb.EVENTS) or "")
    assert "Delegate=cpuset" in (capabilities.why_not(LimitName.CPUSET_CPUS) or "")
    assert capabilities.why_not(LimitName.CPUS) is None
    with pytest.raises(UnsupportedError, match="Delegate=io"):
        await engine.update(ID, LimitChange(io_weight=50))
    service.host["cgroupVersion"] = "v1"
    await engine.info()
    assert "rootless" in ((await engine.capabilities()).why_not(LimitName.CPUS) or "")


async def test_what_the_api_cannot_do_is_refused_where_no_kernel_can_either(
    service: Service, engine: PodmanEngine
) -> None:
    with pytest.raises(UnsupportedError, match="running container of this machine"):
        await engine.update(ID, LimitChange(cpus=0.5, cpu_burst=1000))
    with pytest.raises(UnsupportedError):
        await engine.create(ContainerSpec("busybox", limits=LimitChange(cpu_burst=1000)))
    assert service.sent == []


@pytest.mark.parametrize(("rootless", "network"), [(False, "bridge"), (True, "default")])
async def test_the_network_of_a_user_who_is_not_root(
    service: Service, engine: PodmanEngine, rootless: bool, network: str
) -> None:
    service.host["security"] = {"rootless": rootless}
    assert (await engine.create(ContainerSpec("busybox"))).id == ID
    assert service.sent[0]["netns"] == {"nsmode": network}


async def test_a_stream_of_events_that_ends_at_once_is_an_engine_that_is_away(
    service: Service, engine: PodmanEngine
) -> None:
    service.answers["/events"] = (200, "no events are kept")
    with pytest.raises(UnavailableError, match="ended its stream"):
        await anext(engine.events())
    assert len([request for request in service.asked if "/events" in request]) == 1, "it must not be asked for ever"


async def test_a_pod_that_is_removed_meanwhile_keeps_its_container_listed(
    service: Service, engine: PodmanEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {**service._inspect(), "Pod": "ef" * 32}
    monkeypatch.setattr(service, "_inspect", lambda: document)
    assert (await engine.get(ID)).group_name == ("ef" * 32)[:12]


@pytest.mark.parametrize("key", ["", "/", "..", "../../info"])
async def test_a_name_cannot_lead_to_another_path(service: Service, engine: PodmanEngine, key: str) -> None:
    with pytest.raises((InvalidError, NotFoundError)):
        await engine.inspect(key)
    assert not [
        request for request in service.asked if "/info" in request.removeprefix("GET /v4.0.0/libpod/containers")
    ]


async def test_a_socket_without_a_listener(tmp_path: Path) -> None:
    engine = PodmanEngine(Endpoint(f"unix://{tmp_path}/none.sock", "the test"), key="podman-alice")
    with pytest.raises(UnavailableError) as caught:
        await engine.containers()
    assert caught.value.path == f"{tmp_path}/none.sock"
    assert "podman.socket" in caught.value.hint
    assert engine.key == "podman-alice"
    await engine.close()
