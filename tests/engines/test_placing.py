"""Where engines put containers that ask for no place: being there together makes no group."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

from runtime.engines.protocol import Engine
from runtime.model import GroupKind
from tests.conftest import missing
from tests.dockerd import Dockerd
from tests.engines.conftest import IMAGE, docker, embedded
from tests.engines.subject import IDLE, Needs, Subject
from tui.core.session import Session


async def groups(engine: Engine) -> dict[str, str]:
    """The groups of what this engine lists: name to own cgroup."""
    session = Session([engine], read_only=True)
    await session.refresh()
    await session.regroup()
    assert all(ref.kind is not GroupKind.POD for ref in session.groups)
    return {ref.name: group.cgroup for ref, group in session.groups.items()}


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
