# ruff: noqa: ASYNC221, ASYNC240  (the tests look at the engine from outside, with patience)
"""Containers of the embedded engine, from creation to removal."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.process import zygote_socket
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.errors import ConflictError, InvalidError, NotFoundError, UnsupportedError
from runtime.model import (
    UNLIMITED,
    Bind,
    ContainerRef,
    ContainerSpec,
    EventKind,
    LimitChange,
    State,
    Verb,
    Verdict,
)
from tests import waiting
from tests.integration.embedded import instance, output, run, sh, until

pytestmark = pytest.mark.root


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


async def test_create_start_stop_remove(engine: EmbeddedEngine) -> None:
    ref = await engine.create(ContainerSpec("host", ("/bin/sh", "-c", "echo out; echo err >&2; exit 7"), name="one"))
    assert len(ref.id) == 64
    assert (await engine.get("one")).state is State.CREATED
    await engine.start("one")
    assert await engine.wait("one") == 7
    ended = await engine.get(ref.short)
    assert (ended.state, ended.exit_code, ended.pid) == (State.EXITED, 7, None)
    assert (ended.finished_ns or 0) > (ended.started_ns or 0) > 0
    lines = [line async for line in engine.logs("one")]
    assert sorted((line.stream, line.data) for line in lines) == [("stderr", b"err"), ("stdout", b"out")]
    await engine.remove("one")
    with pytest.raises(NotFoundError):
        await engine.get(ref.id)
    assert await engine.containers() == []


async def test_names_are_unique_and_ids_have_prefixes(engine: EmbeddedEngine) -> None:
    first = await engine.create(ContainerSpec("host", ("true",), name="same"))
    with pytest.raises(ConflictError, match="same"):
        await engine.create(ContainerSpec("host", ("true",), name="same"))
    assert (await engine.get(first.id[:20])).ref == first
    for _ in range(20):
        await engine.create(ContainerSpec("host", ("true",)))
    digits = [container.ref.id[0] for container in await engine.containers()]
    with pytest.raises(ConflictError, match="beginning"):
        await engine.get(max(digits, key=digits.count))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"image": "nginx"}, NotFoundError),
        ({"command": ()}, InvalidError),
        ({"name": "-x"}, InvalidError),
        ({"network": "host"}, InvalidError),
        ({"restart_policy": "sometimes"}, InvalidError),
        ({"stop_signal": "SIGNOPE"}, InvalidError),
        ({"command": ("a\0b",)}, InvalidError),
        ({"binds": (Bind("relative", "/x"),)}, InvalidError),
        ({"binds": (Bind("/nowhere-at-all", "/x"),)}, InvalidError),
        ({"limits": LimitChange(memory=-1)}, InvalidError),
        ({"limits": LimitChange(cpuset_cpus="a")}, InvalidError),
        ({"auto_remove": True, "restart_policy": "always"}, InvalidError),
    ],
)
async def test_a_wrong_spec_makes_nothing(engine: EmbeddedEngine, fields: dict[str, object], error: type) -> None:
    spec = {"image": "host", "command": ("true",), **fields}
    with pytest.raises(error):
        await engine.create(ContainerSpec(**spec))  # type: ignore[arg-type]
    assert await engine.containers() == []


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("/etc/passwd", 126), ("/usr", 126)])
async def test_a_program_that_cannot_run(engine: EmbeddedEngine, program: str, code: int) -> None:
    ref = await engine.create(ContainerSpec("host", (program,), network="none"))
    with pytest.raises(InvalidError, match=program):
        await engine.start(ref.id)
    after = await engine.get(ref.id)
    assert (after.state, after.exit_code) == (State.CREATED, code)
    assert program in after.error
    await engine.remove(ref.id)


async def test_bad_users_and_targets_are_refused_and_leave_nothing(engine: EmbeddedEngine, tmp_path: Path) -> None:
    for target in ("/proc/x", "/usr/../proc/x"):
        with pytest.raises(InvalidError, match="Nothing can be bound"):
            await engine.create(ContainerSpec("host", ("true",), network="none", binds=(Bind(str(tmp_path), target),)))
    assert await engine.containers() == []
    for fields in ({"user": "nobody-knows"}, {"workdir": "/../x"}):
        ref = await engine.create(ContainerSpec("host", ("true",), network="none", **fields))  # type: ignore[arg-type]
        with pytest.raises(InvalidError):
            await engine.start(ref.id)
        assert (await engine.get(ref.id)).state is State.CREATED
        cgroup = sandbox_cgroup.find(engine._verbs.hierarchies, engine.config.cgroup_of(ref.id))
        assert not any(path.exists() for path in cgroup.directories)


async def test_stop_gives_the_program_time_then_kills(engine: EmbeddedEngine) -> None:
    polite = await sh(engine, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    async for _ in engine.logs(polite.id, follow=True):
        break
    await engine.stop(polite.id)
    assert (await engine.get(polite.id)).exit_code == 3
    assert await output(engine, polite) == ["up", "bye"]
    deaf = await sh(engine, "trap '' TERM; echo up; while :; do sleep 0.05; done")
    async for _ in engine.logs(deaf.id, follow=True):
        break
    before = time.monotonic()
    await engine.stop(deaf.id, timeout=0.5)
    assert 0.5 <= time.monotonic() - before < 5
    assert (await engine.get(deaf.id)).exit_code == 137
    await engine.stop(deaf.id)


async def test_signals_by_name_and_number(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done")
    lines = engine.logs(ref.id, follow=True)
    assert (await anext(lines)).data == b"up"
    await engine.kill(ref.id, "HUP")
    assert (await anext(lines)).data == b"hup"
    await engine.kill(ref.id, "1")
    assert (await anext(lines)).data == b"hup"
    with pytest.raises(InvalidError):
        await engine.kill(ref.id, "SIGNOPE")
    await engine.kill(ref.id)
    assert await engine.wait(ref.id) == 137
    with pytest.raises(ConflictError):
        await engine.kill(ref.id)


async def test_pause_stands_still(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "while :; do echo tick; sleep 0.02; done")
    await engine.pause(ref.id)
    assert (await engine.get(ref.id)).state is State.PAUSED
    await asyncio.sleep(0.1)
    seen = len([line async for line in engine.logs(ref.id)])
    await asyncio.sleep(0.3)
    assert len([line async for line in engine.logs(ref.id)]) == seen
    for verb in (engine.pause, engine.start):
        with pytest.raises(ConflictError):
            await verb(ref.id)
    await engine.unpause(ref.id)
    await asyncio.sleep(0.3)
    assert len([line async for line in engine.logs(ref.id)]) > seen
    await engine.pause(ref.id)
    await engine.stop(ref.id, timeout=1)
    assert (await engine.get(ref.id)).state is State.EXITED


async def test_restart_policy(engine: EmbeddedEngine) -> None:
    failing = await sh(engine, "echo again; exit 4", restart_policy="on-failure:2")
    await until(engine, failing, State.EXITED)
    assert (await output(engine, failing)) == ["again"] * 3
    assert (await engine.get(failing.id)).exit_code == 4
    always = await sh(engine, "echo again; sleep 0.05", restart_policy="always")
    async with asyncio.timeout(10):
        count = 0
        async for line in engine.logs(always.id, follow=True):
            count += line.data == b"again"
            if count == 3:
                break
    await engine.stop(always.id)
    assert (await engine.get(always.id)).state is State.EXITED
    await asyncio.sleep(0.5)
    assert (await engine.get(always.id)).state is State.EXITED
    fine = await sh(engine, "exit 0", restart_policy="on-failure")
    assert await engine.wait(fine.id) == 0


async def test_a_container_can_be_started_after_a_reboot_has_emptied_the_run_directory(engine: EmbeddedEngine) -> None:
    stopped = await sh(engine, "echo up; exec sleep 100")
    await engine.stop(stopped.id, timeout=1)
    await asyncio.to_thread(zygote_socket.quit_all, engine.config)
    shutil.rmtree(engine.config.run)
    before = os.umask(0o022)
    try:
        other = EmbeddedEngine(engine.config)
        assert [each.state for each in await other.containers()] == [State.EXITED]
        await other.start(stopped.id)
        await said(other, stopped, [b"up", b"up"])
        assert engine.config.run.stat().st_mode & 0o777 == 0o700
        assert engine.config.live(stopped.id).stat().st_mode & 0o777 == 0o700
        engine.config.run.chmod(0o755)
        ref = await sh(other, "true")
        assert engine.config.run.stat().st_mode & 0o777 == 0o700, "one that an earlier version made"
        await other.wait(ref.id)
        await other.remove(stopped.id, force=True)
        await other.close()
    finally:
        os.umask(before)


async def test_a_restart_that_fails_is_tried_again(engine: EmbeddedEngine, tmp_path: Path) -> None:
    """What init refuses is a `PytopError`, what clone refuses an `OSError`; neither ends the policy."""
    (tmp_path / "bound").mkdir()
    binds = (Bind(str(tmp_path / "bound"), "/srv"),)
    ref = await sh(engine, "echo up; sleep 0.3; exit 1", restart_policy="always", binds=binds)
    (tmp_path / "bound").rename(tmp_path / "away")

    async def failed_often() -> bool:
        found = await engine.inspect(ref.id)
        return found["state"] == "restarting" and found["restarts"] >= 3 and bool(found["error"])

    await waiting.until(failed_often, 20, "each attempt is recorded")
    (tmp_path / "away").rename(tmp_path / "bound")
    seen = len(await lines_of(engine, ref))

    async def runs_again() -> bool:
        return len(await lines_of(engine, ref)) > seen

    await waiting.until(runs_again, 20, "it is started again")
    await engine.stop(ref.id, timeout=1)
    assert (await engine.get(ref.id)).state is State.EXITED


async def test_a_clone_that_fails_is_tried_again(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "echo up; sleep 0.5; exit 1", restart_policy="on-failure:4")
    where = sandbox_cgroup.find(engine._verbs.hierarchies, engine.config.cgroup).where("pids")
    assert where is not None
    (where[0] / "pids.max").write_text("1")  # of shims and containers together: no process can be forked, EAGAIN
    await asyncio.sleep(1.2)
    found = await engine.inspect(ref.id)
    assert (found["state"], bool(found["error"])) == ("restarting", True)
    (where[0] / "pids.max").write_text("max")

    async def runs_again() -> bool:
        return len(await lines_of(engine, ref)) > 1

    await waiting.until(runs_again, 70, "it is started again")


async def lines_of(engine: EmbeddedEngine, ref: ContainerRef) -> list[bytes]:
    return [line.data async for line in engine.logs(ref.id)]


async def test_restart_keeps_the_writable_layer(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "cat /root/count 2>/dev/null; echo x >>/root/count; echo up; exec sleep 100")
    await said(engine, ref, [b"up"])
    first = (await engine.get(ref.id)).pid
    await engine.restart(ref.id, timeout=1)
    await said(engine, ref, [b"up", b"x", b"up"])
    again = await engine.get(ref.id)
    assert again.state is State.RUNNING
    assert again.pid != first


async def said(engine: EmbeddedEngine, ref: ContainerRef, wanted: list[bytes]) -> None:
    """Until the log holds these lines; no more than them may come."""

    async def there() -> bool:
        lines = [line.data async for line in engine.logs(ref.id)]
        assert lines == wanted[: len(lines)]
        return lines == wanted

    await waiting.until(there, 20, f"the log is {wanted}")


async def test_auto_remove_and_its_exit_status(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "sleep 0.3; exit 5", auto_remove=True)
    assert await engine.wait(ref.id) == 5

    async def gone() -> bool:
        return not await engine.containers()

    await waiting.until(gone, 5)
    assert not engine.config.data(ref.id).exists()
    stopped = await run(engine, "sleep", "100", auto_remove=True)
    await engine.stop(stopped.id, timeout=1)


async def test_live_limits_and_recorded_ones(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100", limits=LimitChange(memory=256 << 20, cpus=1.5))
    cgroup = sandbox_cgroup.find(engine._verbs.hierarchies, engine.config.cgroup_of(ref.id))
    where = cgroup.where("memory")
    assert where is not None
    path, version = where
    file = path / ("memory.max" if version == 2 else "memory.limit_in_bytes")
    assert int(file.read_text()) == 256 << 20
    pids = cgroup.where("pids")
    assert pids is not None
    assert (pids[0] / "pids.max").read_text().strip() == "512"
    assert (await engine.update(ref.id, LimitChange(memory=128 << 20, pids=UNLIMITED))).ok
    assert int(file.read_text()) == 128 << 20
    assert (pids[0] / "pids.max").read_text().strip() == "max"
    await engine.stop(ref.id, timeout=1)
    outcome = await engine.update(ref.id, LimitChange(memory=64 << 20))
    assert {f.verdict for f in outcome.fields} == {Verdict.UNREADABLE}
    await engine.start(ref.id)
    assert int(file.read_text()) == 64 << 20
    assert (pids[0] / "pids.max").read_text().strip() == "max"
    with pytest.raises(InvalidError):
        await engine.update(ref.id, LimitChange(memory=-5))


async def test_a_memory_limit_kills_and_says_so(engine: EmbeddedEngine) -> None:
    hog = "b = bytearray()\nwhile True: b += bytes(1 << 20)"
    ref = await run(
        engine,
        sys.executable,
        "-c",
        hog,
        binds=(Bind(sys.base_prefix, sys.base_prefix, True), Bind(sys.prefix, sys.prefix, True)),
        limits=LimitChange(memory=64 << 20),
    )
    assert await engine.wait(ref.id) == 137
    assert (await engine.get(ref.id)).oom_killed


async def test_a_child_that_is_killed_for_memory_is_not_the_containers_end(engine: EmbeddedEngine) -> None:
    """Nor is it one when somebody kills the container after that."""
    hog = f"{sys.executable} -c 'b = bytearray()\nwhile True: b += bytes(1 << 20)'"
    binds = (Bind(sys.base_prefix, sys.base_prefix, True), Bind(sys.prefix, sys.prefix, True))
    for script, code in (("exit 0", 0), ("exit 5", 5), ("echo up; exec sleep 100", 137)):
        ref = await sh(
            engine, f"exec 2>/dev/null; {hog}; echo $?; {script}", binds=binds, limits=LimitChange(memory=64 << 20)
        )
        if code == 137:
            await said(engine, ref, [b"137", b"up"])
            await engine.kill(ref.id)
        assert await engine.wait(ref.id) == code
        assert (await output(engine, ref))[0] == "137", "the child was killed"
        assert not (await engine.get(ref.id)).oom_killed, script


async def test_what_the_program_is_given(engine: EmbeddedEngine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("from the host\n")
    tmp_path.chmod(0o755)
    script = (
        "id -u; id -g; pwd; hostname; echo $X; echo $HOME; cat /ro/file; echo a >/ro/x || echo denied; echo b >/rw/y"
    )
    ref = await sh(
        engine,
        script,
        user="nobody",
        workdir="/work/here",
        env={"X": "y z"},
        hostname="boxy",
        binds=(Bind(str(tmp_path / "data"), "/ro", True), Bind(str(tmp_path / "data"), "/rw/deep/er")),
    )
    lines = await output(engine, ref)
    assert lines == ["65534", "65534", "/work/here", "boxy", "y z", "/nonexistent", "from the host", "denied"]
    assert not (tmp_path / "data/x").exists()


async def test_a_read_only_bind_is_read_only_all_the_way_down(engine: EmbeddedEngine, tmp_path: Path) -> None:
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", inner], check=True)
    try:
        binds = (Bind(str(tmp_path / "outer"), "/outer", True),)
        ref = await sh(engine, "echo x >/outer/inner/x || echo denied", binds=binds)
        assert await output(engine, ref) == ["denied"]
    finally:
        subprocess.run(["umount", inner], check=True)


async def test_a_read_only_root(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "echo x >/root/x || echo denied; echo y >/dev/shm/y && echo shm", read_only=True)
    assert await output(engine, ref) == ["denied", "shm"]


async def test_logs_tail_partial_and_long(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "for i in 1 2 3 4 5; do echo $i; done; printf prompt; head -c 40000 /dev/zero | tr '\\0' x")
    await engine.wait(ref.id)
    lines = [line async for line in engine.logs(ref.id, tail=2)]
    assert lines[0].data == b"5"
    assert b"".join(line.data for line in lines[1:]) == b"prompt" + b"x" * 40000
    assert all(line.partial for line in lines[1:])
    assert [line async for line in engine.logs(ref.id, tail=0)] == []


async def test_events_of_another_engine_on_the_same_instance(engine: EmbeddedEngine) -> None:
    seen: list[EventKind] = []

    async def collect() -> None:
        async for event in engine.events():
            seen.append(event.kind)
            if event.kind is EventKind.REMOVED:
                return

    collecting = asyncio.create_task(collect())
    await asyncio.sleep(0.3)
    other = EmbeddedEngine(engine.config)
    ref = await sh(other, "sleep 0.6")
    await other.pause(ref.id)
    await asyncio.sleep(0.1)
    await other.unpause(ref.id)
    await other.update(ref.id, LimitChange(pids=100))
    await other.wait(ref.id)
    await asyncio.sleep(0.1)
    await other.remove(ref.id)
    await asyncio.wait_for(collecting, 1)
    await other.close()
    kinds = EventKind
    assert seen == [
        kinds.CREATED,
        kinds.STARTED,
        kinds.PAUSED,
        kinds.UNPAUSED,
        kinds.UPDATED,
        kinds.DIED,
        kinds.REMOVED,
    ]


async def test_containers_reach_each_other_and_the_host_reaches_them(engine: EmbeddedEngine) -> None:
    import socket

    binds = (Bind(sys.base_prefix, sys.base_prefix, True), Bind(sys.prefix, sys.prefix, True))
    server = await run(
        engine, sys.executable, "-u", "-m", "http.server", "8080", network="bridge", binds=binds, workdir="/srv"
    )
    address = (await engine.get(server.id)).addresses[0]

    def reached() -> bool:
        with suppress(OSError):
            socket.create_connection((address, 8080), timeout=1).close()
            return True
        return False

    await waiting.until(lambda: asyncio.to_thread(reached), 15, "it listens")
    code = f"import socket; socket.create_connection(('{address}', 8080), timeout=5); print('reached')"
    client = await run(engine, sys.executable, "-c", code, network="bridge", binds=binds)
    assert await output(engine, client) == ["reached"]
    await engine.remove(server.id, force=True)
    assert (await engine.get(client.id)).addresses == ()


async def test_many_at_once(engine: EmbeddedEngine) -> None:
    refs = await asyncio.gather(*(sh(engine, f"echo {i}; exit {i}", name=f"n-{i}") for i in range(12)))
    codes = await asyncio.gather(*(engine.wait(ref.id) for ref in refs))
    assert codes == list(range(12))
    await asyncio.gather(*(engine.remove(ref.id) for ref in refs))


async def test_nothing_blocks_the_event_loop(engine: EmbeddedEngine) -> None:
    from blockbuster import blockbuster_ctx

    with blockbuster_ctx():
        await engine.info()
        events = engine.events()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.5)  # it listens
        ref = await sh(engine, "echo hello; sleep 0.3", network="bridge")
        assert (await first).kind is EventKind.CREATED
        await engine.update(ref.id, LimitChange(pids=99))
        await engine.pause(ref.id)
        await engine.unpause(ref.id)
        assert await output(engine, ref) == ["hello"]
        assert await engine.wait(ref.id) == 0
        await engine.inspect(ref.id)
        await engine.images()
        await engine.restart(ref.id)
        await engine.stop(ref.id, timeout=0.1)
        await engine.remove(ref.id, force=True)
        await engine.containers()
        await events.aclose()  # type: ignore[attr-defined]
        await engine.destroy()


async def test_a_quiet_container_costs_little_memory(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100")
    where = sandbox_cgroup.find(engine._verbs.hierarchies, engine.config.cgroup_of(ref.id)).where("memory")
    assert where is not None
    used = int((where[0] / ("memory.current" if where[1] == 2 else "memory.usage_in_bytes")).read_text())
    assert used < 6 << 20, f"{used} bytes"


async def test_removing_what_runs(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100")
    with pytest.raises(ConflictError):
        await engine.remove(ref.id)
    await engine.remove(ref.id, force=True)
    assert await engine.containers() == []


async def test_images_are_not_imported(engine: EmbeddedEngine) -> None:
    assert [image.names for image in await engine.images()] == [("host",)]
    assert (await engine.capabilities()).why_not(Verb.IMPORT)
    with pytest.raises(UnsupportedError):
        await engine.import_image("x", b"")


def test_without_root_there_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys; os.setgid(65534); os.setuid(65534)\n"
        "from runtime.engines.embedded.config import EmbeddedConfig\n"
        "from runtime.engines.embedded.engine import EmbeddedEngine\n"
        "from runtime.errors import PytopError\n"
        "from runtime.model import ContainerSpec, Verb\n"
        "from pathlib import Path\n"
        "async def main():\n"
        "    e = EmbeddedEngine(EmbeddedConfig(state=Path('/var/lib/pytop-none'), run=Path('/run/pytop-none')))\n"
        "    print((await e.capabilities()).why_not(Verb.START))\n"
        "    print(await e.containers())\n"
        "    try:\n        await e.create(ContainerSpec('host', ('true',)))\n"
        "    except PytopError as error:\n        print(type(error).__name__)\n"
        "    await e.close()\n"
        "asyncio.run(main())\n"
    )
    if os.geteuid() != 0:
        pytest.skip("drops root by itself")
    # The checkout may be readable by root alone: everything is imported before the change of user.
    warm = "import asyncio, runtime.engines.embedded.engine\n"
    done = subprocess.run([sys.executable, "-c", warm + code], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    reason, listed, refused = done.stdout.splitlines()
    assert "needs root" in reason
    assert listed == "[]"
    assert refused == "UnsupportedError"
