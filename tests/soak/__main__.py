"""`make soak`: containers come and go under a running dashboard; the last quarter of the time against the first.

    make soak ARGS="--minutes 2 --containers 1000"

The containers are the embedded engine's, in an instance of its own, and end at once. Beside them a Docker is shown that
counts its requests. The dashboard runs in a pty. Exit 1 where something grows; the readings are printed each minute.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import pty
import secrets
import select
import signal
import struct
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.errors import PytopError
from runtime.model import ContainerSpec
from tests.hostile_daemon import DOCKER, HostileDaemon, hostile
from tests.soak.measure import Reading, read, verdicts

ROOT = Path(__file__).resolve().parents[2]
MINUTES, CONTAINERS = 20.0, 10_000
AT_ONCE = 4
DOCKER_CONTAINERS = 20
EVERY_S, TOLD_S = 5.0, 60.0
INTERVAL_S = 1.0
SETTLE_S = 10.0
SIZE = (32, 120)
QUERY, ANSWER = b"\x1b[?2026$p", b"\x1b[?2026;2$y"  # synchronized output: is it known? yes, and off


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description="short containers under a dashboard")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--containers", type=int, default=CONTAINERS)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pytop-soak-") as folder:
        return asyncio.run(_soak(Path(folder), args.minutes * 60, args.containers))


async def _soak(folder: Path, seconds: float, containers: int) -> int:
    tag = secrets.token_hex(3)
    config = EmbeddedConfig(folder / "state", folder / "run", f"pytop-soak-{tag}", f"pk-{tag}", "10.214.0.0/20")
    engine = EmbeddedEngine(config)
    try:
        async with hostile(DOCKER) as docker:
            for number in range(DOCKER_CONTAINERS):
                docker.add(number)
            with _dashboard(folder, config, docker) as pid:
                await asyncio.sleep(SETTLE_S)
                churn = asyncio.create_task(_churn(engine, containers, seconds))
                readings = await _watch(pid, docker, churn)
                done = await churn
    finally:
        await engine.destroy()
        await engine.close()
    frames = [float(line) for line in (folder / "frames").read_text().split()]
    frames = [at for at in frames if at >= readings[0].at_s]
    found = verdicts(readings, frames, INTERVAL_S)
    minutes = (readings[-1].at_s - readings[0].at_s) / 60
    print(f"{done} containers in {minutes:.1f} min, {len(frames)} frames, {len(docker.asked)} requests to Docker")
    for verdict in found:
        print(verdict)
    return 0 if all(verdict.ok for verdict in found) else 1


async def _churn(engine: EmbeddedEngine, containers: int, seconds: float) -> int:
    """Run that many, evenly over the time, or as fast as they go; how many ran."""
    begun = time.monotonic()
    numbers: Iterator[int] = iter(range(containers))
    done = 0

    async def work() -> None:
        nonlocal done
        for number in numbers:
            await asyncio.sleep(begun + seconds * number / containers - time.monotonic())
            ref = await engine.create(ContainerSpec("host", ("true",), network="none", name=f"soak-{number}"))
            await engine.start(ref.id)
            await engine.wait(ref.id)
            await engine.remove(ref.id)
            done += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return done


async def _watch(pid: int, docker: HostileDaemon, churn: asyncio.Task[int]) -> list[Reading]:
    readings: list[Reading] = []
    told = -TOLD_S
    while not churn.done():
        now = time.monotonic()
        readings.append(read(pid, now, len(docker.asked)))
        if now - told >= TOLD_S:
            told = now
            last = readings[-1]
            minute = (now - readings[0].at_s) / 60
            print(
                f"{minute:5.1f} min: {last.memory / (1 << 20):.1f} MiB, {last.descriptors} descriptors, "
                f"{last.threads} threads, {last.requests} requests",
                flush=True,
            )
        await asyncio.wait({churn}, timeout=EVERY_S)
    return readings


@contextmanager
def _dashboard(folder: Path, config: EmbeddedConfig, docker: HostileDaemon) -> Iterator[int]:
    """The pid of the dashboard, which shows this instance and this Docker; ended as by `kill`."""
    pid, fd = pty.fork()
    if pid == 0:
        environ = {
            **os.environ,
            "HOME": str(folder),
            "TERM": "xterm-256color",
            "DOCKER_HOST": docker.url,
            "PYTOP_STATE_DIR": str(config.state),
            "PYTOP_RUN_DIR": str(config.run),
            "PYTOP_CGROUP": config.cgroup,
            "PYTOP_BRIDGE": config.bridge,
            "PYTOP_SUBNET": config.subnet,
        }
        os.chdir(ROOT)
        program = [sys.executable, "-m", "tests.soak.dashboard", str(folder / "frames")]
        os.execve(sys.executable, program, environ)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    ended = threading.Event()
    terminal = threading.Thread(target=_read_terminal, args=(fd, ended), daemon=True)
    terminal.start()
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        ended.set()
        terminal.join()
        os.close(fd)
        print(f"the dashboard ended with {os.waitstatus_to_exitcode(status)}")


def _read_terminal(fd: int, ended: threading.Event) -> None:
    """Take what is drawn, as a terminal does."""
    while not ended.is_set():
        ready, _, _ = select.select([fd], [], [], 0.5)
        if not ready:
            continue
        try:
            data = os.read(fd, 65_536)
        except OSError:  # EIO: the program has closed it
            return
        if QUERY in data:
            os.write(fd, ANSWER)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PytopError as error:
        print(f"soak: {error}", file=sys.stderr)
        sys.exit(2)
