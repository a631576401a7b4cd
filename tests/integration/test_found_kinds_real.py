"""What others have started, found without asking them: runc by hand, a Docker of its own, qemu; and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.found.engine import FoundEngine
from runtime.engines.protocol import Engine
from runtime.errors import UnsupportedError
from runtime.kernel import cgroups
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Container, ContainerKind, ContainerSpec, LimitChange, State, Verb
from tests.conftest import missing
from tests.dockerd import busybox_rootfs, dockerd
from tests.integration.place import Place, file, place
from tests.waiting import until
from tui.core.session import Session

IMAGE = "busybox:latest"
MIB = 1 << 20


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture
async def engine() -> AsyncIterator[FoundEngine]:
    made = FoundEngine()
    yield made
    await made.close()


async def appeared(engine: FoundEngine, place: Place) -> Container:
    """The one container below the test's own cgroup."""
    found: list[Container] = []

    async def there() -> bool:
        found[:] = [c for c in await engine.containers() if f"/{place.name}/" in c.cgroup]
        return bool(found)

    await until(there)
    (container,) = found
    return container


async def frozen_limited_and_let_go(engine: FoundEngine, container: Container, cgroup: Cgroup) -> None:
    """All that the kernel can do short of an end, each time read back from its files."""
    await engine.pause(container.ref.id)
    assert cgroups.is_frozen(cgroup)
    assert (await engine.get(container.ref.id)).state is State.PAUSED
    await engine.unpause(container.ref.id)
    assert not cgroups.is_frozen(cgroup)
    outcome = await engine.update(container.ref.id, LimitChange(cpus=0.5, memory=512 * MIB, pids=77))
    assert outcome.ok
    assert file(cgroup, "cpu", "cpu.cfs_quota_us", "cpu.max") == "50000"
    assert file(cgroup, "memory", "memory.limit_in_bytes", "memory.max") == str(512 * MIB)
    assert file(cgroup, "pids", "pids.max", "pids.max") == "77"


# runc by hand


@pytest.fixture
def bundle(tmp_path: Path, here: Place) -> Path:
    """A container for runc that sleeps, in a cgroup of the test's with a name that tells nothing."""
    if shutil.which("runc") is None:
        missing("runc", "runc is not installed")
    with tarfile.open(fileobj=io.BytesIO(busybox_rootfs())) as archive:
        archive.extractall(tmp_path / "rootfs", filter="fully_trusted")
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True, timeout=10)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
    config["linux"]["cgroupsPath"] = f"/{here.name}/job"
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


async def test_a_container_of_runcs(here: Place, engine: FoundEngine, bundle: Path) -> None:
    name = here.name
    runc = here.run("runc", "--root", str(bundle / "runc"), "run", "--bundle", str(bundle), name)

    async def runs() -> bool:
        return any(c.command == ("sleep", "1000") and here.name in c.cgroup for c in await engine.containers())

    await until(runs)
    container = await appeared(engine, here)
    assert container.cgroup == f"/{here.name}/job"
    assert (container.kind, container.found) == (ContainerKind.CONTAINER, "its PID namespace")
    told = await asyncio.to_thread(
        subprocess.check_output, ["runc", "--root", str(bundle / "runc"), "state", name], timeout=10
    )
    assert container.pid == json.loads(told)["pid"]
    assert container.name == f"sleep-{container.pid}"
    await frozen_limited_and_let_go(engine, container, here.make("job"))
    await engine.kill(container.ref.id)
    assert await asyncio.to_thread(runc.wait, 10) == 128 + 9


# a Docker that nobody has told this program of


async def listed(*engines: Engine) -> list[Container]:
    session = Session([*engines, FoundEngine()], read_only=True)
    await session.refresh()
    return list(session.containers.values())


async def test_dockers_container_is_found_until_docker_lists_it(engine: FoundEngine) -> None:
    with tempfile.TemporaryDirectory(prefix="ptd-", ignore_cleanup_errors=True) as folder, dockerd(Path(folder)) as own:
        docker = DockerEngine(Endpoint(own.url, "the test"))
        try:
            await docker.import_image(IMAGE, busybox_rootfs())
            ref = await docker.create(ContainerSpec(IMAGE, ("sleep", "1000"), name="web", network="none"))
            await docker.start(ref.id)
            pid = (await docker.get(ref.id)).pid
            assert pid is not None
            (alone,) = [c for c in await listed() if c.ref.id == ref.id or c.pid == pid]
            assert (alone.ref.engine, alone.pid, alone.state) == ("found", pid, State.RUNNING)
            (claimed,) = [c for c in await listed(docker) if c.ref.id == ref.id or c.pid == pid]
            assert (claimed.ref, claimed.name) == (ref, "web")

            await engine.pause(ref.id)  # what the kernel does, Docker's container feels
            assert (await engine.get(ref.id)).state is State.PAUSED
            await engine.unpause(ref.id)
            await engine.kill(ref.id)
            assert await asyncio.wait_for(docker.wait(ref.id), 10) == 128 + 9
            await docker.remove(ref.id, force=True)
        finally:
            await docker.close()


# a virtual machine


async def test_a_machine_is_frozen_and_limited_and_not_stopped(here: Place, engine: FoundEngine) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        missing("qemu", "qemu-system-x86_64 is not installed")
    options = ("-S", "-display", "none", "-machine", "none", "-nodefaults")
    cgroup, qemu = here.enter("machine-qemu\\x2d1\\x2ddb.scope", "qemu-system-x86_64", *options)
    container = await appeared(engine, here)
    assert (container.name, container.kind, container.pid) == ("db", ContainerKind.VM, qemu.pid)
    await frozen_limited_and_let_go(engine, container, cgroup)
    with pytest.raises(UnsupportedError) as refused:
        await engine.stop(container.ref.id, timeout=0)
    session = Session([engine])
    await session.refresh()
    assert (refusal := session.why_not(container.ref, Verb.STOP)) is not None
    assert refusal.detail == refused.value.detail
    assert "power cut" in refused.value.detail
    with pytest.raises(UnsupportedError, match="power cut"):
        await session.perform(container.ref, Verb.STOP)
    assert qemu.poll() is None
    await session.perform(container.ref, Verb.KILL)
    assert await asyncio.to_thread(qemu.wait, 10) == -9
    await session.close()


# where this program itself lives

_TRY = """
import asyncio, math, os, subprocess, sys
from runtime.engines.found.engine import FoundEngine
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups
from runtime.model import LimitChange

own, other, identity, generation = sys.argv[1:]

def move(name):
    cgroups.attach(cgroups.create(cgroupfs.detect(), name), os.getpid())

async def attempt():
    engine = FoundEngine()
    await engine.get(identity)
    if generation == "itself":
        move(own)  # after the look, which would have left it out
    engine._scanned_at = math.inf
    for work in (
        engine.pause(identity),
        engine.update(identity, LimitChange(pids=5)),
        engine.kill(identity),
        engine.kill(identity, "TERM"),
        engine.stop(identity, timeout=0),
    ):
        try:
            await work
        except PytopError as error:
            print(type(error).__name__, error.detail)
        else:
            print("done")

if generation == "parent":
    move(own)
    subprocess.run([sys.executable, __file__, own, other, identity, "child"], check=True)
elif generation == "child":
    move(other)
    asyncio.run(attempt())
else:
    asyncio.run(attempt())
print("alive")
"""


@pytest.mark.parametrize("generation", ["itself", "parent"])
async def test_where_this_program_lives_nothing_is_done(
    here: Place, engine: FoundEngine, tmp_path: Path, generation: str
) -> None:
    """A program that moves into a container's cgroup, or was started from there, tries each verb on it."""
    identity = secrets.token_hex(32)
    cgroup, other = here.enter(f"docker-{identity}.scope", "sleep", "1000")
    script = tmp_path / "try.py"
    script.write_text(_TRY)
    names = (f"{here.name}/docker-{identity}.scope", f"{here.name}/elsewhere")
    root = Path(__file__).parents[2]
    child = here.run(
        *(sys.executable, str(script), *names, identity, generation),
        cwd=root,
        env={"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = await asyncio.to_thread(child.communicate, timeout=30)
    refused = ["RefusedError this program runs in there, or what it was started from"] * 5
    assert out.splitlines() == [*refused, *["alive"] * (1 if generation == "itself" else 2)]
    assert child.returncode == 0
    assert other.poll() is None
    assert not cgroups.is_frozen(cgroup)
    assert file(cgroup, "pids", "pids.max", "pids.max") == "max"
    assert (await engine.get(identity)).state is State.RUNNING
