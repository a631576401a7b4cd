# ruff: noqa: ASYNC220, ASYNC240  (the tests look at the engine from outside, with patience)
"""Containers that run while their record is damaged, old or not written yet: they are known, ended and removed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.errors import EngineError
from runtime.kernel import cgroupfs, cgroups
from runtime.model import ContainerSpec, LimitChange, State
from tests import waiting
from tests.conftest import missing
from tests.integration.embedded import instance, named, processes_of, sh, until
from tests.integration.place import file

pytestmark = pytest.mark.root

IDLE = "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


async def up(engine: EmbeddedEngine, **fields: object) -> tuple[str, int]:
    ref = await sh(engine, IDLE, **fields)
    async for _ in engine.logs(ref.id, follow=True):
        break
    pid = (await engine.get(ref.id)).pid
    assert pid is not None
    return ref.id, pid


@pytest.mark.parametrize("content", [b"", b'{"id": "', b'{"format": 99, "spec": {"name": "odd"}}'])
async def test_a_container_with_a_damaged_record_is_limited_paused_stopped_and_removed(
    engine: EmbeddedEngine, content: bytes
) -> None:
    container_id, pid = await up(engine, name="odd", network="bridge")
    engine.config.record(container_id).write_bytes(content)
    other = EmbeddedEngine(engine.config)
    (listed,) = await other.containers()
    assert (listed.name, listed.state, listed.pid, listed.health) == ("odd", State.RUNNING, pid, "damaged")
    assert "its record is damaged" in listed.error
    cgroup = sandbox_cgroup.find(cgroupfs.detect(), engine.config.cgroup_of(container_id))
    outcome = await other.update("odd", LimitChange(pids=77))
    assert file(cgroup, "pids", "pids.max", "pids.max") == "77"
    assert outcome.ok
    assert outcome.fields[0].persistent is False
    assert "its record is damaged" in outcome.fields[0].detail
    await other.pause("odd")
    assert (await other.get("odd")).state is State.PAUSED
    await other.unpause("odd")
    assert (await other.inspect("odd"))["damage"] == listed.error
    await other.stop("odd", timeout=5)
    await waiting.until(lambda: not Path(f"/proc/{pid}").exists(), 5, "it has ended")
    await until(other, (await other.get("odd")).ref, State.DEAD)
    with pytest.raises(EngineError, match="its record is damaged"):
        await other.start("odd")
    await other.remove("odd")
    assert await other.containers() == []
    assert not engine.config.data(container_id).exists()
    assert not engine.config.live(container_id).exists()
    assert not cgroups.exists(cgroup)
    await other.close()


async def test_a_container_with_a_damaged_record_and_no_shim_is_removed_by_force(engine: EmbeddedEngine) -> None:
    container_id, pid = await up(engine, name="odd", network="bridge")
    for each in named(engine.config, "pytop-shim"):
        os.kill(each, signal.SIGKILL)
    engine.config.record(container_id).write_bytes(b"")
    other = EmbeddedEngine(engine.config)
    await other.remove("odd", force=True)
    assert not Path(f"/proc/{pid}").exists()
    assert await other.containers() == []
    assert [name for name in os.listdir("/sys/class/net") if name.startswith(engine.config.bridge + "-")] == []
    await other.close()


@pytest.mark.parametrize("shim", [True, False])
@pytest.mark.parametrize("before", ["another boot", "before the start"])
async def test_a_restored_record_does_not_hide_what_runs(engine: EmbeddedEngine, before: str, shim: bool) -> None:
    ref = await engine.create(ContainerSpec("host", ("/bin/sh", "-c", IDLE), network="none"))
    path = engine.config.record(ref.id)
    created = path.read_bytes()
    await engine.start(ref.id)
    async for _ in engine.logs(ref.id, follow=True):
        break
    pid = (await engine.get(ref.id)).pid
    await waiting.until(lambda: json.loads(path.read_bytes())["state"] == "running", 5, "it is on record")
    if not shim:
        for each in named(engine.config, "pytop-shim"):
            os.kill(each, signal.SIGKILL)
    copy = {**json.loads(path.read_bytes()), "boot_id": "0" * 36, "pid": 1, "pid_start": 1}
    path.write_bytes(created if before == "before the start" else json.dumps(copy).encode())
    other = EmbeddedEngine(engine.config)
    (listed,) = await other.containers()
    assert (listed.state, listed.pid) == (State.RUNNING, pid)
    await other.stop(ref.id, timeout=5)
    await until(other, ref, State.EXITED)
    assert (await other.get(ref.id)).exit_code == 3
    await other.remove(ref.id)
    await other.close()


async def test_whoever_looks_beside_a_start_after_a_reboot_does_not_end_it(engine: EmbeddedEngine) -> None:
    """Several programs list while the container is started, ten times over."""
    container_id, _ = await up(engine)
    path = engine.config.record(container_id)
    others = [EmbeddedEngine(engine.config) for _ in range(3)]
    stop = asyncio.Event()

    async def look(other: EmbeddedEngine) -> None:
        while not stop.is_set():
            await other.containers()

    looking = [asyncio.create_task(look(other)) for other in others]
    for _ in range(10):
        await engine.stop(container_id, timeout=5)
        record = json.loads(path.read_bytes())
        path.write_bytes(json.dumps({**record, "state": "running", "boot_id": "0" * 36, "pid": 1}).encode())
        await engine.start(container_id)
        found = await engine.get(container_id)
        assert found.state is State.RUNNING, found
        assert found.pid is not None
        assert Path(f"/proc/{found.pid}").exists()
    stop.set()
    await asyncio.gather(*looking)
    for other in others:
        await other.close()
    await engine.remove(container_id, force=True)
    assert await engine.containers() == []


async def test_nothing_is_synced_between_a_start_and_the_programs_exec(engine: EmbeddedEngine, tmp_path: Path) -> None:
    """strace sees every sync of this process, of the zygote and of its forks, and the program's exec."""
    if shutil.which("strace") is None:
        missing("strace", "it is not installed")
    warm = await sh(engine, "true")
    await engine.wait(warm.id)
    ref = await engine.create(ContainerSpec("host", ("/bin/sleep", "7"), network="none"))
    pids = [os.getpid(), *processes_of(engine.config)]
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,sync,syncfs,sync_file_range,execve,vfork"
    command = ["strace", "-f", "-qq", "-ttt", "-e", calls, "-o", str(trace)]
    tracer = subprocess.Popen([*command, *(word for pid in pids for word in ("-p", str(pid)))])
    try:
        await waiting.until(
            lambda: all("TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text() for pid in pids), 10, "traced"
        )
        await engine.start(ref.id)
        await waiting.until(lambda: "sync(" in trace.read_text(), 10, "the state of the run is on the disk afterwards")
    finally:
        tracer.terminate()
        tracer.wait(10)
    lines = [line.split(maxsplit=2)[2] for line in trace.read_text().splitlines()]
    executed = next(at for at, line in enumerate(lines) if line.startswith("execve") and "/bin/sleep" in line)
    synced = [at for at, line in enumerate(lines) if line.startswith(("fsync", "fdatasync", "sync"))]
    assert synced
    assert min(synced) > executed, lines
    with suppress(EngineError):
        await engine.remove(ref.id, force=True)
