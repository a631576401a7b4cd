# ruff: noqa: ASYNC240  (the tests look at the engine from outside, with patience)
"""What a container's program and the engine's own processes have of whoever started the engine: nothing.

The kind was looked for in every attribute that fork and execve pass on: signals ignored and blocked, nice, scheduler,
CPUs, I/O priority, resource limits, oom_score_adj, umask, cgroups. Descriptors, environment and keyring were closed
before (`init`).
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.kernel import cgroupfs, syscalls
from runtime.kernel.process_attributes import RESOURCE_LIMITS
from runtime.kernel.procfs import status
from runtime.model import ContainerRef, State
from tests import waiting
from tests.integration.embedded import instance, named, output, processes_of, run, sh, until

pytestmark = pytest.mark.root
ROOT = Path(__file__).resolve().parents[2]
OTHER_LIMITS = {"NOFILE": (300, 4000), "STACK": (1 << 20, 64 << 20), "CORE": (0, 0), "FSIZE": (1 << 30, 1 << 30)}
WAKE = f"""
import asyncio, os, resource, signal, sys
from pathlib import Path
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.kernel import syscalls
from runtime.model import ContainerSpec

for number in signal.valid_signals() - {{signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {{signal.SIGCHLD}})
os.setpriority(os.PRIO_PROCESS, 0, 7)
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
os.sched_setaffinity(0, {{0}})
syscalls.ioprio_set(3 << 13)
Path("/proc/self/oom_score_adj").write_text("333")
os.umask(0)
for name, pair in {OTHER_LIMITS!r}.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), pair)

async def main():
    engine = EmbeddedEngine(EmbeddedConfig.from_json(sys.argv[1]))
    ref = await engine.create(ContainerSpec("host", ("/bin/sleep", "100"), network="none"))
    await engine.start(ref.id)
    await engine.close()
    print(ref.id)

asyncio.run(main())
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


async def woken_by_another(engine: EmbeddedEngine, *prefix: str) -> tuple[ContainerRef, int]:
    """A container of an engine that a process with attributes of all kinds has started; also its program's pid."""
    command = [*prefix, sys.executable, "-c", WAKE, engine.config.to_json()]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ref = ContainerRef("embedded", done.stdout.strip())
    return ref, await program(engine, ref)


async def program(engine: EmbeddedEngine, ref: ContainerRef) -> int:
    """The pid of a container's program: the one child of its init."""
    init = (await engine.get(ref.id)).pid
    return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])


async def test_a_program_has_no_attribute_of_whoever_started_the_engine(engine: EmbeddedEngine) -> None:
    ref, pid = await woken_by_another(engine)
    found = status(pid)
    assert (found["SigIgn"], found["SigBlk"]) == ("0" * 16, "0" * 16)
    assert int(found["Umask"], 8) == 0o022
    others = {pid, *named(engine.config, "pytop-shim"), *named(engine.config, "pytop-zygote")}
    assert len(others) == 3
    for each in others:
        assert os.getpriority(os.PRIO_PROCESS, each) == 0
        assert os.sched_getscheduler(each) == os.SCHED_OTHER
        assert os.sched_getaffinity(each) == os.sched_getaffinity(1)
        assert syscalls.ioprio_get(each) in (0, 4 | 2 << 13)  # since 5.17 the kernel shows the default for none
        assert Path(f"/proc/{each}/oom_score_adj").read_text().strip() == "0"
    told = (await engine.inspect(ref.id))["inherited"]
    for name, wanted in RESOURCE_LIMITS.items():
        soft, hard = resource.prlimit(pid, getattr(resource, f"RLIMIT_{name}"))
        assert (soft, hard) == wanted or any(line.startswith(f"RLIMIT_{name} ") for line in told), (name, soft, hard)
        assert soft in (wanted[0], hard), name


async def test_limits_that_may_not_be_raised_are_told_and_stop_nothing(engine: EmbeddedEngine) -> None:
    """Without CAP_SYS_RESOURCE, which this drops."""
    ref, pid = await woken_by_another(engine, "setpriv", "--bounding-set", "-sys_resource")
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (1024, 4000)
    assert resource.prlimit(pid, resource.RLIMIT_STACK) == (8 << 20, 64 << 20)
    told = (await engine.inspect(ref.id))["inherited"]
    assert "RLIMIT_NOFILE 1024:524288: it is 1024:4000" in told
    assert f"RLIMIT_STACK {8 << 20}:unlimited: it is {8 << 20}:{64 << 20}" in told


async def test_the_engines_processes_are_in_a_cgroup_of_their_own(engine: EmbeddedEngine) -> None:
    """In every hierarchy, the named one of systemd too, where it is mounted."""
    await run(engine, "sleep", "100")
    mine = f"/{engine.config.runtime_cgroup}"
    hierarchies = cgroupfs.detect()
    mounts = {*hierarchies.v1.values(), *hierarchies.others, *filter(None, [hierarchies.unified])}

    def ours() -> set[int]:
        return set(processes_of(engine.config)) - set(named(engine.config, "pytop-init"))

    await waiting.until(lambda: len(ours()) == 3, 10, "a zygote, a shim and the next one")
    pids = ours()
    for mount in mounts:
        members = (Path(f"{mount.path}{mine}") / "cgroup.procs").read_text().split()
        assert pids <= set(map(int, members)), mount
    await engine.destroy()
    assert not [mount for mount in mounts if (mount.path / engine.config.cgroup).exists()]


async def test_interrupt_reaches_the_program(engine: EmbeddedEngine) -> None:
    by_default = await run(engine, "sleep", "100")
    await engine.kill(by_default.id, "INT")
    assert await engine.wait(by_default.id) == 128 + signal.SIGINT
    stopped = await sh(
        engine, "trap 'echo bye; exit 3' INT; echo up; while :; do sleep 0.05; done", stop_signal="SIGINT"
    )
    async for _ in engine.logs(stopped.id, follow=True):
        break
    await engine.stop(stopped.id, timeout=10)
    await until(engine, stopped, State.EXITED)
    assert (await engine.get(stopped.id)).exit_code == 3
    assert await output(engine, stopped) == ["up", "bye"]


async def test_every_signal_ends_a_program_that_leaves_it_at_its_default(engine: EmbeddedEngine) -> None:
    ignored = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}  # by default
    stopping = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1, signal.SIGRTMAX):
        assert number not in ignored | stopping
        ref = await run(engine, "sleep", "100")
        await engine.kill(ref.id, str(int(number)))
        assert await engine.wait(ref.id) == 128 + number
        await engine.remove(ref.id)
    await waiting.until(lambda: not named(engine.config, "pytop-shim"), 5)
