"""A container that prints without end waits at its pipe: its shim costs little, its row says so, it can be stopped."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.process import log_pump
from runtime.engines.embedded.process.log_rate import LOG_BURST_BYTES, LOG_RATE_BYTES_PER_S
from runtime.model import ContainerRef, EventKind, LimitChange
from tests import waiting
from tests.integration.embedded import instance, named, sh

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
WATCH_S = 4.0


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


async def is_limited(engine: EmbeddedEngine, ref: ContainerRef) -> bool:
    return (await engine.get(ref.id)).output_limited


@pytest.mark.parametrize(
    ("script", "cpus"), [("while :; do echo; done", 0.05), ("exec yes ''", 0.05), ("exec yes ''", 2.0)]
)
async def test_a_flood_of_newlines_waits_and_costs_little(engine: EmbeddedEngine, script: str, cpus: float) -> None:
    kinds: list[EventKind] = []

    async def listen() -> None:
        async for event in engine.events():
            kinds.append(event.kind)

    listening = asyncio.create_task(listen())
    ref = await sh(engine, script, limits=LimitChange(cpus=cpus))
    (shim,) = named(engine.config, "pytop-shim")
    log = engine.config.log(ref.id)
    if script.startswith("exec"):  # the shell's loop is slower than the bound
        await waiting.until(lambda: is_limited(engine, ref), 60, "it waits")
    else:
        await asyncio.sleep(3)
    before, begun = cpu_s(shim), time.monotonic()
    sizes = sum(path.stat().st_size for path in log.parent.glob("log*"))
    await asyncio.sleep(WATCH_S)
    used = (cpu_s(shim) - before) / (time.monotonic() - begun)
    print(f"{script} on {cpus} CPUs: {used:.3f} core of the shim, log {sizes} bytes")
    assert used < 0.08
    if script.startswith("exec"):
        inspected = await engine.inspect(ref.id)
        assert inspected["output_limited"] is True
        assert inspected["log"]["waited_ns"] > 0
        assert inspected["log"]["lost"] == 0
        assert EventKind.OUTPUT_LIMITED in kinds
    begun = time.monotonic()
    await engine.stop(ref.id, timeout=1)
    assert time.monotonic() - begun < 4
    assert not await is_limited(engine, ref)
    listening.cancel()


async def test_no_line_is_lost_by_the_rate_and_it_ends_with_the_flood(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = (LOG_BURST_BYTES + 3 * LOG_RATE_BYTES_PER_S) // 53  # bytes of a line in the log
    ref = await sh(engine, f"seq 1000000 {1_000_000 + count}; sleep 20")
    await waiting.until(lambda: is_limited(engine, ref), 30, "it waits")

    async def released() -> bool:
        return not await is_limited(engine, ref)

    await waiting.until(released, 30 + log_pump.LIMITED_HOLD_S, "it waits no longer")
    await engine.stop(ref.id, timeout=1)
    numbers = [int(line.data) async for line in engine.logs(ref.id)]
    assert numbers == list(range(numbers[0], 1_000_001 + count))
