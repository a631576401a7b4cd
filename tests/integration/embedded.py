"""An instance of the embedded engine of a test's own, and what must be gone after it."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.kernel import cgroupfs
from runtime.model import ContainerRef, ContainerSpec, State, Verb
from tests import waiting
from tests.conftest import missing, need_root
from tests.workers import subnet

SH = "/bin/sh"
ZYGOTES = (b"runtime.engines.embedded.process.zygote", b"runtime.native.zygote")
"""What stands in the command lines of zygotes and shims: of this version, of versions before it had folders."""


def config(tmp_path: Path) -> EmbeddedConfig:
    tag = secrets.token_hex(3)
    return EmbeddedConfig(
        state=tmp_path / "state",
        run=tmp_path / "run",
        cgroup=f"pytop-test-{tag}",
        bridge=f"pt-{tag}",
        subnet=subnet(214, 20),
        idle=30.0,
    )


@asynccontextmanager
async def instance(tmp_path: Path, where: EmbeddedConfig | None = None) -> AsyncIterator[EmbeddedEngine]:
    """`where` is one whose directories are elsewhere than in `tmp_path`."""
    need_root("embedded")
    where = where or config(tmp_path)
    engine = EmbeddedEngine(where)
    reason = (await engine.capabilities()).why_not(Verb.START)
    if reason is not None:
        missing("embedded", reason)
    try:
        yield engine
    finally:
        await engine.destroy()
        await engine.close()
        await waiting.until(lambda: not leftovers(where), 5, lambda: f"nothing is left: {leftovers(where)}")


def leftovers(where: EmbeddedConfig) -> list[str]:
    """Everything that an instance may have left on the host."""
    hierarchies = cgroupfs.detect()
    cgroup = sandbox_cgroup.find(hierarchies, where.cgroup)
    others = (mount.path / where.cgroup for mount in hierarchies.others)
    found = [str(path) for path in (*cgroup.directories, *others, where.state, where.run) if path.exists()]
    found += [name for name in os.listdir("/sys/class/net") if name == where.bridge]
    mounts = Path("/proc/self/mountinfo").read_text()
    if str(where.state) in mounts or str(where.run) in mounts:
        found.append("a mount")
    return found + [f"process {pid}" for pid in processes_of(where)]


def processes_of(where: EmbeddedConfig) -> list[int]:
    """Zygote and shims of an instance, found by its configuration in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                command = Path("/proc", entry, "cmdline").read_bytes()
                state = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            zygote = any(module in command for module in ZYGOTES)
            if zygote and str(where.run).encode() in command and state != "Z":
                found.append(int(entry))
    return found


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def named(where: EmbeddedConfig, name: str) -> list[int]:
    return [pid for pid in processes_of(where) if name_of(pid) == name]


async def run(engine: EmbeddedEngine, *command: str, **fields: object) -> ContainerRef:
    fields.setdefault("network", "none")
    ref = await engine.create(ContainerSpec(image="host", command=command, **fields))  # type: ignore[arg-type]
    await engine.start(ref.id)
    return ref


async def sh(engine: EmbeddedEngine, script: str, **fields: object) -> ContainerRef:
    return await run(engine, SH, "-c", script, **fields)


async def output(engine: EmbeddedEngine, ref: ContainerRef, stream: str = "stdout") -> list[str]:
    """Everything until the end, lines put together from their pieces."""
    text = b""
    async for line in engine.logs(ref.id, follow=True):
        if line.stream == stream:
            text += line.data + (b"" if line.partial else b"\n")
    return text.decode().splitlines()


async def until(engine: EmbeddedEngine, ref: ContainerRef, *states: State) -> None:
    """Until it is in one of these states."""

    async def reached() -> bool:
        return (await engine.get(ref.id)).state in states

    await waiting.until(reached, 10, f"it is {' or '.join(states)}")
