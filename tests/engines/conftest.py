"""Every engine that passes the conformance suite, against the real thing. Another engine is one more factory here."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.engines.docker import DockerEngine, Endpoint
from runtime.engines.embedded import NativeConfig, NativeEngine
from runtime.engines.podman import PodmanEngine
from runtime.engines.protocol import Engine
from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import ContainerRef, ContainerSpec, LimitName, Verb
from tests.conftest import missing, need_root
from tests.containerdd import Containerdd, containerdd
from tests.dockerd import Dockerd, busybox_rootfs, dockerd
from tests.engines import report
from tests.podmand import Podmand, podmand

IMAGE = "busybox:latest"
IDLE = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


@dataclass(slots=True)
class Subject:
    """An engine under test, the image to use, and the containers that a test has made."""

    engine: Engine
    image: str
    daemon: Dockerd | Podmand | Containerdd | None = None

    async def create(self, script: str, **more: object) -> ContainerRef:
        """A container that runs a shell script; other fields of the spec by keyword. No network unless it is named."""
        fields = {"network": "none", **more}
        spec = ContainerSpec(image=self.image, command=("sh", "-c", script), **fields)  # type: ignore[arg-type]
        return await self.engine.create(spec)

    async def run(self, script: str = IDLE, **more: object) -> ContainerRef:
        """Create and start."""
        ref = await self.create(script, **more)
        await self.engine.start(ref.id)
        return ref

    async def pid(self, ref: ContainerRef) -> int:
        container = await self.engine.get(ref.id)
        assert container.pid is not None
        return container.pid

    async def file(self, ref: ContainerRef, controller: str, v1: str, v2: str) -> str:
        """A cgroup file of the container, read here and not by the code under test."""
        cgroup = own_cgroup.locate(cgroupfs.detect(), await self.pid(ref))
        where = cgroup.where(controller)
        assert where is not None, f"no {controller} controller"
        directory, version = where
        return (directory / (v1 if version == 1 else v2)).read_text().strip()


def scratch(word: str) -> Path:
    """A folder of its own with a path short enough for sockets in it."""
    return Path(tempfile.gettempdir()) / f"pytop-{word}-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def embedded(cgroup: str = "pytop-test") -> AsyncIterator[Subject]:
    need_root("embedded")
    folder = scratch("native")
    name = folder.name.rpartition("-")[2]
    engine = NativeEngine(
        NativeConfig(
            state=folder / "state",
            run=folder / "run",
            cgroup=f"{cgroup}-{name}",
            bridge=f"ptt{name}",
            subnet="10.231.0.0/24",
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


@pytest.fixture(params=["embedded", "docker", "podman", "containerd"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each engine in turn."""
    if request.param == "embedded":
        async with embedded() as made:
            yield made
    elif request.param == "docker":
        async with docker(request.getfixturevalue("daemon")) as made:
            yield made
    elif request.param == "podman":
        from tests.engines.podman_subject import podman  # which needs this module

        async with podman(request.getfixturevalue("podman_service")) as made:
            yield made
    else:
        from tests.engines.containerd_subject import containerd  # likewise

        async with containerd(request.getfixturevalue("containerd_daemon")) as made:
            yield made


@pytest.fixture
def other_client(subject: Subject) -> Callable[[], Awaitable[Engine]]:
    """A second client of the same engine, as another terminal would be."""

    async def make() -> Engine:
        if isinstance(subject.engine, NativeEngine):
            return NativeEngine(subject.engine.config)
        assert subject.daemon is not None
        if isinstance(subject.daemon, Containerdd):
            from tests.engines.containerd_subject import engine_of

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
