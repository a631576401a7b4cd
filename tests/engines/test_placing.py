"""Where engines put containers that ask for no place: being there together makes no group."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.engines.protocol import Engine
from runtime.kernel import cgroupfs
from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import Container, GroupKind, Missing
from tests.conftest import missing
from tests.dockerd import Dockerd
from tests.engines.conftest import IMAGE, docker, embedded
from tests.engines.subject import IDLE, Needs, Subject
from tests.waiting import wait_until
from tui.core.inspector import Inspector
from tui.core.session import Session


async def groups(engine: Engine) -> dict[str, str]:
    """The groups of what this engine lists: name to own cgroup."""
    session = Session([engine], read_only=True)
    await session.refresh()
    await session.regroup()
    assert all(ref.kind is not GroupKind.POD for ref in session.groups)
    return {ref.name: group.cgroup for ref, group in session.groups.items()}


@contextmanager
def elsewhere(pid: int) -> Iterator[str]:
    """A process in cgroups of another name, as a service manager may have moved it."""
    name = f"pytop-moved-{pid}"
    hierarchies = cgroupfs.detect()
    mounts = {mount.path: mount for mount in (*hierarchies.v1.values(), hierarchies.unified) if mount is not None}
    made = [top / name for top in mounts if top != getattr(hierarchies.v1.get("cpuset"), "path", None)]
    try:
        for directory in made:
            directory.mkdir()
        for top in mounts:
            directory = top / name if top / name in made else top
            (directory / "cgroup.procs").write_text(str(pid))
        yield name
    finally:
        for directory in made:
            wait_until(lambda each=directory: not (each / "cgroup.procs").read_text(), 10)  # type: ignore[misc]
            directory.rmdir()


async def test_a_container_that_was_moved_says_why_and_keeps_what_needs_no_cgroup(subject: Subject) -> None:
    """What it burns is counted by its processes; no limit is written to the cgroup that it was moved to."""
    subject.need(Needs.CGROUPS)
    ref = await subject.run("while :; do :; done")
    pid = await subject.pid(ref)
    with elsewhere(pid) as name:
        try:
            moved = await subject.engine.get(ref.id)
            assert (moved.pid, moved.cgroup) == (pid, NO_OWN)
            assert f"process {pid} was moved to the cgroup" in moved.unplaced
            assert name in moved.unplaced
            assert (await Inspector().limits(moved)).pids is Missing.UNSUPPORTED
            assert pid in {process.pid for process in await Inspector().processes(moved)}
            assert (await Inspector().isolation(moved)).namespaces
            assert 0.1 < await asyncio.to_thread(burnt, moved) < 1.2
        finally:
            await asyncio.wait_for(subject.engine.remove(ref.id, force=True), 20)


def burnt(container: Container) -> float:
    """Cores, over a second."""
    sweeper = Sweeper()
    try:
        assert container.pid is not None
        targets = [Target(container.ref, container.pid, container.cgroup)]
        sweeper.sweep(targets)
        time.sleep(1)
        cpu = sweeper.sweep(targets).usages[container.ref].cpu
        assert isinstance(cpu, float)
        return cpu
    finally:
        sweeper.close()


async def test_an_engines_default_cgroup_parent_is_no_group(subject: Subject) -> None:
    subject.need(Needs.CGROUPS)
    await subject.run()
    await subject.run()
    assert await groups(subject.engine) == {}


async def test_an_engines_default_parent_with_another_name_is_no_group() -> None:
    async with embedded(cgroup="jobs") as subject:
        labels = {"com.docker.compose.project": "shop"}
        members = [await subject.run(labels=labels), await subject.run(labels=labels)]
        for ref in members:
            assert (await subject.engine.inspect(ref.id))["paths"]["cgroup"].startswith("jobs-")
        assert await groups(subject.engine) == {"shop": ""}
        await subject.run()
        await subject.run()
        assert await groups(subject.engine) == {"shop": ""}


async def test_a_requested_cgroup_parent_is_a_group(daemon: Dockerd) -> None:
    if shutil.which("docker") is None:
        missing("docker", "the docker client is not installed")
    above = f"/{daemon.name}/batch"
    async with docker(daemon) as subject:
        options = ("run", "-d", "--network", "none", "--cgroup-parent", above, IMAGE, "sh", "-c", IDLE)
        for _ in range(2):
            await asyncio.to_thread(
                subprocess.run,
                ["docker", "-H", daemon.url, *options],
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=30,
            )
        await subject.run()
        await subject.run()
        assert await groups(subject.engine) == {above.lstrip("/"): above}
