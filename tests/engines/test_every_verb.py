"""Every verb on every engine, one by one: done, or refused with the reason that the engine declares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runtime.errors import UnsupportedError
from runtime.model import EventKind, LimitChange, State, Verb
from tests.dockerd import busybox_rootfs
from tests.engines.report import PASS, REFUSED, Cell
from tests.engines.subject import Subject


async def state(subject: Subject, key: str) -> State:
    return (await subject.engine.get(key)).state


async def create(subject: Subject) -> None:
    ref = await subject.create("sleep 60", name="made")
    assert (await subject.engine.get("made")).ref == ref
    assert not (await state(subject, ref.id)).live


async def start(subject: Subject) -> None:
    ref = await subject.create("sleep 60")
    await subject.engine.start(ref.id)
    assert await state(subject, ref.id) is State.RUNNING


async def stop(subject: Subject) -> None:
    ref = await subject.run()
    await subject.engine.stop(ref.id, timeout=5)
    assert not (await state(subject, ref.id)).live


async def restart(subject: Subject) -> None:
    ref = await subject.run()
    before = await subject.pid(ref)
    await subject.engine.restart(ref.id, timeout=2)
    assert await subject.pid(ref) != before


async def kill(subject: Subject) -> None:
    ref = await subject.run("sleep 60")
    await subject.engine.kill(ref.id)
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 137


async def pause(subject: Subject) -> None:
    ref = await subject.run()
    await subject.engine.pause(ref.id)
    assert await state(subject, ref.id) is State.PAUSED
    await subject.engine.unpause(ref.id)


async def unpause(subject: Subject) -> None:
    ref = await subject.run()
    await subject.engine.pause(ref.id)
    await subject.engine.unpause(ref.id)
    assert await state(subject, ref.id) is State.RUNNING


async def remove(subject: Subject) -> None:
    ref = await subject.run()
    await subject.engine.remove(ref.id, force=True)
    assert ref not in {container.ref for container in await subject.engine.containers()}


async def update(subject: Subject) -> None:
    ref = await subject.run()
    assert (await subject.engine.update(ref.id, LimitChange(pids=77))).ok
    assert await subject.file(ref, "pids", "pids.max", "pids.max") == "77"


async def logs(subject: Subject) -> None:
    ref = await subject.run("echo one; sleep 60")
    async for line in subject.engine.logs(ref.id, follow=True):
        assert (line.stream, line.data) == ("stdout", b"one")
        break


async def wait(subject: Subject) -> None:
    ref = await subject.run("exit 7")
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 7


async def events(subject: Subject) -> None:
    stream = subject.engine.events()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.3)
    ref = await subject.create("sleep 60")
    event = await asyncio.wait_for(first, 5)
    assert (event.kind, event.ref) == (EventKind.CREATED, ref)
    await stream.aclose()  # type: ignore[attr-defined]


async def import_image(subject: Subject) -> None:
    images = subject.engine.facets.images
    assert images is not None
    image = await images.import_image("pytop-verb:one", await asyncio.to_thread(busybox_rootfs))
    assert any("pytop-verb:one" in name for name in image.names)
    await images.remove_image(image.names[0])


DONE: dict[Verb, Callable[[Subject], Awaitable[None]]] = {
    Verb.CREATE: create,
    Verb.START: start,
    Verb.STOP: stop,
    Verb.RESTART: restart,
    Verb.KILL: kill,
    Verb.PAUSE: pause,
    Verb.UNPAUSE: unpause,
    Verb.REMOVE: remove,
    Verb.UPDATE: update,
    Verb.LOGS: logs,
    Verb.WAIT: wait,
    Verb.EVENTS: events,
    Verb.IMPORT: import_image,
}


@pytest.mark.parametrize("what", list(Verb))
async def test_verb(subject: Subject, what: Verb, cell: Cell) -> None:
    reason = (await subject.engine.capabilities()).why_not(what)
    if reason is None:
        await DONE[what](subject)
        cell(what, PASS)
        return
    with pytest.raises(UnsupportedError) as refused:
        await DONE[what](subject)
    assert reason in f"{refused.value} {refused.value.detail}"
    cell(what, REFUSED)
