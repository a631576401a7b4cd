"""The screen while a daemon misbehaves: a key is drawn at once, and the others' containers are there."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests import hostile_daemon as wrong
from tests.app.driving import names, running, selected, session_of, until
from tests.app.fakes import container, fixed, usage
from tests.fake_engine import FakeEngine
from tests.hostile_daemon import DOCKER, PODMAN, HostileDaemon, hostile

KEY_S = 0.1
TRIES = 4

FAULTS = {
    "a list that hangs": {"/containers/json": wrong.hang},
    "a list byte by byte": {"/containers/json": wrong.byte_by_byte},
    "a list of garbage": {"/containers/json": wrong.garbage},
    "a list without an end": {"/containers/json": wrong.endless_body},
    "events without a newline": {"/events": wrong.endless_line},
    "inspects that hang": {"/json": wrong.hang},
    "dies in the middle": {"/containers/json": wrong.die},
}


def prepare(daemon: HostileDaemon, case: str) -> None:
    for number in range(200):
        daemon.add(number)
    if case == "inspects that hang":
        daemon.faults |= {f"/containers/{identity}/json": wrong.hang for identity in daemon.containers}
    else:
        daemon.faults |= FAULTS[case]


@pytest.mark.parametrize("dialect", [DOCKER, PODMAN])
@pytest.mark.parametrize("case", FAULTS)
async def test_a_key_is_drawn_at_once(dialect: str, case: str, tmp_path: Path) -> None:
    """The best of some: what another process of this machine takes is no fault of ours."""
    others = [container(name, engine="other") for name in ("batch", "web")]
    async with hostile(dialect) as daemon:
        prepare(daemon, case)
        engines = [await asyncio.to_thread(daemon.engine, tmp_path), FakeEngine(others, key="other")]
        session = session_of(engines, fixed({"batch": usage(), "web": usage()}, others))
        async with running(session, (100, 30)) as pilot:
            await until(pilot, lambda: "batch" in names(pilot))
            assert min([await time_of_a_key(pilot, key) for key in ("down", "up") * TRIES]) < KEY_S


async def time_of_a_key(pilot: Pilot[Any], key: str) -> float:
    """Seconds until the cursor has moved and the screen is to be drawn."""
    before, begun = selected(pilot), time.monotonic()
    pilot.app.simulate_key(key)
    async with asyncio.timeout(5):
        while selected(pilot) == before:  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.002)
    took = time.monotonic() - begun
    await pilot.pause()
    return took
