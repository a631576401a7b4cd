"""What the dashboard sends to the terminal, and how soon it is there. As a program it is what is measured."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import random
import select
import signal
import statistics
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.bench.figure import Figure
from tui.cli import verbs

ROOT = Path(__file__).parents[2]
CONTAINERS = 100
SIZE = (32, 120)
BUDGET = 12_000  # bytes per second
SETTLE, WATCH = 4.0, 15.0  # seconds
PAINTS, SHORT_PAINTS = 7, 3
PAINT_BOUND = 1.8
PATIENCE = 30.0
QUERY, ANSWER = b"\x1b[?2026$p", b"\x1b[?2026;2$y"  # synchronized output: is it known? yes, and off


class Terminal:
    """The other end of the dashboard's pty."""

    def __init__(self, fd: int, pid: int) -> None:
        self._fd = fd
        self.pid = pid
        self.received = 0
        self._tail = b""

    def until(self, text: bytes, timeout_s: float = PATIENCE) -> None:
        """Read until `text` was written."""
        end = time.monotonic() + timeout_s
        while text not in self._tail:
            if time.monotonic() > end or not self._read(end):
                raise RuntimeError(f"the dashboard did not write {text!r}: {self._tail[-500:]!r}")

    def press(self, key: bytes, text: bytes) -> float:
        """Type a key; seconds until the program has written `text` after it."""
        self._tail = b""
        started = time.perf_counter()
        os.write(self._fd, key)
        self.until(text)
        return time.perf_counter() - started

    def watch(self, seconds: float) -> None:
        """Read for a while."""
        end = time.monotonic() + seconds
        while self._read(end):
            pass

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        data = os.read(self._fd, 65_536)
        self.received += len(data)
        if QUERY in self._tail[-len(QUERY) + 1 :] + data:
            os.write(self._fd, ANSWER)
        self._tail = (self._tail + data)[-100_000:]
        return bool(data)


@contextmanager
def in_pty(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Terminal]:
    """A program in a pty of its own; killed at the end."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **env}
        environ.pop("NO_COLOR", None)
        os.execvpe(command[0], command, environ)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    try:
        yield Terminal(fd, pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)


def dashboard() -> AbstractContextManager[Terminal]:
    """The real app, on sweeps in which everything changes."""
    return in_pty([sys.executable, "-m", "tests.bench.screen"], {})


def bytes_per_second() -> float:
    """Once it has settled, with every number of every container changing at 1 Hz."""
    with dashboard() as terminal:
        terminal.until(b"service-")
        terminal.watch(SETTLE)
        terminal.received = 0
        started = time.monotonic()
        terminal.watch(WATCH)
        return terminal.received / (time.monotonic() - started)


def first_paint() -> float:
    """Seconds from the start of the process until containers are on the screen."""
    started = time.perf_counter()
    with dashboard() as terminal:
        terminal.until(b"service-")
        return time.perf_counter() - started


def bare_import() -> float:
    """Seconds that a process takes that does nothing but import Textual's app."""
    started = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "import textual.app"], os.environ)
    os.waitpid(pid, 0)
    return time.perf_counter() - started


def figures(*, short: bool = False) -> list[Figure]:
    """Bytes to the terminal, and first paint."""
    first_paint()
    bare_import()
    pairs = [(first_paint(), bare_import()) for _ in range(SHORT_PAINTS if short else PAINTS)]
    paint, imported = (statistics.median(column) for column in zip(*pairs, strict=True))
    sent = bytes_per_second()
    lines, columns = SIZE
    return [
        Figure(
            "dashboard, bytes to the terminal",
            sent / BUDGET,
            1.0,
            f"{sent / 1000:.1f} of {BUDGET / 1000:.0f} kB/s, {CONTAINERS} containers at 1 Hz, {columns}x{lines}",
            wall_time=False,
        ),
        Figure(
            "dashboard, first paint",
            paint / imported,
            PAINT_BOUND,
            f'{paint * 1000:.0f} ms against {imported * 1000:.0f} ms of python -c "import textual.app"',
        ),
    ]


async def run() -> None:
    """The dashboard itself, loaded as the command loads it, on sweeps in which everything changes."""
    verbs.load(verbs.ON_SCREEN["dashboard"])

    from collectors.sampling.frame import Usage
    from collectors.sampling.target import Target
    from runtime.model import ContainerRef
    from tests.app.fakes import FakeSweeper, container, usage
    from tests.fake_engine import FakeEngine
    from tui.app.app import PytopApp
    from tui.core.session import Session
    from tui.core.settings import Settings

    containers = [container(f"service-{number}", image="team/service:1.2") for number in range(CONTAINERS)]
    chance = random.Random(1)

    def script(number: int, targets: Sequence[Target]) -> Mapping[ContainerRef, Usage]:
        return {
            target.ref: usage(
                chance.uniform(0, 2),
                memory=chance.randrange(1 << 24, 1 << 29),
                waiting=chance.random(),
                throttled_share=chance.random() / 2,
                pids=chance.randrange(1, 200),
            )
            for target in targets
        }

    session = Session([FakeEngine(containers)], sweeper=FakeSweeper(script))  # type: ignore[arg-type]
    await PytopApp(session, chosen=Settings()).run_async()


if __name__ == "__main__":
    asyncio.run(run())
