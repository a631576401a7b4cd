"""Requests to an engine's HTTP API, a version agreed on first, its errors turned into ours.

One aiohttp session, made at the first request. Every request agrees on the version anew after the daemon was away, so
an engine object outlives the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from runtime.engines.daemon import ssh
from runtime.engines.daemon.connector import peer_connector
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.daemon.peer import Peer
from runtime.errors import (
    ConflictError,
    DeniedError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
)
from runtime.kernel import threads

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 60.0  # to the end of the body
MAX_DOCUMENT_BYTES: Final = 64 << 20  # bytes of a body that is read as a whole
MAX_ERROR_CHARS: Final = 500  # of a daemon's own words in an error
_KINDS: Final[Mapping[int, type[PytopError]]] = {
    400: InvalidError,
    401: DeniedError,
    403: DeniedError,
    404: NotFoundError,
    409: ConflictError,
    503: UnavailableError,
}


@dataclass(frozen=True, slots=True)
class ErrorTexts:
    """How errors speak of the daemon: its name, what to do when it is away, and when its socket may not be opened."""

    name: str
    away: str
    denied: str


class DaemonClient(ABC):
    """Speaks to one daemon. A subclass says how the version is agreed on, and where requests go then."""

    words: ErrorTexts

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._tunnels = ssh.Tunnels(ssh.command(endpoint.url)) if endpoint.ssh else None
        self._session: ClientSession | None = None
        self._version = ""
        self._agreements = 0
        self._uids: set[int] = set()

    @property
    def peer(self) -> Peer:
        """Everybody who has answered since this object was made, so that no answer passes for another's."""
        return Peer(frozenset(self._uids), remote=self.endpoint.socket is None)

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._tunnels is not None:
            await self._tunnels.close()

    @property
    def agreements(self) -> int:
        """How often the version was agreed on: another number means that the daemon may be another one."""
        return self._agreements

    def agree_anew(self) -> None:
        """Ask for the daemon's version again at the next request."""
        self._version = ""

    async def version(self) -> str:
        """The API version that both sides know. Raises `UnavailableError` for a daemon that is too old."""
        if not self._version:
            async with self._open("GET", "/_ping", {}, None, ANSWER_TIMEOUT_S, f"reach {self.words.name}") as response:
                agreed = self.agree(response.headers)
                if not self._version:  # else another request, which began together with this one, was faster
                    self._agreements += 1
                self._version = agreed
        return self._version

    @abstractmethod
    def agree(self, headers: Mapping[str, str]) -> str:
        """The version to speak, by the headers of the daemon's answer to a ping."""

    @abstractmethod
    def path(self, version: str, path: str) -> str:
        """Where a request goes."""

    def kind(self, status: int, words: str) -> type[PytopError]:
        """What an answer with status 400 or more means."""
        return _KINDS.get(status, EngineError)

    async def json(
        self,
        method: str,
        path: str,
        title: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        timeout: float | None = ANSWER_TIMEOUT_S,
        lasts: bool = False,
    ) -> Any:
        """One request; the parsed answer, None for an empty one. `title` is what an error says was tried.

        Without a `timeout` the answer may come at any time and must be whole `ANSWER_TIMEOUT_S` seconds after it began,
        unless it `lasts`.
        """
        async with self.stream(method, path, title, query=query, body=body, timeout=timeout) as response:
            text = await self.read(response, title, within=None if lasts else ANSWER_TIMEOUT_S)
        try:
            return json.loads(text) if text.strip() else None
        except (ValueError, RecursionError) as error:
            detail = f"{self.words.name} answered {method} {path} with something that is not JSON"
            raise EngineError(title, detail=detail) from error

    async def change(
        self, method: str, path: str, title: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        """A request that changes something, answered when that is done, however long it takes.

        One that is told as failed because it takes long would be done all the same.
        """
        return await self.json(method, path, title, query=query, body=body, timeout=None)

    async def mapping(
        self, method: str, path: str, title: str, *, body: object = None, timeout: float | None = ANSWER_TIMEOUT_S
    ) -> Mapping[str, Any]:
        """As `json`, for a document that is an object. Raises `EngineError` for any other."""
        found = await self.json(method, path, title, body=body, timeout=timeout)
        if not isinstance(found, dict):
            raise unexpected(title, self.words.name, f"{method} {path} is no object")
        return found

    async def rows(
        self, path: str, title: str, *, query: Mapping[str, str] | None = None, timeout: float = ANSWER_TIMEOUT_S
    ) -> Sequence[Mapping[str, Any]]:
        """A list of objects, empty for null. Raises `EngineError` for any other document."""
        found = await self.json("GET", path, title, query=query, timeout=timeout)
        found = [] if found is None else found
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise unexpected(title, self.words.name, f"GET {path} is no list of objects")
        return found

    async def optional(self, path: str, title: str, *, timeout: float) -> tuple[Mapping[str, Any], str]:
        """The document at a path that a proxy may forbid, or an empty one and the reason.

        Raises when the daemon does not answer a ping either.
        """
        try:
            return await self.mapping("GET", path, title, timeout=timeout), ""
        except PytopError as error:
            await self.version()  # asks when the connection was lost
            return {}, error.detail or error.title

    async def inspect(self, key: str) -> Mapping[str, Any]:
        """The daemon's whole description of a container."""
        return await self.mapping("GET", f"/containers/{quoted(key)}/json", f"look at container {key}")

    async def json_lines(
        self, method: str, path: str, title: str, *, query: Mapping[str, str], body: bytes
    ) -> Sequence[Mapping[str, Any]]:
        """One request whose answer is a report of progress; raises `EngineError` when the report has an error."""
        async with self.stream(method, path, title, query=query, body=body) as response:
            text = await self.read(response, title, within=None)
        found = [parse_object(line, title, self.words.name) for line in text.splitlines() if line.strip()]
        for line in found:
            if "error" in line:
                raise EngineError(title, detail=str(line["error"]))
        return found

    async def read(self, response: ClientResponse, title: str, *, within: float | None = ANSWER_TIMEOUT_S) -> bytes:
        """The body of an answer, in `within` seconds from now. Raises `EngineError` beyond `MAX_DOCUMENT_BYTES`."""
        found = bytearray()
        async with asyncio.timeout(within):
            async for chunk in response.content.iter_any():
                found += chunk
                if len(found) > MAX_DOCUMENT_BYTES:
                    detail = f"{self.words.name} answered with more than {MAX_DOCUMENT_BYTES >> 20} MiB"
                    raise EngineError(title, detail=detail)
        return bytes(found)

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
        where = self.path(await self.version(), path)
        async with self._open(method, where, query or {}, body, timeout, title) as response:
            yield response

    @contextlib.asynccontextmanager
    async def _open(
        self, method: str, path: str, query: Mapping[str, str], body: object, timeout: float | None, title: str
    ) -> AsyncIterator[ClientResponse]:
        import aiohttp

        session = await self._ready()
        raw = io.BytesIO(body) if isinstance(body, bytes) else None
        try:
            async with session.request(
                method,
                self.endpoint.base + path,
                params=query,
                data=raw,
                json=body if raw is None and body is not None else None,
                headers={"Content-Type": "application/x-tar"} if raw is not None else None,
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT_S),
            ) as response:
                if response.status >= 400:
                    if response.status == 400:  # perhaps an older daemon has taken the place: agree anew
                        self._version = ""
                    text = (await self.read(response, title)).decode(errors="replace")
                    raise self._refused(title, f"{method} {path}", response.status, text)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._version = ""
            words = await self._tunnels.explain() if self._tunnels is not None else ""
            raise self._unreachable(title, error, words) from error

    async def _ready(self) -> ClientSession:
        if self._session is None or self._session.closed:
            import aiohttp

            path, tls = self.endpoint.socket, self.endpoint.tls
            context = await threads.waiting(tls.context) if tls is not None else True
            if self._session is not None and not self._session.closed:  # another request was faster
                return self._session
            connector: aiohttp.BaseConnector = (
                peer_connector(str(path), self._uids.add)
                if path is not None
                else ssh.ssh_connector(self._tunnels)
                if self._tunnels is not None
                else aiohttp.TCPConnector(limit=0, ssl=context)
            )
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session

    def _unreachable(self, title: str, error: Exception, ssh_words: str) -> PytopError:
        path, name = self.endpoint.socket, self.words.name
        where = str(path) if path is not None else self.endpoint.url
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EPERM):
            detail = "the socket may not be opened"
            return DeniedError(title, detail=detail, path=where, errno=number, hint=self.words.denied)
        if isinstance(error, asyncio.TimeoutError | TimeoutError):
            return UnavailableError(title, detail=f"{name} did not answer in time", path=where)
        if ssh_words:
            hint = f"Try it by hand: {' '.join(ssh.command(where))}"
            return UnavailableError(title, detail=f"ssh: {ssh_words}", path=where, hint=hint)
        detail = f"{name} is not running or has gone away"
        return UnavailableError(title, detail=detail, path=where, hint=self.words.away)

    def _refused(self, title: str, request: str, status: int, text: str) -> PytopError:
        """The daemon's own message under our title; a proxy's page is left out, and the request is named instead."""
        words = text
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(text)
            words = str(document["message"]) if isinstance(document, dict) and "message" in document else text
        kind = self.kind(status, words)
        words = words.strip()
        if not words or words.startswith("<"):
            verb = "forbids" if kind is DeniedError else "does not serve"
            words = f"{self.words.name}, or a proxy before it, {verb} {request} (status {status})"
        return kind(title, detail=words[:MAX_ERROR_CHARS])


def unexpected(title: str, name: str, what: str) -> EngineError:
    """The error for an answer that is JSON of another form than the API's."""
    return EngineError(title, detail=f"{name} answered in an unknown form: {what}")


@contextlib.contextmanager
def understood(title: str, name: str) -> Iterator[None]:
    """Raise `EngineError` where a translator meets a value of another type than the API's."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise unexpected(title, name, repr(error)) from error


def parse_object(line: bytes, title: str, name: str) -> dict[str, Any]:
    """One JSON object of a stream. Raises `EngineError` for anything else."""
    with understood(title, name):
        found = json.loads(line)
    if not isinstance(found, dict):
        raise unexpected(title, name, "a line of its stream is no object")
    return found


def quoted(key: str, what: str = "container") -> str:
    """A name as a part of a path. Raises `InvalidError` for what would be another path."""
    if not key.strip("/."):
        raise InvalidError(f"find the {what} '{key}'", detail="that is no name")
    return quote(key, safe="")
