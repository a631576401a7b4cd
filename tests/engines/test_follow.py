"""The list follows what others do to an engine's containers, and asks nothing while nothing happens.

Changes are made by each engine's own client, in a process of its own; the embedded engine's is this project.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from runtime.engines.containerd.address import Address
from runtime.engines.containerd.engine import ContainerdEngine
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.podman.engine import PodmanEngine
from runtime.engines.protocol import Engine
from runtime.model import State
from tests.containerdd import Containerdd
from tests.dockerd import Dockerd
from tests.engines.conftest import scratch
from tests.engines.fake_subject import FakeDaemon
from tests.engines.subject import Needs, Subject
from tests.podmand import Podmand
from tui.core.session import Changed, Session

NAME = "by-its-own-client"
SETTLED = 1.5  # seconds after which all has been listed a second time: from here on only events tell anything
QUIET = 4.0
EMBEDDED = """
import asyncio, sys
from runtime.model import ContainerSpec
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine

async def main(config, verb, name):
    engine = EmbeddedEngine(EmbeddedConfig.from_json(config))
    if verb == "create":
        await engine.create(ContainerSpec("host", ("sleep", "60"), name=name, network="none"))
    elif verb == "remove":
        await engine.remove(name, force=True)
    else:
        await getattr(engine, verb)(name)
    await engine.close()

asyncio.run(main(*sys.argv[1:]))
"""
Step = tuple[tuple[str, ...], State | None]
"""A command, and the state that the container has after it; None when it is gone."""


def embedded(engine: EmbeddedEngine) -> list[Step]:
    ours = (sys.executable, "-c", EMBEDDED, engine.config.to_json())
    return [
        ((*ours, "create", NAME), State.CREATED),
        ((*ours, "start", NAME), State.RUNNING),
        ((*ours, "pause", NAME), State.PAUSED),
        ((*ours, "unpause", NAME), State.RUNNING),
        ((*ours, "remove", NAME), None),
    ]


def of_clients(client: tuple[str, ...], image: str) -> list[Step]:
    """Docker's and Podman's clients have the same words."""
    return [
        ((*client, "create", "--name", NAME, "--network", "none", image, "sleep", "60"), State.CREATED),
        ((*client, "start", NAME), State.RUNNING),
        ((*client, "pause", NAME), State.PAUSED),
        ((*client, "unpause", NAME), State.RUNNING),
        ((*client, "rm", "--force", NAME), None),
    ]


def containerd(daemon: Containerdd) -> list[Step]:
    client = ("ctr", "--address", str(daemon.socket), "--namespace", daemon.name)
    cgroup = f"/{daemon.name}/{NAME}"
    made = ("run", "--detach", "--null-io", "--cgroup", cgroup, "docker.io/library/busybox:latest", NAME, "sleep", "60")
    return [
        ((*client, *made), State.RUNNING),
        ((*client, "tasks", "pause", NAME), State.PAUSED),
        ((*client, "tasks", "resume", NAME), State.RUNNING),
        ((*client, "tasks", "kill", "--signal", "SIGKILL", NAME), State.EXITED),
        ((*client, "tasks", "rm", NAME), State.CREATED),
        ((*client, "containers", "rm", NAME), None),
    ]


def steps(subject: Subject) -> list[Step]:
    if isinstance(subject.engine, EmbeddedEngine):
        return embedded(subject.engine)
    if isinstance(subject.daemon, Containerdd):
        return containerd(subject.daemon)
    if isinstance(subject.daemon, Podmand):
        return of_clients(tuple(subject.daemon.command()), subject.image)
    assert isinstance(subject.daemon, Dockerd)
    return of_clients(("docker", "--host", subject.daemon.url), subject.image)


@contextlib.asynccontextmanager
async def session_of(engine: Engine) -> AsyncIterator[Session]:
    """A session that has answered, and whose own measuring keeps still."""
    session = Session([engine], interval=60.0)
    await session.start()
    try:
        await session.ready(10)
        yield session
    finally:
        await session.close()


class Told:
    """What the subscribers of a session can know."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changed = asyncio.Event()
        session.subscribe(self._wake)

    def _wake(self, what: Changed) -> None:
        if Changed.INVENTORY in what:
            self._changed.set()

    def state(self) -> State | None:
        found = [container.state for container in self._session.containers.values() if container.name == NAME]
        return found[0] if found else None

    async def until(self, state: State | None) -> None:
        """Wait to be told; nothing is looked at between."""
        while self.state() is not state:
            self._changed.clear()
            await self._changed.wait()


async def done(words: tuple[str, ...], daemon: object) -> None:
    environ = daemon.environ if isinstance(daemon, Podmand) else {**os.environ}
    process = await asyncio.create_subprocess_exec(
        *words, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    assert process.returncode == 0, f"{' '.join(words)} ended with {process.returncode}:\n{said.decode()}"


async def test_what_the_engines_own_client_does_is_listed_within_a_second(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]]
) -> None:
    subject.need(Needs.OWN_CLIENT)
    async with session_of(await other_client()) as session:
        told = Told(session)
        await asyncio.sleep(SETTLED)
        for words, state in steps(subject):
            telling = asyncio.create_task(told.until(state))
            await done(words, subject.daemon)
            try:
                await asyncio.wait_for(telling, 1.0)
            except TimeoutError:
                pytest.fail(f"a second after {words} it is listed as {told.state()} and not as {state}")


async def test_the_end_of_a_container_is_listed_within_a_second(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]]
) -> None:
    ref = await subject.run("sleep 60", name=NAME)
    pid = await subject.pid(ref)
    async with session_of(await other_client()) as session:
        told = Told(session)
        await asyncio.sleep(SETTLED)
        assert told.state() is State.RUNNING
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(told.until(State.EXITED), 1.0)
        assert session.containers[ref].exit_code == 137


class Between:
    """A socket before a daemon's, which counts what a client sends; the client is not asked to count itself."""

    def __init__(self, daemon: Path) -> None:
        self.folder = scratch("between")
        self.path = self.folder / "socket"
        self.sent = 0
        self.connections = 0
        self._daemon = daemon
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Between:
        self.folder.mkdir()
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)
        self.folder.rmdir()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, to = await asyncio.open_unix_connection(self._daemon)
        for source, target, counted in ((reader, to, True), (there, writer, False)):
            task = asyncio.create_task(self._carry(source, target, counted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, counted: bool) -> None:
        try:
            while data := await source.read(65536):
                self.sent += counted
                target.write(data)
                await target.drain()
        finally:
            target.close()


def through(subject: Subject, socket: Path) -> Engine:
    """A client of the same daemon by another path."""
    if isinstance(subject.daemon, Containerdd):
        return ContainerdEngine(Address(socket, "between", subject.daemon.name), top=subject.daemon.folder / "logs")
    where = Endpoint(f"unix://{socket}", "between")
    return PodmanEngine(where) if isinstance(subject.daemon, Podmand) else DockerEngine(where)


def reads() -> int:
    """How often this process has read from files, pipes and sockets, by the kernel's count."""
    text = Path("/proc/self/io").read_text()
    return int(dict(line.split(": ") for line in text.splitlines())["syscr"])


async def test_nothing_is_asked_while_nothing_happens(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]]
) -> None:
    refs = [await subject.run("sleep 60"), await subject.create("true")]
    async with contextlib.AsyncExitStack() as stack:
        between: Between | None = None
        if isinstance(subject.daemon, FakeDaemon | None):  # no socket to look at
            engine = await other_client()
        else:
            between = await stack.enter_async_context(Between(subject.daemon.socket))
            engine = through(subject, between.path)
        session = await stack.enter_async_context(session_of(engine))
        assert set(refs) <= session.containers.keys()
        await asyncio.sleep(SETTLED)
        before = (between.sent, between.connections) if between is not None else (0, 0)
        used, read = time.process_time(), reads()
        await asyncio.sleep(QUIET)
        assert time.process_time() - used < 0.02 * QUIET
        assert reads() - read <= 10
        if between is not None:
            assert before[0] > 3, "nothing came by here: what follows would mean nothing"
            assert between.sent - before[0] <= 2
            assert between.connections - before[1] <= 1
