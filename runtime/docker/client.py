"""Requests to Docker's HTTP API, its version agreed on first, its errors turned into ours.

One aiohttp session, made at the first request. Every request negotiates anew after the daemon was away, so an engine
object outlives the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from runtime.docker.endpoint import Endpoint
from runtime.errors import (
    ConflictError,
    DeniedError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
)

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

NEWEST = (1, 52)
OLDEST = (1, 41)
CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 60.0
_STATE = re.compile(r"is (?:not|already) (?:paused|running)")


class Client:
    """Speaks to one daemon."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session: ClientSession | None = None
        self._version = ""

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def agree_anew(self) -> None:
        """Ask for the daemon's version again at the next request."""
        self._version = ""

    async def version(self) -> str:
        """The API version that both sides know, "1.41". Raises `UnavailableError` for a daemon that is too old."""
        if not self._version:
            async with self._open("GET", "/_ping", {}, None, ANSWER_WITHIN, "reach Docker") as response:
                said = response.headers.get("Api-Version", "1.41")
            theirs = tuple(int(part) for part in said.split(".")[:2] if part.isdigit())
            if theirs < OLDEST:
                raise UnavailableError(
                    "use this Docker",
                    detail=f"it speaks API {said}, and {'.'.join(map(str, OLDEST))} is the least",
                    hint="Docker 20.10 or later is needed",
                )
            self._version = ".".join(map(str, min(NEWEST, theirs)))
        return self._version

    async def json(
        self,
        method: str,
        path: str,
        title: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        timeout: float | None = ANSWER_WITHIN,
    ) -> Any:
        """One request; the parsed answer, None for an empty one. `title` is what an error says was tried."""
        async with self.stream(method, path, title, query=query, body=body, timeout=timeout) as response:
            text = await response.read()
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise EngineError(title, detail="Docker answered with something that is not JSON") from error

    async def json_lines(
        self, method: str, path: str, title: str, *, query: Mapping[str, str], body: bytes
    ) -> list[Mapping[str, Any]]:
        """One request whose answer is a report of progress; raises `EngineError` when the report has an error."""
        async with self.stream(method, path, title, query=query, body=body) as response:
            text = await response.text()
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
        for line in found:
            if "error" in line:
                raise EngineError(title, detail=str(line["error"]))
        return found

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        title: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        timeout: float | None = None,
    ) -> AsyncIterator[ClientResponse]:
        """One request whose answer is read piece by piece; without a `timeout` it may last for ever."""
        version = await self.version()
        async with self._open(method, f"/v{version}{path}", query or {}, body, timeout, title) as response:
            yield response

    @contextlib.asynccontextmanager
    async def _open(
        self, method: str, path: str, query: Mapping[str, str], body: object, timeout: float | None, title: str
    ) -> AsyncIterator[ClientResponse]:
        import aiohttp

        session = self._ready()
        raw = io.BytesIO(body) if isinstance(body, bytes) else None
        try:
            async with session.request(
                method,
                self.endpoint.base + path,
                params=query,
                data=raw,
                json=body if raw is None and body is not None else None,
                headers={"Content-Type": "application/x-tar"} if raw is not None else None,
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_WITHIN),
            ) as response:
                if response.status >= 400:
                    if response.status == 400:  # perhaps an older daemon has taken the place: agree anew
                        self._version = ""
                    raise _refused(title, response.status, await response.text())
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._version = ""
            raise self._unreachable(title, error) from error

    def _ready(self) -> ClientSession:
        if self._session is None or self._session.closed:
            import aiohttp

            path = self.endpoint.socket
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(str(path), limit=0) if path is not None else aiohttp.TCPConnector(limit=0)
            )
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session

    def _unreachable(self, title: str, error: Exception) -> PytopError:
        path = self.endpoint.socket
        where = str(path) if path is not None else self.endpoint.url
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EPERM):
            return DeniedError(
                title,
                detail="the socket may not be opened",
                path=where,
                errno=number,
                hint="Run as root, or join the group docker and log in again",
            )
        if isinstance(error, asyncio.TimeoutError | TimeoutError):
            return UnavailableError(title, detail="Docker did not answer in time", path=where)
        return UnavailableError(
            title,
            detail="Docker is not running or has gone away",
            path=where,
            hint="Start it (systemctl start docker), or set DOCKER_HOST",
        )


def _refused(title: str, status: int, text: str) -> PytopError:
    """Docker's own message under our title."""
    try:
        document = json.loads(text)
        words = str(document["message"]) if isinstance(document, dict) and "message" in document else text
    except ValueError:
        words = text
    kinds: dict[int, type[PytopError]] = {
        400: InvalidError,
        401: DeniedError,
        403: DeniedError,
        404: NotFoundError,
        409: ConflictError,
        503: UnavailableError,
    }
    kind = kinds.get(status, EngineError)
    if kind is EngineError and _STATE.search(words):  # 20.10 says some conflicts with status 500
        kind = ConflictError
    return kind(title, detail=words.strip() or f"status {status}")
