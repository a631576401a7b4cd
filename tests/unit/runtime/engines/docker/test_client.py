"""DockerEngine against a daemon of a few lines: versions, errors, a daemon that dies, one whose pids are elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.errors import (
    ConflictError,
    DeniedError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)
from runtime.model import ContainerSpec, LimitChange, LimitName, State, Verdict

ID = "cd" * 32
ROOT = Path(__file__).parents[5]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Daemon:
    """Answers by path with what a test has put there, and remembers what it was asked."""

    socket: Path
    version: str = "1.41"
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.path == "/_ping":
            return web.Response(text="OK", headers={"Api-Version": self.version})
        if request.content_type == "application/json":
            self.bodies.append(json.loads(await request.read()))
        path = "/" + request.path.split("/", 2)[2]
        answer = self.answers.get(path, web.json_response({"message": f"nothing at {path}"}, status=404))
        if callable(answer):
            found: web.StreamResponse = await answer(request)
            return found
        if isinstance(answer, tuple):
            return web.json_response({"message": answer[1]}, status=answer[0])
        return answer if isinstance(answer, web.Response) else web.json_response(answer)


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="pytop-") as folder:
        made = Daemon(Path(folder) / "docker.sock")
        await made.start()
        yield made
        await made.stop()


@pytest.fixture
async def engine(daemon: Daemon, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    made = DockerEngine(Endpoint(f"unix://{daemon.socket}", "the test"), proc=tmp_path)
    yield made
    await made.close()


def container(pid: int = 0, status: str = "running", **host: Any) -> dict[str, Any]:
    return {"Id": ID, "Name": "/web", "State": {"Status": status, "Pid": pid}, "HostConfig": host}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("1.41", "1.41"), ("1.47", "1.47"), ("1.52", "1.52"), ("1.55", "1.55"), ("1.60", "1.55"), ("2.0", "1.55")],
)
async def test_the_version_that_both_know(daemon: Daemon, engine: DockerEngine, theirs: str, ours: str) -> None:
    daemon.version = theirs
    daemon.answers["/version"] = {"Version": "99"}
    assert (await engine.info()).detail["api"] == ours
    assert daemon.asked == ["GET /_ping", f"GET /v{ours}/version"]


async def test_a_daemon_that_is_too_old_is_refused(daemon: Daemon, engine: DockerEngine) -> None:
    daemon.version = "1.40"
    with pytest.raises(UnavailableError, match=r"1\.40") as caught:
        await engine.info()
    assert "20.10" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidError), (403, DeniedError), (404, NotFoundError), (409, ConflictError), (500, EngineError)],
)
async def test_an_error_has_dockers_own_words(
    daemon: Daemon, engine: DockerEngine, status: int, kind: type[PytopError]
) -> None:
    daemon.answers[f"/containers/{ID}/start"] = (status, "the words of Docker")
    with pytest.raises(PytopError) as caught:
        await engine.start(ID)
    assert type(caught.value) is kind
    assert caught.value.detail == "the words of Docker"
    assert ID in caught.value.title


@pytest.mark.parametrize("words", ["Container ab is not paused", "container ab is not running", "is already paused"])
async def test_conflicts_that_20_10_calls_internal_errors(daemon: Daemon, engine: DockerEngine, words: str) -> None:
    daemon.answers[f"/containers/{ID}/pause"] = (500, words)
    with pytest.raises(ConflictError):
        await engine.pause(ID)


async def test_an_answer_that_is_no_json(daemon: Daemon, engine: DockerEngine) -> None:
    daemon.answers["/containers/json"] = web.Response(text="<html>a proxy</html>")
    with pytest.raises(EngineError, match="not JSON"):
        await engine.containers()


async def test_the_daemon_starts_stops_and_starts_again(daemon: Daemon, engine: DockerEngine) -> None:
    daemon.answers["/version"] = {"Version": "99"}
    await daemon.stop()
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            await engine.info()
        assert caught.value.path == str(daemon.socket)
        assert "DOCKER_HOST" in caught.value.hint
        await daemon.start()
        assert (await engine.info()).version == "99"
        await daemon.stop()
    daemon.version = "1.44"
    await daemon.start()
    assert (await engine.info()).detail["api"] == "1.44"


async def test_a_daemon_that_dies_in_the_middle_of_an_answer(daemon: Daemon, engine: DockerEngine) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'[{"Id"')
        assert request.transport is not None
        request.transport.abort()
        return response

    daemon.answers["/containers/json"] = half
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(engine.containers(), 5)


async def test_events_of_any_length_and_the_end_of_their_stream(daemon: Daemon, engine: DockerEngine) -> None:
    actor = {"ID": ID, "Attributes": {"label": "x" * 300_000}}
    line = json.dumps({"Type": "container", "Action": "die", "Actor": actor, "timeNano": 5}).encode() + b"\n"

    async def stream(request: web.Request) -> web.StreamResponse:
        assert float(request.query["since"]) > 1e9
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(line)
        await response.write(line)
        return response

    daemon.answers["/events"] = stream
    events = engine.events()
    assert [(await anext(events)).ref.id for _ in range(2)] == [ID, ID]
    with pytest.raises(UnavailableError):
        await anext(events)


async def test_permission_denied_says_what_to_do(daemon: Daemon) -> None:
    daemon.socket.parent.chmod(0o755)
    daemon.socket.chmod(0o600)
    code = (
        "import asyncio, sys; from runtime.engines.docker.engine import DockerEngine\n"
        "from runtime.engines.daemon.endpoint import Endpoint\n"
        "async def main():\n"
        "    engine = DockerEngine(Endpoint(sys.argv[1], 'the test'))\n"
        "    try: await engine.info()\n"
        "    except Exception as error: print(type(error).__name__, '|', error)\n"
        "    await engine.close()\n"
        "import aiohttp; import os\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "asyncio.run(main())"
    )
    if os.geteuid() != 0:
        daemon.socket.chmod(0)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, f"unix://{daemon.socket}"],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout.startswith("DeniedError |"), done.stdout + done.stderr
    assert "group docker" in done.stdout
    assert str(daemon.socket) in done.stdout


async def test_pids_of_another_machine_are_not_ours(daemon: Daemon, engine: DockerEngine, tmp_path: Path) -> None:
    daemon.answers["/containers/json"] = [{"Id": ID}]
    daemon.answers[f"/containers/{ID}/json"] = container(pid=42)
    own = f"/system.slice/docker-{ID}.scope"
    for text, pid, cgroup in (
        ("0::/docker/" + "ef" * 32, None, ""),
        (f"0::{own}\n", 42, own),
        (f"0::{own}/init.scope\n", 42, own),  # an init system in it
        (f"4:pids:/docker/{ID}/below\n0::/system.slice/containerd.service\n", 42, f"/docker/{ID}"),
    ):
        (tmp_path / "42").mkdir(exist_ok=True)
        (tmp_path / "42/cgroup").write_text(text)
        (found,) = await engine.containers()
        assert (found.state, found.pid, found.cgroup) == (State.RUNNING, pid, cgroup)
        assert (await engine.get(ID)).pid == pid


async def test_limits_on_another_machine_are_docker_word_only(daemon: Daemon, engine: DockerEngine) -> None:
    daemon.answers[f"/containers/{ID}/json"] = container(pid=42, NanoCpus=700_000_000)
    daemon.answers["/info"] = {"NCPU": 64}
    daemon.answers[f"/containers/{ID}/update"] = {"Warnings": None}
    outcome = await engine.update(ID, LimitChange(cpus=0.7))
    assert daemon.bodies == [{"NanoCpus": 700_000_000}]
    (entry,) = outcome.fields
    assert (entry.engine, entry.verdict) == (0.7, Verdict.UNREADABLE)
    assert "not on this machine" in entry.detail
    assert not outcome.ok


async def test_what_the_daemons_kernel_lacks_is_said_and_refused(daemon: Daemon, engine: DockerEngine) -> None:
    daemon.answers["/info"] = {"SwapLimit": False, "PidsLimit": True}
    daemon.answers[f"/containers/{ID}/json"] = container(status="exited")
    reason = (await engine.capabilities()).why_not(LimitName.SWAP)
    assert reason is not None
    assert (await engine.capabilities()).why_not(LimitName.PIDS) is None
    with pytest.raises(UnsupportedError) as caught:
        await engine.update(ID, LimitChange(memory=64 << 20, swap=0))
    assert caught.value.detail == reason
    assert daemon.bodies == []


async def test_names_are_quoted(daemon: Daemon, engine: DockerEngine) -> None:
    for key in ("a/b", "../images", "a?b=c", "%2e%2e", "white space"):
        with pytest.raises(NotFoundError):
            await engine.get(key)
    for key in ("", "/", "..", "."):
        with pytest.raises(InvalidError):
            await engine.get(key)
    assert all(path.startswith(("GET /v1.41/containers/", "GET /_ping")) for path in daemon.asked)


async def test_an_import_that_fails_half_way(daemon: Daemon, engine: DockerEngine) -> None:
    async def report(request: web.Request) -> web.StreamResponse:
        assert (request.query["repo"], request.query["tag"]) == ("localhost:5000/x", "latest")
        await request.read()
        return web.Response(text='{"status": "reading"}\r\n{"error": "no space left on device"}\r\n')

    daemon.answers["/images/create"] = report
    with pytest.raises(EngineError, match="no space left"):
        await engine.import_image("localhost:5000/x", b"tar")


async def test_create_refuses_malformed_limits_before_it_asks(daemon: Daemon, engine: DockerEngine) -> None:
    with pytest.raises(InvalidError):
        await engine.create(ContainerSpec("busybox", limits=LimitChange(cpus=float("nan"))))
    assert daemon.asked == []
