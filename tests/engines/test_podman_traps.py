"""The known traps of Podman's API against the real service: each is shown as it is, and then what is made of it here.

Those of other versions are shown by the service of tests/unit/runtime/engines/podman/test_engine.py, for no other is
installed here.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime import limits
from runtime.engines import discovery
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.podman.engine import PodmanEngine
from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import ContainerRef, LimitChange, State, Verdict
from tests.conftest import need_root
from tests.engines.conftest import Subject
from tests.engines.podman_subject import podman
from tests.engines.test_podman import keeps, quota
from tests.engines.test_rollback import anothers_burst
from tests.podmand import Podmand
from tests.unit.runtime.engines.podman.test_engine import ID, Service

MB = 1024 * 1024


@pytest.fixture
def service(podman_service: Podmand) -> Podmand:
    return podman_service


@pytest.fixture
async def subject(service: Podmand) -> AsyncIterator[Subject]:
    async with podman(service) as made:
        yield made


async def posted(service: Podmand, path: str, **body: object) -> int:
    """The status with which a request is answered, sent word by word as another program would."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", str(service.socket)]
    command += ["-X", "POST", "-H", "Content-Type: application/json", "-d", json.dumps(body), f"http://podman{path}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=30)
    return int(done.stdout)


async def test_dockers_way_of_an_update_does_nothing_and_libpods_does(subject: Subject, service: Podmand) -> None:
    """Trap: 4.3's emulation of Docker answers 404 to an update, 5.4's 200 without doing it: libpod's own is used."""
    ref = await subject.run("sleep 60")
    newer = await keeps(subject)
    status = await posted(service, f"/v1.41/containers/{ref.id}/update", NanoCpus=500_000_000)
    assert status == (200 if newer else 404)
    assert await quota(subject, ref) is None
    cpu = {"quota": 30_000, "period": 100_000}
    assert await posted(service, f"/v4.0.0/libpod/containers/{ref.id}/update", cpu=cpu) == 201
    assert await quota(subject, ref) == pytest.approx(0.3)
    assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5))).ok
    assert await quota(subject, ref) == pytest.approx(0.5)


async def test_inspect_shows_the_limits_of_the_creation_and_not_the_current_ones(
    subject: Subject, service: Podmand
) -> None:
    """Trap: 4.3's update is not in inspect. What a container has is read from the kernel, what it will have there."""
    ref = await subject.run("sleep 60", limits=LimitChange(memory=128 * MB))
    await asyncio.to_thread(service.cli, "update", "--memory", "64m", ref.id)
    inspected = json.loads(await asyncio.to_thread(service.cli, "inspect", ref.id))[0]["HostConfig"]["Memory"]
    kept = await keeps(subject)
    assert inspected == (64 * MB if kept else 128 * MB)
    (entry,) = (await subject.engine.update(ref.id, LimitChange(memory=96 * MB))).fields
    assert (entry.before, entry.kernel) == (64 * MB, 96 * MB)
    assert (entry.engine, entry.persistent) == ((96 * MB, True) if kept else (128 * MB, False))


async def test_a_change_of_limits_leaves_the_restart_policy(subject: Subject) -> None:
    """Trap: 5.8's emulation of Docker makes it "no" when it is left out. libpod's own update does not touch it."""
    ref = await subject.run("sleep 60", restart_policy="on-failure:3")
    assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5, memory=64 * MB))).ok
    assert (await subject.engine.get(ref.id)).restart_policy == "on-failure:3"


async def test_the_endpoint_of_podmans_own_client_is_found(service: Podmand, subject: Subject, tmp_path: Path) -> None:
    """Trap: CONTAINER_HOST, then CONTAINER_CONNECTION by a name that Podman itself has written down."""
    ref = await subject.run("sleep 60")
    conf = {"CONTAINERS_CONF": str(tmp_path / "containers.conf")}
    (tmp_path / "containers.conf").touch()
    for name, url in (("bench", service.url), ("nowhere", "unix:///nowhere/podman.sock")):
        command = service.command("system", "connection", "add", name, url)
        environ = {**service.environ, **conf, "HOME": str(tmp_path)}
        await asyncio.to_thread(subprocess.run, command, env=environ, check=True, capture_output=True, cwd="/")
    for environ in (
        {"CONTAINER_HOST": service.url, "CONTAINER_CONNECTION": "nowhere"},
        {"CONTAINER_CONNECTION": "bench"},
    ):
        engines = discovery.discover({"PYTOP_FOUND": "0", **conf, **environ}, home=tmp_path)
        (engine,) = [found for found in engines if isinstance(found, PodmanEngine)]
        try:
            assert (await engine.get(ref.id)).state is State.RUNNING, environ
        finally:
            for each in engines:
                await each.close()


@pytest.fixture
def cgroup_of_a_process() -> Iterator[tuple[Cgroup, int]]:
    """A process in a cgroup that is called as Podman would call it."""
    need_root("podman")
    hierarchies, name = cgroupfs.detect(), f"pytop-test-{uuid.uuid4().hex[:8]}"
    top, made = cgroups.create(hierarchies, name), cgroups.create(hierarchies, f"{name}/libpod-{ID}")
    process = subprocess.Popen(["sleep", "60"])
    try:
        cgroups.attach(made, process.pid)
        yield made, process.pid
    finally:
        process.kill()
        process.wait()
        cgroups.remove(made)
        cgroups.remove(top)


@pytest.mark.parametrize("version", ["4.3.1", "5.2.5", "5.8.2"])
async def test_what_was_recorded_of_a_change_that_fails_is_taken_back(
    cgroup_of_a_process: tuple[Cgroup, int], version: str
) -> None:
    """Trap: from 5.1 on a change is recorded, before 5.4 in the place of all that was. No such Podman is installed."""
    cgroup, pid = cgroup_of_a_process
    change = LimitChange(cpus=0.5, pids=50, cpu_burst=20_000)
    with tempfile.TemporaryDirectory(prefix="pytop-") as folder:
        service = Service(Path(folder), version=version, status="running", pid=pid)
        service.record = {"cpu": {"shares": 1024, "quota": 90_000, "period": 100_000}, "pids": {"limit": 99}}
        service.spec.write_text(json.dumps({"linux": {"resources": service.record}}))
        await service.start()
        engine = PodmanEngine(Endpoint(f"unix://{service.socket}", "the test"))
        try:
            limits.change(ContainerRef("podman", ID), cgroup, LimitChange(cpus=0.9, pids=99))
            before, record = limits.raw_files(cgroup), await engine.recorded(ID)
            async with anothers_burst(cgroup):
                outcome = await engine.update(ID, change)
            assert {field.name.value: field.verdict for field in outcome.fields} == {
                "cpus": Verdict.ROLLED_BACK,
                "pids": Verdict.ROLLED_BACK,
                "cpu_burst": Verdict.FAILED,
            }
            assert await engine.recorded(ID) == record
            assert limits.raw_files(cgroup) == before
            assert len(service.sent) == 2, "the change, and what takes it back"
        finally:
            await engine.close()
            await service.stop()
