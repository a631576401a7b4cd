"""The life of a container on every engine: create, start, stop, kill, pause, restart, remove, wait, logs, events."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.engines.protocol import Engine
from runtime.errors import ConflictError, InvalidError, NotFoundError, PytopError, UnsupportedError
from runtime.model import Bind, ContainerRef, ContainerSpec, Event, EventKind, LogLine, State, Verb
from tests.dockerd import busybox_rootfs
from tests.engines.subject import Needs, Subject
from tests.waiting import until
from tui.core.inventory import EngineInventory


def read(path: str) -> str:
    return Path(path).read_text()


async def state(subject: Subject, key: str) -> State:
    return (await subject.engine.get(key)).state


async def refused(subject: Subject, field: str, **asked: object) -> bool:
    """Whether the engine declares that no container can be created so; then it must say so when it is asked."""
    reason = (await subject.engine.capabilities()).creation.get(field)
    if reason is None:
        return False
    before = len(await subject.engine.containers())
    with pytest.raises(UnsupportedError) as caught:
        await subject.create("true", **asked)
    assert caught.value.detail == reason
    assert len(await subject.engine.containers()) == before
    return True


async def test_create_start_stop_restart_remove(subject: Subject) -> None:
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


async def test_two_clients_can_wait(subject: Subject) -> None:
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

    await subject.engine.pause(ref.id)
    assert await state(subject, ref.id) is State.PAUSED
    before = await subject.cpu_time(ref)
    await asyncio.sleep(0.3)
    assert await subject.cpu_time(ref) == before
    await subject.engine.unpause(ref.id)
    assert await state(subject, ref.id) is State.RUNNING
    await asyncio.sleep(0.3)
    assert await subject.cpu_time(ref) > before


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


async def test_a_missing_container_is_not_found(subject: Subject) -> None:
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


async def test_a_name_is_unique(subject: Subject) -> None:
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


async def test_start_fails_for_a_missing_program(subject: Subject) -> None:
    spec = ContainerSpec(image=subject.image, command=("/no/such/program",), network="none")
    ref = await subject.engine.create(spec)
    with pytest.raises(PytopError, match="/no/such/program"):
        await subject.engine.start(ref.id)
    container = await subject.engine.get(ref.id)
    assert container.state in (State.CREATED, State.EXITED)
    assert container.exit_code in (None, 127)
    assert container.error


async def test_environment_directory_and_user(subject: Subject) -> None:
    subject.need(Needs.NAMESPACES)
    ref = await subject.run("echo $WORD; pwd; id -u", env={"WORD": "two words"}, workdir="/tmp", user="65534")
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    assert [line.data async for line in subject.engine.logs(ref.id)] == [b"two words", b"/tmp", b"65534"]


async def test_both_streams_bytes_and_a_last_line_without_its_end(subject: Subject) -> None:
    ref = await subject.run(r"echo out; echo err >&2; printf '\377\000bin\n'; printf tail")
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    lines = [line async for line in subject.engine.logs(ref.id)]
    by_stream = {name: [line.data for line in lines if line.stream == name] for name in ("stdout", "stderr")}
    assert by_stream["stderr"] == [b"err"]
    # Docker's json-file log replaces what is not UTF-8; nothing else may be changed.
    assert by_stream["stdout"] in ([b"out", odd + b"\000bin", b"tail"] for odd in (b"\377", "\ufffd".encode()))
    assert [line.partial for line in lines if line.stream == "stdout"] == [False, False, True]
    assert all(abs(line.time_ns - time.time_ns()) < 60e9 for line in lines)


async def test_a_line_longer_than_any_buffer_keeps_every_byte(subject: Subject) -> None:
    ref = await subject.run("i=0; while [ $i -lt 4000 ]; do printf %010d $i; i=$((i+1)); done; echo; echo end")
    await asyncio.wait_for(subject.engine.wait(ref.id), 20)
    *pieces, end = [line async for line in subject.engine.logs(ref.id)]
    assert b"".join(line.data for line in pieces) == b"".join(b"%010d" % number for number in range(4000))
    assert [line.partial for line in pieces] == [True] * (len(pieces) - 1) + [False]
    assert (end.data, end.partial) == (b"end", False)


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


async def test_events_of_a_lifecycle_come_in_order(subject: Subject) -> None:
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
        await until(all_there, 5)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def test_another_clients_change_is_an_event_within_a_second(
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
        spec = ContainerSpec(image=subject.image, command=("true",), name="by-another", network="none")
        ref = await other.create(spec)
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
    if await refused(subject, "restart_policy", restart_policy="on-failure:2"):
        return
    ref = await subject.run("echo begun; sleep 0.1; exit 1", restart_policy="on-failure:2")

    async def given_up() -> bool:
        container = await subject.engine.get(ref.id)
        return container.state is State.EXITED

    await asyncio.sleep(1)
    await until(given_up, 20)
    assert (await subject.engine.get(ref.id)).exit_code == 1
    assert len([line async for line in subject.engine.logs(ref.id)]) == 3  # the first run and two more


async def test_always_means_also_after_success(subject: Subject) -> None:
    ref = await subject.run("echo begun; sleep 0.1", restart_policy="always")

    async def twice() -> bool:
        return len([line async for line in subject.engine.logs(ref.id)]) >= 2

    await until(twice)
    await subject.engine.stop(ref.id, timeout=1)
    await asyncio.sleep(0.5)
    assert await state(subject, ref.id) is State.EXITED


async def test_a_restart_loop_is_told_with_its_count_and_its_last_exit(subject: Subject) -> None:
    """The status is the engine's, or that of its event where it forgets it at the next start.

    containerd restarts only what a plugin of its own looks at, every 10 s, and keeps a count since 1.7.
    """
    if await refused(subject, "restart_policy", restart_policy="on-failure:2"):
        return
    inventory = EngineInventory(subject.engine, lambda: None, lambda event: None)
    following = asyncio.create_task(inventory.run())
    await asyncio.wait_for(inventory.answered.wait(), 10)
    try:
        ref = await subject.run("sleep 0.3; exit 3", restart_policy="always")
        counts = subject.engine.key != "containerd"

        def told() -> bool:
            known = inventory.containers.get(ref)
            return known is not None and known.last_exit_code == 3 and (not counts or (known.restarts or 0) >= 2)

        await until(told, 30)
        await subject.engine.stop(ref.id, timeout=1)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_auto_remove(subject: Subject) -> None:
    if await refused(subject, "auto_remove", auto_remove=True):
        return
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


async def test_invalid_specs_are_refused_before_anything_is_created(subject: Subject) -> None:
    ref = await subject.run()
    with pytest.raises(InvalidError):
        await subject.engine.kill(ref.id, "SIGNONSENSE")
    assert await state(subject, ref.id) is State.RUNNING


async def test_inspect_is_json(subject: Subject) -> None:
    ref = await subject.run("sleep 9", name="looked-at", labels={"a": "b"})
    document = json.loads(json.dumps(await subject.engine.inspect("looked-at")))
    assert ref.id in json.dumps(document)
    assert "looked-at" in json.dumps(document)


async def test_an_image_is_made_of_a_tar_archive_and_removed(subject: Subject) -> None:
    images = subject.engine.facets.images
    assert images is not None
    reason = (await subject.engine.capabilities()).why_not(Verb.IMPORT)
    if reason is not None:
        with pytest.raises(UnsupportedError) as caught:
            await images.import_image("own:1", busybox_rootfs())
        assert caught.value.detail == reason
        return
    image = await images.import_image("own:1", busybox_rootfs())
    assert {"own:1", "localhost/own:1"} & set(image.names)  # Podman gives names without a registry one
    assert image.id in {other.id for other in await images.images()}
    ref = await subject.engine.create(ContainerSpec("own:1", ("true",), network="none"))
    await subject.engine.start(ref.id)
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 0
    await subject.engine.remove(ref.id)
    await images.remove_image("own:1")
    assert image.id not in {other.id for other in await images.images()}
    with pytest.raises(NotFoundError):
        await images.remove_image("own:1")


async def test_a_bind_can_be_read_and_only_a_writable_one_written(subject: Subject, tmp_path: Path) -> None:
    subject.need(Needs.NAMESPACES)
    (tmp_path / "word").write_text("hello")
    binds = (Bind(str(tmp_path), "/mnt/fixed", read_only=True), Bind(str(tmp_path), "/mnt/open"))
    ref = await subject.run(
        "cat /mnt/fixed/word; echo; touch /mnt/fixed/no || touch /mnt/open/yes", binds=binds, network="none"
    )
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 0
    assert (tmp_path / "yes").exists()
    assert not (tmp_path / "no").exists()
    assert b"hello" in [line.data async for line in subject.engine.logs(ref.id)]


async def test_networks(subject: Subject) -> None:
    alone = await subject.run("sleep 30", network="none")
    if await refused(subject, "network", network="bridge"):
        return
    joined = await subject.run("sleep 30", network="bridge")

    async def interfaces(ref: ContainerRef) -> set[str]:
        text = read(f"/proc/{await subject.pid(ref)}/net/dev")
        return {line.split(":")[0].strip() for line in text.splitlines()[2:]}

    assert "lo" in await interfaces(alone)
    assert "eth0" not in await interfaces(alone)
    assert "eth0" in await interfaces(joined)
    assert (await subject.engine.get(joined.id)).addresses
    assert not (await subject.engine.get(alone.id)).addresses


async def test_the_events_iterator_can_be_left_and_entered_again(subject: Subject) -> None:
    for name in ("first-time", "second-time"):
        events = subject.engine.events()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.3)
        ref = await subject.create("true", name=name)
        assert (await asyncio.wait_for(waiting, 5)).ref == ref
        await events.aclose()  # type: ignore[attr-defined]


async def test_removing_while_it_is_waited_for_and_followed(subject: Subject) -> None:
    ref = await subject.run("echo one; sleep 30")
    waiting = asyncio.create_task(subject.engine.wait(ref.id))

    async def follow() -> list[bytes]:
        return [line.data async for line in subject.engine.logs(ref.id, follow=True)]

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.5)
    await subject.engine.remove(ref.id, force=True)
    done = await asyncio.wait_for(asyncio.gather(waiting, following, return_exceptions=True), 10)
    assert done[0] == 137 or isinstance(done[0], NotFoundError)
    assert done[1] == [b"one"] or isinstance(done[1], NotFoundError)


async def test_start_and_stop_against_each_other_end_in_one_state(subject: Subject) -> None:
    ref = await subject.create("sleep 30", network="none")
    calls = [subject.engine.start(ref.id), subject.engine.stop(ref.id, timeout=0), subject.engine.start(ref.id)]
    for answer in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20):
        assert answer is None or isinstance(answer, PytopError)
    container = await subject.engine.get(ref.id)
    assert container.state in (State.RUNNING, State.EXITED)
    assert (container.pid is not None) == container.state.live


async def test_nothing_is_lost_when_the_client_ends(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]]
) -> None:
    other = await other_client()
    spec = ContainerSpec(subject.image, ("sh", "-c", "echo hi; sleep 30"), name="left-behind", network="none")
    ref = await other.create(spec)
    await other.start(ref.id)
    await other.close()
    await asyncio.sleep(0.3)
    assert await state(subject, "left-behind") is State.RUNNING
    assert [line.data async for line in subject.engine.logs(ref.id)] == [b"hi"]
