# ruff: noqa: ASYNC220  (nothing else is going on)
"""Real processes in cgroups and namespaces of their own, without any engine: found, frozen, limited, killed."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.found.engine import FoundEngine
from runtime.errors import ConflictError, NotFoundError, UnsupportedError
from runtime.kernel import cgroupfs, cgroups, own_cgroup
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Container, ContainerKind, ContainerRef, ContainerSpec, LimitChange, LimitName, State, Verb
from tests.conftest import missing, need_root
from tests.integration.embedded import instance
from tests.integration.place import Place, file, place
from tests.waiting import until
from tui.core.session import Session

CPU_HALF = "50000"


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture
async def engine() -> AsyncIterator[FoundEngine]:
    made = FoundEngine()
    yield made
    await made.close()


async def one(engine: FoundEngine, identity: str) -> Container | None:
    try:
        return await engine.get(identity)
    except NotFoundError:
        return None


async def test_found_frozen_limited_and_killed(here: Place, engine: FoundEngine) -> None:
    identity = secrets.token_hex(32)
    cgroup, process = here.enter(f"docker-{identity}.scope", "sleep", "1000")
    found = await engine.get(identity[:12])
    assert (found.name, found.pid, found.state) == (f"docker-{identity[:12]}", process.pid, State.RUNNING)
    assert found.command == ("sleep", "1000")
    assert "cgroup docker-" in found.found
    outcome = await engine.update(identity, LimitChange(cpus=0.5, pids=33))
    assert outcome.ok
    assert [field.persistent for field in outcome.fields] == [False, False]
    assert file(cgroup, "cpu", "cpu.cfs_quota_us", "cpu.max") == CPU_HALF
    assert file(cgroup, "pids", "pids.max", "pids.max") == "33"
    await engine.pause(identity)
    assert cgroups.is_frozen(cgroup)
    assert (await engine.get(identity)).state is State.PAUSED
    with pytest.raises(ConflictError):
        await engine.pause(identity)
    await engine.unpause(identity)
    assert not cgroups.is_frozen(cgroup)
    await engine.pause(identity)
    await engine.kill(identity)  # frozen or not
    assert process.wait(10) == -9
    await until(lambda: gone(engine, identity))


async def gone(engine: FoundEngine, identity: str) -> bool:
    return await one(engine, identity) is None


async def test_a_stop_asks_first(here: Place, engine: FoundEngine) -> None:
    identity = secrets.token_hex(32)
    _, process = here.enter(f"libpod-{identity}", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    await asyncio.sleep(0.3)
    await engine.stop(identity, timeout=5)
    assert process.wait(10) == 3


async def test_an_init_that_moved_below_is_measured_and_limited_by_its_own_cgroup(
    here: Place, engine: FoundEngine
) -> None:
    if cgroupfs.detect().mode is cgroupfs.Mode.V2:
        missing("cgroup v1", "on pure v2 only a delegated cgroup has others below it")
    cgroup, _ = here.enter("lxc.payload.box/init.scope", "sleep", "1000")
    found = await engine.get("box")
    assert found.cgroup.endswith(f"{here.name}/lxc.payload.box")
    assert (await engine.update("box", LimitChange(pids=44))).ok
    inner = cgroup.where("pids")
    assert inner is not None
    assert (inner[0].parent / "pids.max").read_text().strip() == "44"
    assert (inner[0] / "pids.max").read_text().strip() == "max"


async def test_a_pid_namespace_alone_is_a_container_that_shares_its_cgroup(engine: FoundEngine) -> None:
    need_root("embedded")
    outer = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "1003"], stdin=subprocess.DEVNULL)
    try:
        found: list[Container] = []

        async def there() -> bool:
            found[:] = [c for c in await engine.containers() if c.command == ("sleep", "1003")]
            return bool(found)

        await until(there)
        (container,) = found
        assert container.found.startswith("its PID namespace; it shares its cgroup")
        assert container.cgroup == own_cgroup.NO_OWN
        for refused in (engine.pause(container.ref.id), engine.update(container.ref.id, LimitChange(pids=44))):
            with pytest.raises(UnsupportedError) as said:
                await refused
            assert "no cgroup of its own" in said.value.detail
        await engine.kill(container.ref.id)
        assert outer.wait(10) != 0
    finally:
        outer.kill()
        outer.wait()


async def test_a_virtual_machine(here: Place, engine: FoundEngine) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        missing("qemu", "qemu-system-x86_64 is not installed")
    options = ("-S", "-display", "none", "-machine", "none", "-nodefaults")
    here.enter("machine-qemu\\x2d1\\x2ddb.scope", "qemu-system-x86_64", *options)
    here.enter("plain", "qemu-system-x86_64", *options)
    kinds: dict[str, ContainerKind] = {}

    async def both() -> bool:
        kinds.update({c.name: c.kind for c in await engine.containers()})
        return "db" in kinds and any(name.startswith("qemu-system") for name in kinds)

    await until(both)
    assert {kind for name, kind in kinds.items() if name == "db" or name.startswith("qemu-system")} == {
        ContainerKind.VM
    }


async def test_what_only_an_engine_can_is_refused_with_the_reason(here: Place, engine: FoundEngine) -> None:
    identity = secrets.token_hex(32)
    here.enter(f"crio-{identity}.scope", "sleep", "1000")
    able = await engine.capabilities()
    for verb, work in (
        (Verb.START, lambda: engine.start(identity)),
        (Verb.RESTART, lambda: engine.restart(identity)),
        (Verb.REMOVE, lambda: engine.remove(identity)),
        (Verb.WAIT, lambda: engine.wait(identity)),
        (Verb.CREATE, lambda: engine.create(ContainerSpec("x"))),
    ):
        with pytest.raises(UnsupportedError) as refused:
            await work()
        assert refused.value.detail == able.why_not(verb)
    assert (await engine.recorded(identity)).get(LimitName.CPUS) is not None


async def test_events_follow_within_a_second_or_so(here: Place, engine: FoundEngine) -> None:
    identity = secrets.token_hex(32)
    stream = engine.events()
    following = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.3)
    here.enter(f"docker-{identity}.scope", "sleep", "1000")
    while True:
        event = await asyncio.wait_for(following, 3)
        if event.ref.id == identity:
            break
        following = asyncio.ensure_future(anext(stream))
    assert event.kind.value == "started"
    await stream.aclose()  # type: ignore[attr-defined]


async def test_an_engines_container_is_not_shown_twice(tmp_path: Path) -> None:
    async with instance(tmp_path) as native:
        ref = await native.create(ContainerSpec("host", ("sleep", "1000"), network="none"))
        await native.start(ref.id)
        alone, both = await listed(), await listed(native)
        assert [c.ref.engine for c in alone if c.ref.id == ref.id] == ["found"]
        assert next(c.found for c in alone if c.ref.id == ref.id)
        assert [c.ref.engine for c in both if c.ref.id == ref.id] == ["embedded"]
        assert len({c.pid for c in both if c.pid is not None}) == len([c for c in both if c.pid is not None])


async def listed(*engines: EmbeddedEngine) -> list[Container]:
    session = Session([*(EmbeddedEngine(engine.config) for engine in engines), FoundEngine()], read_only=True)
    await session.refresh()
    try:
        return list(session.containers.values())
    finally:
        await session.close()


async def test_what_holds_this_program_is_never_touched(here: Place, engine: FoundEngine) -> None:
    """A child that lists what is found, in a cgroup that looks like a container's."""
    identity = secrets.token_hex(32)
    code = (
        "import asyncio, sys; sys.stdin.read(1)\n"
        "from runtime.engines.found.engine import FoundEngine\n"
        "print([c.ref.id for c in asyncio.run(FoundEngine().containers())])\n"
    )
    cgroup = here.make(f"docker-{identity}.scope")
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    cgroups.attach(cgroup, child.pid)
    out, _ = child.communicate("x", timeout=30)
    assert identity not in out
    assert ContainerRef("found", identity) not in {c.ref for c in await engine.containers()}


async def test_a_scan_costs_little(engine: FoundEngine) -> None:
    await engine.containers()
    begun = os.times()
    for _ in range(5):
        await engine._scan(older_than=0)
    spent = os.times()
    assert (spent.user + spent.system - begun.user - begun.system) / 5 < 0.1


def test_a_threaded_cgroup_is_not_taken_for_empty(tmp_path: Path) -> None:
    """The kernel refuses to list the processes of one: their domain above lists them, and it itself says nothing."""
    need_root("embedded")
    subprocess.run(["mount", "-t", "cgroup2", "none", str(tmp_path)], check=True)
    domain = tmp_path / f"pytopf{secrets.token_hex(3)}"
    threaded = domain / "threaded"
    process = subprocess.Popen(["sleep", "60"])
    try:
        threaded.mkdir(parents=True)
        (domain / "cgroup.procs").write_text(str(process.pid))
        (threaded / "cgroup.type").write_text("threaded")
        (threaded / "cgroup.threads").write_text(str(process.pid))
        assert cgroups.known_pids(Cgroup({}, threaded)) is None
        assert cgroups.known_pids(Cgroup({}, domain)) == {process.pid}
    finally:
        process.kill()
        process.wait()
        for directory in (threaded, domain):
            if directory.is_dir():
                directory.rmdir()
        subprocess.run(["umount", str(tmp_path)], check=True)
