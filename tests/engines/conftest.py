"""Every engine that passes the conformance suite, against the real thing, and the tests' fake. Another engine is one
more factory here.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.podman.engine import PodmanEngine
from runtime.engines.protocol import Engine
from runtime.model import LimitName, Verb
from tests.conftest import missing, need_root
from tests.containerdd import Containerdd, containerdd
from tests.dockerd import Dockerd, busybox_rootfs, dockerd
from tests.engines import report
from tests.engines.containerd_subject import containerd, engine_of
from tests.engines.fake_subject import fake
from tests.engines.podman_subject import podman
from tests.engines.subject import Subject
from tests.fake_engine import FakeEngine
from tests.podmand import Podmand, podmand
from tests.workers import subnet

IMAGE = "busybox:latest"


def scratch(word: str) -> Path:
    """A folder of its own with a path short enough for sockets in it."""
    return Path(tempfile.gettempdir()) / f"pytop-{word}-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def embedded(cgroup: str = "pytop-test") -> AsyncIterator[Subject]:
    need_root("embedded")
    folder = scratch("native")
    name = folder.name.rpartition("-")[2]
    engine = EmbeddedEngine(
        EmbeddedConfig(
            state=folder / "state",
            run=folder / "run",
            cgroup=f"{cgroup}-{name}",
            bridge=f"ptt{name}",
            subnet=subnet(230),
        )
    )
    reason = (await engine.capabilities()).why_not(Verb.CREATE)
    if reason is not None:
        missing("embedded", reason)
    try:
        yield Subject(engine, "host")
    finally:
        await engine.destroy()
        await engine.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def daemon() -> Iterator[Dockerd]:
    """One private dockerd for the whole run."""
    with dockerd(scratch("docker")) as started:
        yield started


@asynccontextmanager
async def docker(daemon: Dockerd) -> AsyncIterator[Subject]:
    engine = DockerEngine(Endpoint(daemon.url, "the test"))
    try:
        if not any(IMAGE in image.names for image in await engine.images()):
            await engine.import_image(IMAGE, busybox_rootfs())
        yield Subject(engine, IMAGE, daemon)
    finally:
        for container in await engine.containers():
            await engine.remove(container.ref.id, force=True)
        await engine.close()


@pytest.fixture(scope="session")
def podman_service() -> Iterator[Podmand]:
    """One private Podman service for the whole run."""
    with podmand(scratch("podman")) as started:
        yield started


@pytest.fixture(scope="session")
def containerd_daemon() -> Iterator[Containerdd]:
    """One private containerd for the whole run."""
    with containerdd(scratch("ctrd")) as started:
        yield started


@pytest.fixture(params=["fake", "embedded", "docker", "podman", "containerd"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each engine in turn, the tests' own fake first."""
    if request.param == "fake":
        async with fake() as made:
            yield made
    elif request.param == "embedded":
        async with embedded() as made:
            yield made
    elif request.param == "docker":
        async with docker(request.getfixturevalue("daemon")) as made:
            yield made
    elif request.param == "podman":
        async with podman(request.getfixturevalue("podman_service")) as made:
            yield made
    else:
        async with containerd(request.getfixturevalue("containerd_daemon")) as made:
            yield made


@pytest.fixture
def other_client(subject: Subject) -> Callable[[], Awaitable[Engine]]:
    """A second client of the same engine, as another terminal would be."""

    async def make() -> Engine:
        if isinstance(subject.engine, FakeEngine):
            return subject.engine.client()
        if isinstance(subject.engine, EmbeddedEngine):
            return EmbeddedEngine(subject.engine.config)
        assert isinstance(subject.daemon, Dockerd | Podmand | Containerdd)
        if isinstance(subject.daemon, Containerdd):
            return engine_of(subject.daemon)
        where = Endpoint(subject.daemon.url, "another terminal")
        return PodmanEngine(where) if isinstance(subject.engine, PodmanEngine) else DockerEngine(where)

    return make


@pytest.fixture
def cell(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> report.Cell:
    """Fills this test's cell of the report; without a word the run is a failure."""

    def fill(about: Verb | LimitName, state: str) -> None:
        assert about is request.node.callspec.params["what"]
        record_property("cell", state)

    return fill


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks a real engine or daemon; the rest is fast and needs no rights."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            parameters = getattr(getattr(item, "callspec", None), "params", {})
            if parameters.get("subject") != "fake":
                item.add_marker(pytest.mark.real)


def pytest_collection_finish(session: pytest.Session) -> None:
    report.want(session.config, session.items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    result = yield
    report.take(item, result)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report.show(terminalreporter, config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if report.table(session.config).empty() and not session.config.option.collectonly:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
