# ruff: noqa: ASYNC220  (the tests look at the engine from outside, with patience)
"""kill -9 of the app, a shim, the zygote, at any moment: nothing is lost and nothing is left."""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.process import launcher
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.state.record import dumps
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import ConflictError
from runtime.kernel import cgroupfs, cgroups
from runtime.model import ContainerRef, ContainerSpec, State
from tests import loops, waiting
from tests.integration.embedded import instance, named, output, run, sh, until

pytestmark = pytest.mark.root

COUNT = "i=0; while [ $i -lt {n} ]; do echo $i; i=$((i+1)); {pause}done; exit 9"
PLUMBING = ("pytop-shim", "pytop-zygote")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


def kill(where: EmbeddedConfig, name: str) -> int:
    """kill -9 of all of this instance's processes of that name (the init of a container has another)."""
    found = []
    for pid in named(where, name):
        with suppress(ProcessLookupError):
            found.append(os.pidfd_open(pid))
            os.kill(pid, signal.SIGKILL)
    for fd in found:
        assert select.select([fd], [], [], 5)[0], "it does not die"
        os.close(fd)
    return len(found)


async def fresh(engine: EmbeddedEngine) -> EmbeddedEngine:
    """Another app on the same instance; it reconciles on its first look."""
    other = EmbeddedEngine(engine.config)
    await other.containers()
    return other


async def test_a_killed_shim_loses_neither_container_nor_log_nor_status(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, COUNT.format(n=300, pause="sleep 0.005; "))
    pid = (await engine.get(ref.id)).pid
    for _ in range(6):
        await asyncio.sleep(0.15)
        assert kill(engine.config, "pytop-shim") == 1
        await (await fresh(engine)).close()
        assert (await engine.get(ref.id)).pid == pid
    assert await output(engine, ref) == [str(i) for i in range(300)]
    assert await engine.wait(ref.id) == 9


@pytest.mark.parametrize("ended", [False, True])
async def test_a_killed_shim_gets_one_successor_although_many_look_at_once(engine: EmbeddedEngine, ended: bool) -> None:
    """Each look requests a shim; all but one of these end, and no look waits for them.

    The kind, a lock that is waited for without bound, was looked for in every caller of `shim_lock` and `operation`.
    """
    ref = await sh(engine, "echo up; exec sleep 100")
    for turn in range(5):
        assert kill(engine.config, "pytop-shim") == 1
        pid = (await asyncio.to_thread(RecordStore(engine.config).read, ref.id)).pid
        if ended and turn == 4:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        others = [EmbeddedEngine(engine.config) for _ in range(4)]
        begun = asyncio.get_running_loop().time()
        states = [found.state for each in await asyncio.gather(*(o.containers() for o in others)) for found in each]
        assert asyncio.get_running_loop().time() - begun < 5
        assert set(states) == {State.EXITED if ended and turn == 4 else State.RUNNING}
        shims = 0 if ended and turn == 4 else 1
        await waiting.until(lambda shims=shims: len(named(engine.config, "pytop-shim")) == shims, 3, "one shim is left")
        for other in others:
            await other.close()
    await engine.remove(ref.id, force=True)


async def test_a_start_is_waited_for_as_long_as_it_takes(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is told as failed would run all the same; a look at containers goes on without the shim meanwhile."""
    monkeypatch.setattr(launcher, "_ANSWER_TIMEOUT_S", 0.3, raising=False)
    first = await run(engine, "sleep", "100")
    second = await engine.create(ContainerSpec("host", ("sleep", "100"), network="none"))
    kill(engine.config, "pytop-shim")
    await waiting.until(lambda: named(engine.config, "pytop-prefork"), 5, "there is a preforked shim")
    (preforked,) = named(engine.config, "pytop-prefork")
    os.kill(preforked, signal.SIGSTOP)
    try:
        starting = asyncio.create_task(engine.start(second.id))
        looked = await asyncio.wait_for(engine.get(first.id), 8)
        assert looked.state is State.RUNNING
        await asyncio.sleep(0.5)
        assert not starting.done()
    finally:
        os.kill(preforked, signal.SIGCONT)
    await starting
    assert (await engine.get(second.id)).state is State.RUNNING


async def test_a_talkative_container_blocks_rather_than_loses(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, COUNT.format(n=60000, pause=""))
    for _ in range(8):
        await asyncio.sleep(random.uniform(0.01, 0.1))
        kill(engine.config, "pytop-shim")
        await (await fresh(engine)).close()
    assert await output(engine, ref) == [str(i) for i in range(60000)]
    assert await engine.wait(ref.id) == 9


async def test_a_container_that_ends_without_a_shim(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "sleep 0.3; echo late; echo last words >&2; exit 42")
    kill(engine.config, "pytop-shim")
    kill(engine.config, "pytop-zygote")
    await asyncio.sleep(0.6)
    other = await fresh(engine)
    assert await other.wait(ref.id) == 42
    assert await output(other, ref) == ["late"]
    assert await output(other, ref, "stderr") == ["last words"]
    await other.close()


async def test_waiting_survives_the_shim(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "sleep 0.6; exit 6")
    waiting = asyncio.create_task(engine.wait(ref.id))
    await asyncio.sleep(0.1)
    kill(engine.config, "pytop-shim")
    assert await asyncio.wait_for(waiting, 10) == 6


async def test_verbs_after_the_shim_was_killed(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100")
    kill(engine.config, "pytop-shim")
    await engine.stop(ref.id, timeout=1)
    assert (await engine.get(ref.id)).exit_code == 143
    await engine.start(ref.id)
    kill(engine.config, "pytop-shim")
    kill(engine.config, "pytop-zygote")
    await engine.remove(ref.id, force=True)


async def test_a_killed_init_is_reported_as_killed(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100")
    kill(engine.config, "pytop-shim")
    pid = (await engine.get(ref.id)).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    other = await fresh(engine)
    await until(other, ref, State.EXITED)
    assert (await other.get(ref.id)).exit_code == 137
    await other.close()


async def test_restarts_survive_a_killed_shim(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "sleep 0.2; exit 1", restart_policy="always")
    kill(engine.config, "pytop-shim")
    await asyncio.sleep(0.5)
    other = await fresh(engine)

    async def again() -> bool:
        return (await other.inspect(ref.id))["restarts"] >= 2

    await waiting.until(again)
    await other.remove(ref.id, force=True)
    await other.close()


async def test_another_boot_ends_what_ran(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100")
    record = RecordStore(engine.config).read(ref.id)
    await engine.stop(ref.id, timeout=1)
    old = replace(record, boot_id="00000000-0000-0000-0000-000000000000", pid=1, pid_start=1)
    engine.config.record(ref.id).write_bytes(dumps(old))
    other = await fresh(engine)
    after = await other.get(ref.id)
    assert (after.state, after.pid) == (State.EXITED, None)
    assert "restarted" in after.error
    await other.start(ref.id)
    await other.close()


@pytest.mark.parametrize("everywhere", [True, False], ids=["all hierarchies", "one hierarchy"])
async def test_empty_cgroups_of_a_container_that_does_not_run_are_removed(
    engine: EmbeddedEngine, everywhere: bool
) -> None:
    """A helper that was killed at its end left them. Looked for elsewhere: `test_orphans_are_swept`."""
    ref = await engine.create(ContainerSpec("host", ("true",), name="once"))
    made = cgroups.create(cgroupfs.detect(), engine.config.cgroup_of(ref.id))
    if not everywhere:
        for directory in made.directories[1:]:
            directory.rmdir()
    await (await fresh(engine)).close()
    assert not cgroups.exists(made)
    assert (await engine.get(ref.id)).state is State.CREATED


async def test_orphans_are_swept(engine: EmbeddedEngine) -> None:
    ref = await engine.create(ContainerSpec("host", ("true",)))
    stranger = "ab" * 32
    config = engine.config
    config.data(stranger).mkdir(parents=True)
    config.live(stranger).mkdir(parents=True)
    from runtime.kernel import cgroups

    cgroup = cgroups.create(cgroupfs.detect(), config.cgroup_of(stranger))
    await (await fresh(engine)).close()
    assert not config.data(stranger).exists()
    assert not config.live(stranger).exists()
    assert not any(path.exists() for path in cgroup.directories)
    assert config.data(ref.id).exists()


APP = """
import asyncio, sys
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.errors import PytopError
from runtime.model import ContainerSpec
async def main():
    engine = EmbeddedEngine(EmbeddedConfig.from_json(sys.argv[1]))
    network = sys.argv[2]
    for turn in range(1000):
        command = ("/bin/sh", "-c", "echo up; sleep 0.02; exit 3")
        ref = await engine.create(ContainerSpec("host", command, network=network))
        print(ref.id, flush=True)
        await engine.start(ref.id)
        if turn % 3 == 0:
            await engine.wait(ref.id)
        await engine.remove(ref.id, force=True)
try:
    asyncio.run(main())
except PytopError as error:
    sys.exit(str(error))
"""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["app", *PLUMBING])
async def test_killed_at_random_moments(engine: EmbeddedEngine, victim: str) -> None:
    """Many lives, each cut short somewhere; afterwards every record is true and only recorded things exist."""
    generator = random.Random(victim)
    for turn in range(loops.cycles(12, least=4)):  # every fourth has a network
        network = "bridge" if turn % 4 == 3 else "none"
        app = subprocess.Popen(
            [sys.executable, "-c", APP, engine.config.to_json(), network],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert app.stdout is not None
        try:
            assert await asyncio.to_thread(app.stdout.readline)
            await asyncio.sleep(generator.uniform(0, 0.25))
            if victim == "app":
                app.kill()
            else:
                for _ in range(4):
                    kill(engine.config, victim)
                    await asyncio.sleep(generator.uniform(0, 0.05))
        finally:
            app.kill()
            _, said = await asyncio.to_thread(app.communicate)
        assert "Traceback" not in said, said
        other = await fresh(engine)
        await settled(other)
        await other.close()


async def started(engine: EmbeddedEngine, ref: ContainerRef) -> None:
    """Start it when it is at rest; a start that the killed app had asked for may come through just then."""
    for _ in range(3):
        await until(engine, ref, State.CREATED, State.EXITED)
        code = (await engine.get(ref.id)).exit_code
        assert code in (None, 3, 137, 128), code
        try:
            await engine.start(ref.id)
            return
        except ConflictError as error:
            if "running already" not in str(error):
                raise
    pytest.fail(f"{ref.short} runs again and again")


async def settled(engine: EmbeddedEngine) -> None:
    """Every container comes to rest, can be started or removed, and then nothing of it is there."""
    for container in await engine.containers():
        ref = container.ref
        try:
            await started(engine, ref)
            assert await engine.wait(ref.id) == 3
            assert (await output(engine, ref))[-1] == "up"
        finally:
            await engine.remove(ref.id, force=True)
    # The engine reconciles once; a second app sweeps what vanished records have left.
    other = await fresh(engine)
    await other.close()
    hierarchies = cgroupfs.detect()
    for directory in sandbox_cgroup.find(hierarchies, engine.config.cgroup).directories:
        if directory.exists():
            below = {entry.name for entry in directory.iterdir() if entry.is_dir()}
            assert below <= {"runtime"}, "no container's, only that of zygote and shims"
    assert os.listdir(engine.config.state / "data") == []
    assert [name for name in os.listdir(engine.config.run) if len(name) == 64] == []
