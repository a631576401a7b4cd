"""One life of a container, as a client of its own leads it, and what two other programs see of it.

Each function here runs in a fork of the harness, and says what it did in lines of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import cgroupfs
from runtime.model import Container, ContainerSpec, LimitChange, State

Say = Callable[..., None]
BEFORE, AFTER = 77, 88
"""Its limit of processes before and after the update."""
PROGRAM: Final = ("/bin/sh", "-c", "trap 'exit 3' TERM; while :; do echo up; sleep 0.03; done")
NAME: Final = "victim"
VERBS: Final = ("list", "create", "start", "log", "update", "stop", "remove")
VERB_TIMEOUT_S: Final = 15.0
OUTPUT_TIMEOUT_S: Final = 5.0
RUNTIME: Final = "/runtime/"


async def lead(
    config: EmbeddedConfig,
    network: str,
    say: Say,
    enter: Callable[[], None],
    around: Callable[[str], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Every verb once, until one fails, each within what `around` gives for it.

    `enter` is called when the descriptors that are open were counted.
    """
    engine = EmbeddedEngine(config)
    before = descriptors()
    enter()
    verb = ""
    try:
        for verb in VERBS:
            say(began=verb)
            with around(verb):
                async with asyncio.timeout(VERB_TIMEOUT_S):
                    await _do(engine, verb, network)
            say(done=verb)
    except PytopError as error:
        say(failed=verb, error=str(error))
    except TimeoutError:
        say(failed=verb, wrong="it hangs")
    except Exception:  # noqa: BLE001  (what is no PytopError is what the harness looks for)
        say(failed=verb, wrong=in_short())
    gc.collect()
    left = {key: descriptors()[key] for key in descriptors().keys() - before.keys()}
    say(descriptors=sorted(left.values()))
    await engine.close()


def in_short() -> str:
    """The exception that is being handled, with the last places of the program's own code."""
    error = sys.exc_info()[1]
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__ if error else None) if RUNTIME in frame.filename
    ]
    where = " < ".join(f"{frame.filename.partition(RUNTIME)[2]}:{frame.lineno}" for frame in reversed(frames[-3:]))
    return f"{type(error).__name__}: {error} at {where}"


def descriptors() -> dict[int, str]:
    found = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:  # a fault that is made in any system call is made in this one too
        names = os.listdir("/proc/self/fd")
    for name in names:
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


async def _do(engine: EmbeddedEngine, verb: str, network: str) -> None:
    if verb == "list":
        await engine.containers()
    elif verb == "create":
        await engine.create(ContainerSpec("host", PROGRAM, name=NAME, network=network, limits=LimitChange(pids=BEFORE)))
    elif verb == "start":
        await engine.start(NAME)
    elif verb == "log":
        await _output(engine)
    elif verb == "update":
        outcome = await engine.update(NAME, LimitChange(pids=AFTER))
        if not outcome.ok:
            raise PytopError("update", detail=outcome.error or str(outcome.fields))
    elif verb == "stop":
        await engine.stop(NAME, timeout=5)
    else:
        await engine.remove(NAME)


async def _output(engine: EmbeddedEngine) -> None:
    """Two lines, the second of them new."""
    have = 0
    async with asyncio.timeout(OUTPUT_TIMEOUT_S):
        lines = engine.logs(NAME, follow=True)
        async for line in lines:
            have += line.data == b"up"
            if have > 1:
                await lines.aclose()  # type: ignore[attr-defined]
                return
    raise PytopError("follow the log", detail="it ended")


async def observe(config: EmbeddedConfig, say: Say) -> None:
    """What another program sees, and what the kernel knows about that."""
    engine = EmbeddedEngine(config)
    seen = []
    for container in await engine.containers():
        with suppress(NotFoundError):  # it was being removed, and now it is
            seen.append(await _seen(engine, container))
    say(containers=seen)
    await engine.close()


async def _seen(engine: EmbeddedEngine, container: Container) -> dict[str, Any]:
    cgroup = sandbox_cgroup.find(cgroupfs.detect(), engine.config.cgroup_of(container.ref.id))
    there = [str(path) for path in cgroup.directories if path.exists()]
    place = cgroup.where("pids")
    kernel = None
    if place is not None and there:
        try:
            kernel = (place[0] / "pids.max").read_text().strip()
        except OSError:
            kernel = None
    return {
        "name": container.name,
        "state": container.state.value,
        "pid": container.pid,
        "alive": container.pid is not None and _is_there(container.pid),
        "cgroups": len(there),
        "recorded": (await engine.recorded(container.ref.id)).pids,
        "kernel": kernel,
    }


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def use_and_remove(config: EmbeddedConfig, network: str, say: Say) -> None:
    """That it can be used afterwards as if nothing had been: started where it is at rest, read, removed."""
    engine = EmbeddedEngine(config)
    found = await engine.containers()
    if not found:
        await _do(engine, "create", network)
        (container,) = await engine.containers()
    else:
        (container,) = found
    if container.state is State.STOPPING:  # whoever stopped it has given up
        await _do(engine, "stop", network)
        container = await engine.get(NAME)
    if container.state in (State.CREATED, State.EXITED):
        await _do(engine, "start", network)
    state = (await engine.get(NAME)).state
    if state is not State.RUNNING:
        raise AssertionError(f"it is {state} after its start")
    await _output(engine)
    await engine.remove(NAME, force=True)
    if await engine.containers():
        raise AssertionError("it is listed after its removal")
    await engine.close()


async def destroy(config: EmbeddedConfig, say: Say) -> None:
    engine = EmbeddedEngine(config)
    await engine.destroy()
    await engine.close()
