"""A Docker or Podman daemon that misbehaves as it is told to, on a unix socket, for the engines and for the session.

`containers` are what it runs. `faults` say how it answers a request instead of well, by the end of the path ("/info",
"/containers/json", f"/containers/{id}/json"). `asked` is every request, with its query.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.podman.engine import PodmanEngine

DOCKER, PODMAN = "docker", "podman"
PAGE: Final = "<html><head><title>403</title></head><body><h1>Forbidden by the proxy</h1></body></html>"
CREATED_S: Final = 1_790_000_000
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


# what it can do wrong


def status(number: int, words: str) -> Fault:
    """The API's own form of an error."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": words, "cause": words, "response": number}, status=number)

    return answer


async def forbidden(request: web.Request) -> web.StreamResponse:
    """As a socket proxy forbids an endpoint."""
    return web.Response(status=403, text=PAGE, content_type="text/html")


async def hang(request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


def body(data: bytes) -> Fault:
    """These bytes with status 200."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=data, content_type="application/json")

    return answer


garbage = body(bytes(range(256)) * 40)
half_json = body(b'[{"Id": "ab')
odd_list = body(b"[1, null]")
brackets = body(b"[" * 200_000)


def pieces(data: bytes, *, every_s: float = 0.0, times: int | None = None) -> Fault:
    """The same bytes again and again, for ever without `times`; then the stream ends as if it were whole."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        count = 0
        with contextlib.suppress(ConnectionError):  # given up on by whoever asked
            while times is None or count < times:
                await response.write(data)
                await asyncio.sleep(every_s)
                count += 1
        return response

    return answer


endless_body = pieces(b" " * (1 << 20))
endless_line = pieces(b"x" * (1 << 18))
byte_by_byte = pieces(b" ", every_s=0.2)
huge_frame = pieces(struct.pack(">B3xI", 1, 0xFFFFFFFF) + b"x" * 4096)


async def die(request: web.Request) -> web.StreamResponse:
    """Close the connection in the middle of the answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'[{"Id"')
    assert request.transport is not None
    request.transport.abort()
    return response


@dataclass
class HostileDaemon:
    """The daemon; `dialect` is DOCKER or PODMAN. `cut_s` ends each stream of events or logs after so many seconds."""

    socket: Path
    dialect: str = DOCKER
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    logs: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    """Ids for which Podman's list and inspect wait."""
    asked: list[str] = field(default_factory=list)
    cut_s: float | None = None
    abort: bool = True
    """Whether a cut breaks the connection, or ends the stream as if it were whole."""
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def engine(self, proc: Path = Path("/proc")) -> DockerEngine | PodmanEngine:
        kind = DockerEngine if self.dialect == DOCKER else PodmanEngine
        return kind(Endpoint(self.url, "the test"), proc=proc)

    def add(self, number: int, state: str = "running", **more: Any) -> str:
        """Have a container; its id."""
        identity = f"{number:02x}" + f"{number:062x}"
        self.containers[identity] = {"name": f"c{number}", "state": state, "created": CREATED_S + number, **more}
        return identity

    def tell(self, action: str, identity: str) -> None:
        """Put an event into every stream of events."""
        actor = {"ID": identity, "Attributes": {}}
        self.events.append({"Type": "container", "Action": action, "Actor": actor, "timeNano": time.time_ns()})

    def count(self, part: str) -> int:
        """How many requests have this in them."""
        return len([request for request in self.asked if part in request])

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

    # answers

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        for end, fault in self.faults.items():
            if request.path.endswith(end):
                return await fault(request)
        if request.path == "/_ping":
            podman = {"Libpod-Api-Version": "5.8.2"}
            return web.Response(text="OK", headers=podman if self.dialect == PODMAN else {"Api-Version": "1.44"})
        path = "/" + request.path.split("/", 2)[2].removeprefix("libpod/")
        parts = path.strip("/").split("/")
        if path == "/containers/json":
            return await self._list(request)
        if path == "/events":
            return await self._follow_events(request)
        if path == "/version":
            return web.json_response({"Version": "27.0"})
        if path == "/info":
            host = {"cpus": 2, "cgroupVersion": "v1", "eventLogger": "journald"}
            return web.json_response({"NCPU": 2, "CgroupVersion": "1", "host": host})
        if parts[0] == "containers" and len(parts) == 3:
            return await self._of_container(request, parts[1], parts[2])
        return web.json_response({"message": f"nothing at {path}"}, status=404)

    async def _of_container(self, request: web.Request, key: str, what: str) -> web.StreamResponse:
        there = [identity for identity in self.containers if identity.startswith(key)]
        if not there:
            return web.json_response({"message": "no such container"}, status=404)
        if what == "exists":
            return web.Response(status=204 if len(there) == 1 else 500)
        if there[0] in self.held:
            await hang(request)
        if what == "json":
            return web.json_response(self._document(there[0]))
        if what == "logs":
            return await self._send_log(request, there[0])
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        wanted = json.loads(request.query.get("filters", "{}")).get("id")
        there = [
            identity
            for identity in self.containers
            if wanted is None or any(identity.startswith(each.removeprefix("^")) for each in wanted)
        ]
        if self.dialect == PODMAN and self.held.intersection(there):
            await hang(request)
        return web.json_response([self._row(identity) for identity in there])

    def _row(self, identity: str) -> dict[str, Any]:
        found = self.containers[identity]
        state = found["state"]
        about = {"Id": identity, "Image": "busybox", "State": state, "Created": found["created"], "Labels": {}}
        if self.dialect == PODMAN:
            command, pid = ["sleep", "60"], found.get("pid", 0)
            return {**about, "Names": [found["name"]], "Command": command, "ExitCode": 3, "Pid": pid}
        said = "Exited (3) 2 hours ago" if state == "exited" else "Up 2 hours (healthy)"
        ports = [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]
        names = [f"/other/{found['name']}", f"/{found['name']}"]
        return {**about, "Names": names, "Command": "sleep 60", "Status": said, "Ports": ports}

    def _document(self, identity: str) -> dict[str, Any]:
        found = self.containers[identity]
        state = {"Status": found["state"], "Pid": found.get("pid", 0), "ExitCode": 3}
        state["StartedAt"] = found.get("started", "2026-11-21T03:14:07Z")
        host = {"RestartPolicy": {"Name": "always"}, **found.get("host", {})}
        slash = "/" if self.dialect == DOCKER else ""
        return {
            "Id": found.get("says", identity),
            "Name": slash + found["name"],
            "State": state,
            "HostConfig": host,
            "Config": {"Image": "busybox", "Labels": {}},
        }

    async def _follow_events(self, request: web.Request) -> web.StreamResponse:
        since_ns = int(float(request.query["since"]) * 1e9)
        told = len([event for event in self.events if event["timeNano"] < since_ns])

        async def send(response: web.StreamResponse) -> bool:
            nonlocal told
            for event in self.events[told:]:
                await response.write(json.dumps(event).encode() + b"\n")
            told = len(self.events)
            return True

        return await self._stream(request, send)

    async def _send_log(self, request: web.Request, identity: str) -> web.StreamResponse:
        lines = self.logs.setdefault(identity, [])
        since_ns = int(float(request.query.get("since", "0")) * 1e9)
        sent = len([moment for moment, _ in lines if moment < since_ns])
        follow = request.query["follow"] in ("1", "true")

        async def send(response: web.StreamResponse) -> bool:
            nonlocal sent
            for moment, text in lines[sent:]:
                seconds, rest = divmod(moment, 1_000_000_000)
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09}Z"
                message = stamp.encode() + b" " + text + b"\n"
                await response.write(struct.pack(">B3xI", 1, len(message)) + message)
            sent = len(lines)
            return follow and self.containers[identity]["state"] == "running"

        return await self._stream(request, send)

    async def _stream(
        self, request: web.Request, send: Callable[[web.StreamResponse], Awaitable[bool]]
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"")
        loop = asyncio.get_running_loop()
        end = loop.time() + self.cut_s if self.cut_s is not None else float("inf")
        while await send(response) and loop.time() < end:  # noqa: ASYNC110  (what it sends is data, not an event)
            await asyncio.sleep(0.02)
        if loop.time() >= end and self.abort:
            assert request.transport is not None
            request.transport.abort()
        return response


@contextlib.asynccontextmanager
async def hostile(dialect: str) -> AsyncIterator[HostileDaemon]:
    """A daemon on a socket in a directory of its own."""
    folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="pytop-")
    made = HostileDaemon(Path(folder) / "engine.sock", dialect)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await asyncio.to_thread(shutil.rmtree, folder)
