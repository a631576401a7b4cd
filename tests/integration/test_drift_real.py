"""The dashboard on real containers: a limit that is changed behind its back, and a group that has a cgroup."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.podman.engine import PodmanEngine
from runtime.engines.protocol import Engine
from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import UNLIMITED, ContainerRef, ContainerSpec, GroupKind, LimitChange, LimitName, State
from tests.conftest import missing
from tests.dockerd import Dockerd, busybox_rootfs, dockerd
from tests.engines.conftest import scratch
from tests.integration import embedded
from tests.integration.embedded import instance, sh
from tests.podmand import podmand
from tests.waiting import until
from tui.app.app import PytopApp
from tui.app.screens.limit_editor import LimitEditor
from tui.core.session import Session
from tui.core.settings import Settings
from tui.present.annotation_text import annotation_text

IDLE = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
IMAGE = "busybox:latest"
MB = 1024 * 1024


def pids_file(pid: int) -> Path:
    where = own_cgroup.locate(cgroupfs.detect(), pid).where("pids")
    assert where is not None
    return where[0] / "pids.max"


async def test_drift_is_reported_and_a_key_restores_the_limit(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        ref = await sh(engine, IDLE, name="idle", limits=LimitChange(pids=77))
        await embedded.until(engine, ref, State.RUNNING)
        session = Session([EmbeddedEngine(engine.config)], interval=0.5)
        app = PytopApp(session, chosen=Settings())
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await until(lambda: session.frame is not None and ref in session.frame.usages, 20)
            await asyncio.sleep(3.0)  # it has settled
            assert not session.drift
            pid = session.containers[ref].pid
            assert pid is not None
            file = pids_file(pid)
            file.write_text("55")
            sweeps = session.frame.seq if session.frame is not None else 0
            await until(lambda: session.drift, 20)
            assert session.frame is not None
            assert session.frame.seq - sweeps <= 3
            (drift,) = session.drift[ref]
            assert (drift.name, drift.expected, drift.kernel) == (LimitName.PIDS, 77, 55)
            assert "by somebody else" in annotation_text(session.history.annotations(ref)[-1])
            await pilot.press("l")
            await until(lambda: isinstance(app.screen, LimitEditor), 20)
            await pilot.pause()
            await pilot.press("f6")
            await until(lambda: file.read_text().strip() == "77", 20)
            await until(lambda: not session.drift, 20)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    with dockerd(tmp_path_factory.mktemp("d") / "d") as started:
        yield started


@asynccontextmanager
async def watched(daemon: Dockerd, limits: LimitChange) -> AsyncIterator[tuple[Session, ContainerRef]]:
    """A session over a container of Docker's."""
    engine = DockerEngine(Endpoint(daemon.url, "the test"))
    await engine.import_image(IMAGE, busybox_rootfs())
    async with settled(engine, limits) as found:
        yield found


@asynccontextmanager
async def settled(engine: Engine, limits: LimitChange) -> AsyncIterator[tuple[Session, ContainerRef]]:
    """A session over one container of this engine, when it is long enough there and there is no drift."""
    spec = ContainerSpec(image=IMAGE, command=("sh", "-c", IDLE), network="none", limits=limits)
    ref = await engine.create(spec)
    session = Session([engine], interval=0.5)
    try:
        await engine.start(ref.id)
        await session.start()
        await until(lambda: session.frame is not None and ref in session.frame.usages, 20)
        await asyncio.sleep(3.5)
        assert not session.drift
        yield session, ref
    finally:
        await engine.remove(ref.id, force=True)
        await session.close()


def pid_of(session: Session, ref: ContainerRef) -> int:
    pid = session.containers[ref].pid
    assert pid is not None
    return pid


def file_of(session: Session, ref: ContainerRef, controller: str, v1: str, v2: str) -> Path:
    where = own_cgroup.locate(cgroupfs.detect(), pid_of(session, ref)).where(controller)
    assert where is not None
    return where[0] / (v1, v2)[where[1] - 1]


async def sweeps(session: Session, count: int) -> None:
    assert session.frame is not None
    last = session.frame.seq + count
    await until(lambda: session.frame is not None and session.frame.seq >= last, 20)


async def test_manual_changes_of_weight_and_cpus_of_a_docker_container_are_drift(daemon: Dockerd) -> None:
    async with watched(daemon, LimitChange(cpu_shares=512)) as (session, ref):
        shares = file_of(session, ref, "cpu", "cpu.shares", "cpu.weight")
        cpus = file_of(session, ref, "cpuset", "cpuset.cpus", "cpuset.cpus")
        shares.write_text("2000")
        await sweeps(session, 3)
        (drift,) = session.drift[ref]
        assert drift.name is LimitName.CPU_SHARES
        everything = (cpus.parent / "cpuset.cpus.effective" if cpus.read_text().strip() == "" else cpus).read_text()
        if everything.strip() == "0":
            return  # a machine with one CPU
        cpus.write_text("0")
        await sweeps(session, 3)
        told = {drift.name: drift.kernel for drift in session.drift[ref]}
        assert told.keys() == {LimitName.CPU_SHARES, LimitName.CPUSET_CPUS}
        assert told[LimitName.CPUSET_CPUS] == "0"
        assert (await session.update(ref, session.expected(ref))).ok
        await sweeps(session, 3)
        assert not session.drift


async def test_an_update_by_dockers_client_is_a_mark_and_no_drift(daemon: Dockerd) -> None:
    if shutil.which("docker") is None:
        missing("docker", "its client is not installed")
    async with watched(daemon, LimitChange(cpus=0.5, memory=64 * MB)) as (session, ref):
        await by_client(daemon, ref, "--cpus", "0.25", "--cpu-shares", "300")
        await sweeps(session, 4)
        held = await session.limits(ref)
        assert held.cpus == 0.25
        assert not session.drift
        assert annotation_text(session.history.annotations(ref)[-1]) == "limits changed"

        assert (await session.update(ref, LimitChange(pids=50))).ok
        await by_client(daemon, ref, "--memory", "96m", "--memory-swap", "96m")
        await sweeps(session, 4)
        assert (await session.limits(ref)).memory == 96 * MB
        assert not session.drift

        await by_client(daemon, ref, "--pids-limit", "60")
        await sweeps(session, 3)
        assert [(drift.name, drift.expected, drift.kernel) for drift in session.drift[ref]] == [
            (LimitName.PIDS, 50, 60)
        ]
        session.accept(ref)
        await sweeps(session, 3)
        assert not session.drift


async def test_limits_that_docker_cannot_record_are_no_drift_in_a_later_dashboard(daemon: Dockerd) -> None:
    limits = LimitChange(cpus=0.5, memory=64 * MB, memory_reservation=32 * MB)
    async with watched(daemon, limits) as (session, ref):
        lift = LimitChange(cpus=UNLIMITED, cpu_period=50_000, memory_reservation=UNLIMITED)
        outcome = await session.update(ref, lift)
        assert outcome.ok, outcome
        async with later(DockerEngine(Endpoint(daemon.url, "the test")), ref) as second:
            assert not second.drift


async def test_updates_that_podman_does_not_record_are_no_drift_in_a_later_dashboard() -> None:
    with podmand(scratch("podman")) as daemon:
        async with settled(PodmanEngine(Endpoint(daemon.url, "the test")), LimitChange(cpus=0.5)) as (session, ref):
            await asyncio.to_thread(daemon.cli, "update", "--cpus", "0.25", "--cpu-shares", "300", ref.id)
            await sweeps(session, 3)
            assert (await session.limits(ref)).cpus == 0.25
            told = {drift.name for drift in session.drift.get(ref, ())}
            keeps = not session.capabilities[ref.engine].unrecorded
            assert told == (set() if keeps else {LimitName.CPUS, LimitName.CPU_SHARES})
            assert (await session.update(ref, LimitChange(pids=50))).ok
            async with later(PodmanEngine(Endpoint(daemon.url, "the test")), ref) as second:
                assert not second.drift
                pids_file(pid_of(second, ref)).write_text("40")
                await sweeps(second, 3)
                (drift,) = second.drift[ref]
                assert (drift.name, drift.expected, drift.kernel) == (LimitName.PIDS, 50, 40)


@asynccontextmanager
async def later(engine: Engine, ref: ContainerRef) -> AsyncIterator[Session]:
    """Another dashboard, some sweeps after its start."""
    session = Session([engine], interval=0.5)
    await session.start()
    try:
        await until(lambda: session.frame is not None and ref in session.frame.usages, 20)
        await asyncio.sleep(4)
        assert not session.problems
        yield session
    finally:
        await session.close()


async def by_client(daemon: Dockerd, ref: ContainerRef, *options: str) -> None:
    command = ["docker", "-H", daemon.url, "update", *options, ref.id]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=20)


async def test_a_slice_is_measured_and_limited_as_a_whole(daemon: Dockerd) -> None:
    engine = DockerEngine(Endpoint(daemon.url, "the test"))
    await engine.import_image(IMAGE, busybox_rootfs())
    above = f"/{daemon.name}/batch"
    command = ["docker", "-H", daemon.url, "run", "-d", "--network", "none", "--cgroup-parent", above, IMAGE]
    session = Session([engine], interval=0.3)
    try:
        for _ in range(2):
            await asyncio.to_thread(
                subprocess.run, [*command, "sh", "-c", IDLE], check=True, capture_output=True, timeout=30
            )
        await session.start()
        await until(lambda: any(group.cgroup == above for group in session.groups.values()), 20)
        (group,) = session.groups.values()
        assert group.ref.kind is GroupKind.SLICE
        assert set(group.members) == {container.ref for container in await engine.containers()}
        await until(lambda: session.frame is not None and group.ref in session.frame.usages, 20)
        outcome = await session.update(group.ref, LimitChange(memory=300 * MB))
        assert outcome.ok
        await until(lambda: _memory_limit(session, group.ref) == 300 * MB, 20)
        await limited_members(engine, session)
    finally:
        for container in await engine.containers():
            await engine.remove(container.ref.id, force=True)
        await session.close()


def _memory_limit(session: Session, row: object) -> object:
    assert session.frame is not None
    return session.frame.usages[row].memory_limit  # type: ignore[index]


async def limited_members(engine: Engine, session: Session) -> None:
    """A limit of the group holds for its members too, and is no drift of theirs."""
    await asyncio.sleep(2.5)
    assert not session.drift
    for container in await engine.containers():
        held = await session.limits(container.ref)
        assert held.memory != 300 * MB
