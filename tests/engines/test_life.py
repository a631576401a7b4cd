"""The life of a container on every engine: create, start, stop, kill, pause, restart, remove, wait, logs, events."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from runtime.engine import Engine
from runtime.errors import ConflictError, InvalidError, NotFoundError, PytopError
from runtime.kernel import cgroupfs
from runtime.model import ContainerSpec, Event, EventKind, LogLine, State
from tests.engines.conftest import Subject


async def until(condition: Callable[[], Awaitable[bool]], within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.02)


async def state(subject: Subject, key: str) -> State:
    return (await subject.engine.get(key)).state


async def test_a_whole_life(subject: Subject) -> None:
    ref = await subject.create("trap 'exit 3' TERM; while :; do sleep 0.05; done", name="whole-life")
    assert await state(subject, ref.id) is State.CREATED
    await subject.engine.start(ref.id)
    container = await subject.engine.get("whole-life")
    assert container.ref == ref
    assert container.state is State.RUNNING
    assert container.pid is not None
    os.kill(container.pid, 0)
    assert container.started_ns is not None
    assert abs(container.started_ns - time.time_ns()) < 60e9
    await asyncio.sleep(0.3)
    await subject.engine.stop(ref.id, timeout=5)
    ended = await subject.engine.get(ref.id[:12])
    assert (ended.state, ended.exit_code, ended.pid) == (State.EXITED, 3, None)
    await subject.engine.remove(ref.id)
    with pytest.raises(NotFoundError):
        await subject.engine.get(ref.id)
    assert ref not in {c.ref for c in await subject.engine.containers()}


async def test_starting_twice_and_stopping_twice_do_no_harm(subject: Subject) -> None:
    ref = await subject.run()
    pid = await subject.pid(ref)
    with suppress(ConflictError):
        await subject.engine.start(ref.id)
    assert await subject.pid(ref) == pid
    await subject.engine.stop(ref.id, timeout=1)
    await subject.engine.stop(ref.id, timeout=1)
    assert await state(subject, ref.id) is State.EXITED


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
async def test_the_exit_status(subject: Subject, script: str, status: int) -> None:
    ref = await subject.create(f"{script}; sleep 5")
    # As pid 1 a shell is shielded from its own signals, so the script runs as a child of pid 1.
    if "kill" in script:
        await subject.engine.remove(ref.id)
        ref = await subject.create(f"sh -c '{script}'; exit $?")
    await subject.engine.start(ref.id)
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == status
    assert (await subject.engine.get(ref.id)).exit_code == status


async def test_two_can_wait(subject: Subject) -> None:
    ref = await subject.run("sleep 0.3; exit 7")
    answers = await asyncio.wait_for(asyncio.gather(*(subject.engine.wait(ref.id) for _ in range(2))), 10)
    assert answers == [7, 7]


async def test_a_stop_that_is_ignored_ends_in_a_kill(subject: Subject) -> None:
    ref = await subject.run("trap '' TERM; while :; do sleep 0.05; done")
    await asyncio.sleep(0.2)
    start = time.monotonic()
    await subject.engine.stop(ref.id, timeout=1)
    assert 0.8 < time.monotonic() - start < 6
    assert (await subject.engine.get(ref.id)).exit_code == 137


async def test_kill_sends_the_signal_that_is_named(subject: Subject) -> None:
    ref = await subject.run("trap 'exit 9' USR1; while :; do sleep 0.05; done")
    await asyncio.sleep(0.3)
    await subject.engine.kill(ref.id, "SIGUSR1")
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 9


async def test_pause_really_stops_it_and_unpause_lets_it_go_on(subject: Subject) -> None:
    ref = await subject.run("while :; do :; done")

    async def used() -> int:
        cgroup = cgroupfs.locate(cgroupfs.detect(), await subject.pid(ref))
        if "cpuacct" in cgroup.v1:
            return int((cgroup.v1["cpuacct"] / "cpuacct.usage").read_text())
        assert cgroup.unified is not None
        return int((cgroup.unified / "cpu.stat").read_text().split()[1])

    await subject.engine.pause(ref.id)
    assert await state(subject, ref.id) is State.PAUSED
    before = await used()
    await asyncio.sleep(0.3)
    assert await used() == before
    await subject.engine.unpause(ref.id)
    assert await state(subject, ref.id) is State.RUNNING
    await asyncio.sleep(0.3)
    assert await used() > before


async def test_restart_gives_a_new_process(subject: Subject) -> None:
    ref = await subject.run()
    before = await subject.pid(ref)
    await subject.engine.restart(ref.id, timeout=1)
    assert await subject.pid(ref) != before
    assert await state(subject, ref.id) is State.RUNNING


async def test_a_running_container_is_removed_only_by_force(subject: Subject) -> None:
    ref = await subject.run()
    with pytest.raises(ConflictError):
        await subject.engine.remove(ref.id)
    assert await state(subject, ref.id) is State.RUNNING
    await subject.engine.remove(ref.id, force=True)
    with pytest.raises(NotFoundError):
        await subject.engine.get(ref.id)


async def test_what_is_not_there_is_not_found(subject: Subject) -> None:
    engine = subject.engine
    for call in (engine.start, engine.stop, engine.restart, engine.kill, engine.pause, engine.remove, engine.wait):
        with pytest.raises(NotFoundError):
            await call("no-such-container")  # type: ignore[operator]
    with pytest.raises(NotFoundError):
        async for _ in engine.logs("no-such-container"):
            pass


async def test_the_wrong_state_is_a_conflict(subject: Subject) -> None:
    ref = await subject.create("sleep 9")
    for call in (subject.engine.pause, subject.engine.unpause, subject.engine.kill):
        with pytest.raises(ConflictError):
            await call(ref.id)  # type: ignore[operator]


async def test_a_name_is_given_once(subject: Subject) -> None:
    await subject.create("true", name="taken")
    with pytest.raises(ConflictError):
        await subject.create("true", name="taken")


@pytest.mark.parametrize("name", ["white space", "../up", "a/b", "-dash", "ünïcode", "new\nline"])
async def test_a_name_that_cannot_be_is_refused(subject: Subject, name: str) -> None:
    before = len(await subject.engine.containers())
    with pytest.raises(PytopError):
        await subject.create("true", name=name)
    assert len(await subject.engine.containers()) == before


async def test_labels_in_any_script(subject: Subject) -> None:
    labels = {"team": "Größe/大きさ", "emoji": "🐳", "quote": "\"'\\", "empty": ""}
    ref = await subject.create("true", labels=labels)
    assert (await subject.engine.get(ref.id)).labels == labels


async def test_an_unknown_image_is_not_found(subject: Subject) -> None:
    with pytest.raises(NotFoundError):
        await subject.engine.create(ContainerSpec(image="no-such-image", command=("true",)))


async def test_a_program_that_is_not_there_is_said_at_the_start(subject: Subject) -> None:
    ref = await subject.engine.create(ContainerSpec(image=subject.image, command=("/no/such/program",)))
    with pytest.raises(PytopError, match="/no/such/program"):
        await subject.engine.start(ref.id)
    container = await subject.engine.get(ref.id)
    assert container.state in (State.CREATED, State.EXITED)
    assert container.exit_code in (None, 127)
    assert container.error


async def test_environment_directory_and_user(subject: Subject) -> None:
    ref = await subject.run("echo $WORD; pwd; id -u", env={"WORD": "two words"}, workdir="/tmp", user="65534")
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    assert [line.data async for line in subject.engine.logs(ref.id)] == [b"two words", b"/tmp", b"65534"]


async def test_both_streams_bytes_and_a_last_line_without_its_end(subject: Subject) -> None:
    ref = await subject.run(r"echo out; echo err >&2; printf '\377\000bin\n'; printf tail")
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    lines = [line async for line in subject.engine.logs(ref.id)]
    by_stream = {name: [line.data for line in lines if line.stream == name] for name in ("stdout", "stderr")}
    assert by_stream["stderr"] == [b"err"]
    assert by_stream["stdout"][0] == b"out"
    assert by_stream["stdout"][-1] == b"tail"
    assert b"bin" in by_stream["stdout"][1]
    assert all(abs(line.time_ns - time.time_ns()) < 60e9 for line in lines)


async def test_the_last_lines_of_a_log(subject: Subject) -> None:
    ref = await subject.run("for i in 1 2 3 4 5; do echo $i; done")
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    assert [line.data async for line in subject.engine.logs(ref.id, tail=2)] == [b"4", b"5"]


async def test_a_log_is_followed_to_the_end(subject: Subject) -> None:
    ref = await subject.run("echo one; sleep 0.4; echo two; sleep 0.4; echo three")
    seen: list[LogLine] = []

    async def follow() -> None:
        async for line in subject.engine.logs(ref.id, follow=True):
            seen.append(line)

    await asyncio.wait_for(follow(), 15)
    assert [line.data for line in seen] == [b"one", b"two", b"three"]


async def test_events_tell_a_life_in_order(subject: Subject) -> None:
    seen: list[Event] = []

    async def listen() -> None:
        async for event in subject.engine.events():
            seen.append(event)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    ref = await subject.run("sleep 9")
    await subject.engine.pause(ref.id)
    await subject.engine.unpause(ref.id)
    await subject.engine.kill(ref.id)
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    await subject.engine.remove(ref.id)
    wanted = [
        EventKind.CREATED,
        EventKind.STARTED,
        EventKind.PAUSED,
        EventKind.UNPAUSED,
        EventKind.DIED,
        EventKind.REMOVED,
    ]

    async def all_there() -> bool:
        kinds = [event.kind for event in seen if event.ref == ref]
        return [kind for kind in kinds if kind in wanted] == wanted

    try:
        await until(all_there, within=5)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def test_another_clients_change_is_told_within_a_second(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]]
) -> None:
    other = await other_client()
    told = asyncio.Event()

    async def listen() -> None:
        async for event in subject.engine.events():
            if event.kind is EventKind.CREATED:
                told.set()

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    try:
        ref = await other.create(ContainerSpec(image=subject.image, command=("true",), name="by-another"))
        await asyncio.wait_for(told.wait(), 1.0)
        assert (await subject.engine.get("by-another")).ref == ref
        await other.remove(ref.id)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await other.close()


async def test_its_first_process_killed_from_outside(subject: Subject) -> None:
    ref = await subject.run()
    os.kill(await subject.pid(ref), signal.SIGKILL)
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 137
    assert await state(subject, ref.id) is State.EXITED


async def test_it_is_started_again_when_its_policy_says_so(subject: Subject) -> None:
    ref = await subject.run("sleep 0.2; exit 1", restart_policy="on-failure:2")

    async def given_up() -> bool:
        container = await subject.engine.get(ref.id)
        return container.state is State.EXITED

    await asyncio.sleep(0.5)
    await until(given_up, within=20)
    lines = (await subject.engine.get(ref.id)).exit_code
    assert lines == 1


async def test_always_means_also_after_success(subject: Subject) -> None:
    ref = await subject.run("echo begun; sleep 0.1", restart_policy="always")

    async def twice() -> bool:
        return len([line async for line in subject.engine.logs(ref.id)]) >= 2

    await until(twice, within=10)
    await subject.engine.stop(ref.id, timeout=1)
    await asyncio.sleep(0.5)
    assert await state(subject, ref.id) is State.EXITED


async def test_auto_remove(subject: Subject) -> None:
    ref = await subject.run("sleep 0.2", auto_remove=True)

    async def gone() -> bool:
        return ref not in {container.ref for container in await subject.engine.containers()}

    await until(gone)


async def test_many_at_once(subject: Subject) -> None:
    refs = await asyncio.gather(*(subject.run("sleep 30", network="none") for _ in range(8)))
    states = {container.ref: container.state for container in await subject.engine.containers()}
    assert all(states[ref] is State.RUNNING for ref in refs)
    await asyncio.gather(*(subject.engine.remove(ref.id, force=True) for ref in refs))
    assert not {container.ref for container in await subject.engine.containers()} & set(refs)


async def test_the_daemon_dies_and_comes_back(subject: Subject) -> None:
    if subject.daemon is None:
        assert (await subject.engine.info()).product
        return
    ref = await subject.create("true", name="survivor")
    subject.daemon.kill()
    with pytest.raises(PytopError, match=r"not running|gone away"):
        await subject.engine.info()
    subject.daemon.start()
    assert (await subject.engine.get("survivor")).ref == ref


async def test_nonsense_is_refused_before_anything_happens(subject: Subject) -> None:
    ref = await subject.run()
    with pytest.raises(InvalidError):
        await subject.engine.kill(ref.id, "SIGNONSENSE")
    assert await state(subject, ref.id) is State.RUNNING
