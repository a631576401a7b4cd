"""What a container's program has of whoever started the engine: nothing."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.model import State
from tests import waiting
from tests.integration.embedded import instance, named, output, run, sh, until

pytestmark = pytest.mark.root


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


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
