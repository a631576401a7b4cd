"""Docker's and Podman's engines over the socket of a daemon that misbehaves: one bad thing costs itself only.

The kind was looked for in both engines (list, inspect, pods, info, version, events, logs) and in containerd's, whose
list is two calls whatever it holds and needs no call per container.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from aiohttp import web

from runtime.engines.daemon import follow, listing
from runtime.engines.docker import engine as docker_engine
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.podman import partial_listing
from runtime.engines.podman.engine import PodmanEngine
from runtime.errors import DeniedError, EngineError, NotFoundError, PytopError, UnavailableError
from runtime.kernel.cgroupfs import Mount
from runtime.model import Container, Event, EventKind, State, Verb
from tests import hostile_daemon as wrong
from tests.hostile_daemon import DOCKER, PODMAN, HostileDaemon, hostile
from tests.waiting import until

Engine = DockerEngine | PodmanEngine
BOTH = pytest.mark.parametrize("dialect", [DOCKER, PODMAN])


@pytest.fixture
async def daemon(dialect: str) -> AsyncIterator[HostileDaemon]:
    async with hostile(dialect) as made:
        yield made


@pytest.fixture
async def engine(daemon: HostileDaemon, tmp_path: Path) -> AsyncIterator[Engine]:
    made = daemon.engine(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "INSPECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(partial_listing, "PART_TIMEOUT_S", 0.5)


def by_id(containers: list[Container]) -> dict[str, Container]:
    return {container.ref.id: container for container in containers}


# one container


@BOTH
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (wrong.status(500, "devmapper: open: no such device"), "devmapper: open: no such device"),
        (wrong.hang, "did not answer"),
        (wrong.byte_by_byte, "did not answer"),
        (wrong.garbage, "not JSON"),
        (wrong.half_json, "not JSON"),
        (wrong.brackets, "not JSON"),
        (wrong.odd_list, "unknown form"),
        (wrong.body(b'{"Id": 5, "State": [1], "Config": "x"}'), "unknown form"),
        (wrong.body(b'{"Id": "%s"}' % (b"ef" * 32)), "instead"),
        (wrong.endless_body, ""),
        (wrong.die, "gone away"),
        (wrong.forbidden, "forbids GET"),
    ],
)
async def test_a_container_that_cannot_be_inspected_costs_its_own_row(
    daemon: HostileDaemon, engine: Engine, fault: wrong.Fault, words: str
) -> None:
    bad, *good = [daemon.add(number) for number in range(5)]
    daemon.faults[f"/containers/{bad}/json"] = fault
    async with asyncio.timeout(8):
        found = by_id(await engine.containers())
        again = await engine.get(bad)
    assert len(found) == 5
    assert (found[bad].name, found[bad].state, found[bad].image) == ("c0", State.RUNNING, "busybox")
    assert words in found[bad].error
    assert "<html" not in found[bad].error
    assert (again.ref, again.state) == (found[bad].ref, State.RUNNING)
    assert [(found[each].error, found[each].restart_policy) for each in good] == [("", "always")] * 4


@BOTH
async def test_many_that_hang_do_not_add_up(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "INSPECTS_TIMEOUT_S", 1.0)
    for number in range(200):
        daemon.faults[f"/containers/{daemon.add(number)}/json"] = wrong.hang
    begun = time.monotonic()
    assert len(await engine.containers()) == 200
    assert time.monotonic() - begun < 4


@BOTH
async def test_one_that_failed_is_left_alone_for_a_while_and_seen_when_it_is_well(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = daemon.add(1)
    daemon.faults[f"/containers/{bad}/json"] = wrong.status(500, "no")
    for _ in range(5):
        await engine.containers()
    assert daemon.count(f"/containers/{bad}/json") == 1
    daemon.faults.clear()
    monkeypatch.setattr(listing, "FIRST_RETRY_S", 0.0)
    assert (await engine.get(bad)).error == "", "an event asks at once"
    (found,) = await engine.containers()
    assert (found.error, found.restart_policy) == ("", "always")


@BOTH
@pytest.mark.parametrize("state", ["running", "exited"])
async def test_one_that_failed_is_tried_again_after_a_while(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(listing, "FIRST_RETRY_S", 0.05)
    bad = daemon.add(1, state)
    daemon.faults[f"/containers/{bad}/json"] = wrong.status(500, "no")
    assert (await engine.containers())[0].error
    daemon.faults.clear()
    await asyncio.sleep(0.1)
    assert (await engine.containers())[0].error == ""


@pytest.mark.parametrize("dialect", [DOCKER])
async def test_what_the_list_alone_tells(daemon: HostileDaemon, engine: Engine) -> None:
    up, down = daemon.add(1), daemon.add(2, "exited")
    for each in (up, down):
        daemon.faults[f"/containers/{each}/json"] = wrong.status(500, "no")
    found = by_id(await engine.containers())
    assert (found[up].name, found[up].health, found[up].command) == ("c1", "healthy", ("sleep", "60"))
    assert [(port.container, port.host, port.address) for port in found[up].ports] == [(80, 8080, "0.0.0.0")]
    assert (found[down].state, found[down].exit_code, found[down].created_ns) == (
        State.EXITED,
        3,
        (wrong.CREATED_S + 2) * 1_000_000_000,
    )


@BOTH
@pytest.mark.parametrize("known", [False, True])
async def test_podmans_list_goes_on_beside_a_held_container(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Docker's list takes no lock, so there only the inspect hangs. Another id begins as the held one's does."""
    monkeypatch.setattr("runtime.engines.podman.engine.WHOLE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(partial_listing, "FIND_TIMEOUT_S", 10.0)
    bad = daemon.add(1)
    twins = [bad[:2] + "e" * 62]
    for twin in twins:
        daemon.containers[twin] = {"name": "twin", "state": "exited", "created": wrong.CREATED_S}
    others = [daemon.add(number) for number in range(2, 20)]
    if known:
        await engine.containers()
    daemon.held.add(bad)
    async with asyncio.timeout(30):
        found = by_id(await engine.containers())
        found = by_id(await engine.containers())
    assert set(found) == {bad, *twins, *others}
    assert found[bad].error or (known and daemon.dialect == DOCKER), "only an inspect tells, and it is not due"
    assert not any(found[each].error for each in (*twins, *others))
    if known:
        assert (found[bad].name, found[bad].state) == ("c1", State.RUNNING)
    daemon.held.clear()
    assert not any(each.error for each in await engine.containers()) or daemon.dialect == DOCKER


@BOTH
async def test_a_live_container_whose_pid_is_not_told_is_found_by_the_kernel(
    daemon: HostileDaemon, engine: Engine, tmp_path: Path
) -> None:
    """So it is measured and can be frozen, killed and limited."""
    bad = daemon.add(1)
    name = bad if daemon.dialect == DOCKER else f"libpod-{bad}"
    inner = tmp_path / f"tree/engine/{name}/inner"
    inner.mkdir(parents=True)
    (inner / "cgroup.procs").write_text("42\n")
    (inner.parent / "cgroup.procs").write_text("")
    (tmp_path / "42").mkdir()
    (tmp_path / "42/cgroup").write_text(f"0::/engine/{name}/inner\n")
    mount = replace(_a_mount(), path=tmp_path / "tree")
    engine._hierarchies = replace(engine._hierarchies, v1={}, unified=mount)
    daemon.faults[f"/containers/{bad}/json"] = wrong.hang
    (found,) = await engine.containers()
    assert (found.pid, found.cgroup) == (42, f"/engine/{name}")


def _a_mount() -> Mount:
    return Mount(Path("/"))


# many containers


@BOTH
async def test_of_thousands_at_rest_nearly_nothing_is_asked(daemon: HostileDaemon, engine: Engine) -> None:
    for number in range(3000):
        identity = f"{number:064x}"
        daemon.containers[identity] = {"name": f"c{number}", "state": "exited", "created": wrong.CREATED_S + number}
    running = [daemon.add(number) for number in range(16, 21)]
    assert len(await engine.containers()) == 3005
    assert daemon.count("/json") <= 1 + len(running) + listing.MAX_RESTING_INSPECTS
    newest = f"{2999:064x}"
    assert daemon.count(newest) == 1, "the newest are looked at once"
    daemon.asked.clear()
    for _ in range(3):
        await engine.containers()
    assert daemon.count("") == 3, "a list each"
    daemon.asked.clear()
    changed = f"{7:064x}"
    daemon.containers[changed]["state"] = "running"
    found = by_id(await engine.containers())
    assert (found[changed].state, found[changed].restart_policy) == (State.RUNNING, "always")
    assert daemon.count("") == 2, "and who has changed"


@BOTH
async def test_a_live_one_is_looked_at_again_after_a_while(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = daemon.add(1)
    await engine.containers()
    daemon.containers[identity]["host"] = {"RestartPolicy": {"Name": "no"}}
    assert (await engine.containers())[0].restart_policy == "always"
    monkeypatch.setattr(listing, "LIVE_MAX_AGE_S", 0.0)
    assert (await engine.containers())[0].restart_policy == "no"


@BOTH
async def test_while_events_are_followed_nothing_is_asked_of_those_that_rest(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inspect of each live container every minute was a sixth of what 200 of them cost."""
    monkeypatch.setattr(listing, "LIVE_MAX_AGE_S", 0.0)
    identities = [daemon.add(number) for number in range(40)]
    events = engine.events()
    waiting = asyncio.ensure_future(anext(events))
    await until(lambda: daemon.count("/events"))
    await engine.containers()
    daemon.asked.clear()
    for _ in range(3):
        await engine.containers()
    assert daemon.count("") == 3, "a list each"
    daemon.tell("update", identities[7])
    event = await asyncio.wait_for(waiting, 5)
    assert event.ref.id == identities[7]
    daemon.asked.clear()
    await engine.get(identities[7])
    assert daemon.count(f"{identities[7]}/json") == daemon.count("") == 1
    monkeypatch.setattr(listing, "FOLLOWED_MAX_AGE_S", 0.0)
    daemon.asked.clear()
    await engine.containers()
    assert daemon.count("") == 1 + listing.MAX_AGED_INSPECTS, "a few at once after a long time"
    await cast("AsyncGenerator[Event, None]", events).aclose()
    daemon.asked.clear()
    await engine.containers()
    assert daemon.count("") == 1 + len(identities), "without events as before"


@BOTH
async def test_a_restart_that_nobody_told_is_seen_by_its_pid(
    daemon: HostileDaemon, engine: Engine, tmp_path: Path
) -> None:
    identity = daemon.add(1, pid=42)
    name = identity if daemon.dialect == DOCKER else f"libpod-{identity}"
    for pid in (42, 43):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/cgroup").write_text(f"0::/engine/{name}\n")
    assert [each.pid for each in await engine.containers()] == [42]
    daemon.containers[identity]["pid"] = 43
    (tmp_path / "42/cgroup").unlink()
    assert [each.pid for each in await engine.containers()] == [43]


# odd documents


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        wrong.odd_list,
        wrong.brackets,
        wrong.garbage,
        wrong.half_json,
        wrong.body(b'{"x": 1}'),
        wrong.body(b"5"),
        wrong.body(b'[{"Name": "no id"}]'),
    ],
)
async def test_an_odd_list_is_that_engines_error(daemon: HostileDaemon, engine: Engine, fault: wrong.Fault) -> None:
    daemon.faults["/containers/json"] = fault
    with pytest.raises(EngineError):
        await engine.containers()


@BOTH
async def test_an_odd_row_costs_itself(daemon: HostileDaemon, engine: Engine) -> None:
    odd = b'[{"Id": "aa", "Labels": [1], "Names": 5}, {"Id": "bb", "State": "running", "Names": ["/b"]}]'
    daemon.faults["/containers/json"] = wrong.body(odd)
    for each in ("aa", "bb"):
        daemon.faults[f"/containers/{each}/json"] = wrong.status(500, "no")
    found = by_id(await engine.containers())
    assert (found["aa"].state, found["bb"].state) == (State.UNKNOWN, State.RUNNING)
    assert found["aa"].error


@BOTH
@pytest.mark.parametrize("fault", [wrong.odd_list, wrong.brackets, wrong.body(b"5"), wrong.garbage])
async def test_odd_info_and_version_are_unknown(daemon: HostileDaemon, engine: Engine, fault: wrong.Fault) -> None:
    daemon.add(1)
    daemon.faults |= {"/info": fault, "/version": fault}
    assert (await engine.info()).detail["unknown"]
    await engine.capabilities()
    assert len(await engine.containers()) == 1


@BOTH
@pytest.mark.parametrize(
    "fault", [wrong.endless_line, wrong.body(b"[1, null]\n"), wrong.body(b"[" * 200_000 + b"\n"), wrong.garbage]
)
async def test_odd_events_are_that_engines_error(daemon: HostileDaemon, engine: Engine, fault: wrong.Fault) -> None:
    daemon.faults["/events"] = fault
    with pytest.raises(EngineError):
        async with asyncio.timeout(20):
            await anext(engine.events())


@BOTH
async def test_a_huge_frame_of_a_log_is_that_engines_error(daemon: HostileDaemon, engine: Engine) -> None:
    identity = daemon.add(1)
    daemon.faults["/logs"] = wrong.huge_frame
    with pytest.raises(EngineError, match="longer than 1 MiB"):
        async with asyncio.timeout(20):
            await anext(engine.logs(identity, follow=True))


# a proxy before it


@BOTH
@pytest.mark.parametrize("fault", [wrong.forbidden, wrong.status(403, "not for you"), wrong.hang])
async def test_a_proxy_that_forbids_info_and_version(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch, fault: wrong.Fault
) -> None:
    monkeypatch.setattr(docker_engine, "VERSION_TIMEOUT_S", 0.3)
    engine._info._timeout_s = 0.3
    daemon.add(1)
    daemon.faults |= {"/info": fault, "/version": fault}
    told = await engine.info()
    assert told.detail["unknown"]
    assert "<" not in told.detail["unknown"]
    if fault is wrong.forbidden:
        assert ("/version (status 403)" if daemon.dialect == DOCKER else "/info (status 403)") in told.detail["unknown"]
    assert (await engine.capabilities()).why_not(Verb.UPDATE) is None
    assert (await engine.recorded(daemon.add(2))).memory is not None
    assert len(await engine.containers()) == 2
    assert daemon.count("/info") == 1, "nor is it asked at each change"


@BOTH
async def test_a_forbidden_list_names_the_request_and_shows_no_page(daemon: HostileDaemon, engine: Engine) -> None:
    daemon.faults["/containers/json"] = wrong.forbidden
    with pytest.raises(DeniedError) as caught:
        await engine.containers()
    assert "<" not in str(caught.value)
    assert "forbids GET" in caught.value.detail
    assert "/containers/json (status 403)" in caught.value.detail


@BOTH
async def test_a_daemon_that_is_away_is_not_a_forbidden_endpoint(daemon: HostileDaemon, engine: Engine) -> None:
    await engine.info()
    await daemon.stop()
    with pytest.raises(UnavailableError):
        await engine.info()


# streams that are cut


@BOTH
@pytest.mark.parametrize("abort", [False, True])
async def test_events_go_on_over_a_stream_that_is_cut(daemon: HostileDaemon, engine: Engine, abort: bool) -> None:
    identity = daemon.add(1)
    daemon.cut_s, daemon.abort = 0.3, abort
    found = []

    async def read() -> None:
        async for event in engine.events():
            found.append(event)

    reading = asyncio.create_task(read())
    for number in range(12):
        await asyncio.sleep(0.12)
        daemon.tell("start" if number % 2 else "die", identity)
    await until(lambda: len(found) >= 12, 10)
    await asyncio.sleep(0.8)  # two cuts more, in which what was told is in the overlap
    reading.cancel()
    assert [event.kind for event in found] == [EventKind.DIED, EventKind.STARTED] * 6
    assert daemon.count("/events") >= 4


@BOTH
@pytest.mark.parametrize("abort", [False, True])
async def test_a_followed_log_goes_on_over_a_cut_without_doubling(
    daemon: HostileDaemon, engine: Engine, abort: bool
) -> None:
    identity = daemon.add(1)
    daemon.cut_s, daemon.abort = 0.3, abort
    begun = time.time_ns()
    lines = daemon.logs[identity] = [(begun, b"0")]

    async def write() -> None:
        for number in range(1, 20):
            await asyncio.sleep(0.05)
            lines.extend([(begun + number, b"%d" % number)] * 2)  # two lines of the same time
        daemon.containers[identity]["state"] = "exited"

    writing = asyncio.create_task(write())
    async with asyncio.timeout(20):
        found = [line.data async for line in engine.logs(identity, follow=True, tail=5)]
    await writing
    assert found == [b"0", *(b"%d" % (number // 2) for number in range(2, 40))]
    assert daemon.count("/logs") >= 3


@BOTH
async def test_the_log_of_a_container_that_ends_ends(daemon: HostileDaemon, engine: Engine) -> None:
    identity = daemon.add(1, "exited")
    daemon.logs[identity] = [(1_790_000_000_000_000_000, b"x")]
    async with asyncio.timeout(5):
        assert [line.data async for line in engine.logs(identity, follow=True)] == [b"x"]
    assert daemon.count("/logs") == 1


@BOTH
async def test_a_log_that_is_ended_at_once_for_ever_is_given_up(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MIN_STREAM_S", 0.05)
    identity = daemon.add(1)
    daemon.faults["/logs"] = wrong.body(b"")
    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError, match="again and again"):
            await anext(engine.logs(identity, follow=True))
    assert daemon.count("/logs") == follow.MAX_SHORT_STREAMS + 1


# a daemon that dies


@BOTH
async def test_a_daemon_that_dies_in_the_middle_of_its_list(daemon: HostileDaemon, engine: Engine) -> None:
    daemon.faults["/containers/json"] = wrong.die
    with pytest.raises(PytopError):
        async with asyncio.timeout(10):
            await engine.containers()


@BOTH
async def test_one_that_is_removed_between_list_and_inspect_is_gone(daemon: HostileDaemon, engine: Engine) -> None:
    gone, there = daemon.add(1), daemon.add(2)
    daemon.faults[f"/containers/{gone}/json"] = wrong.status(404, "no such container")
    assert [each.ref.id for each in await engine.containers()] == [there]
    await engine.containers()
    daemon.faults[f"/containers/{there}/json"] = wrong.status(404, "no such container")
    with pytest.raises(NotFoundError):
        await engine.get(there)


# limits


@BOTH
async def test_limits_go_on_where_the_daemon_hangs_for_a_container(
    daemon: HostileDaemon, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's part is in test_changing_limits; here, that the change comes that far."""
    monkeypatch.setattr(listing, "DESCRIBE_TIMEOUT_S", 0.3)
    bad = daemon.add(1)
    daemon.faults[f"/containers/{bad}/json"] = wrong.hang
    with pytest.raises(UnavailableError, match="look at"):
        await engine._read(bad)
    await engine.containers()
    target = await engine._read(bad)
    assert target.container.ref.id == bad
    assert "did not answer" in target.undescribed
    assert not target.document
    daemon.faults.clear()
    target = await engine._read(bad)
    assert not target.undescribed
    assert target.document


# a change that takes long


@BOTH
@pytest.mark.parametrize(
    "verb", [Verb.START, Verb.STOP, Verb.RESTART, Verb.KILL, Verb.PAUSE, Verb.UNPAUSE, Verb.REMOVE]
)
async def test_a_change_is_waited_for_as_long_as_it_takes(
    daemon: HostileDaemon, engine: Engine, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon does it all the same. Looked for in create and images too, in containerd's calls with an empty answer,
    and in the embedded engine's requests to its zygote.
    """
    identity = daemon.add(1)
    timeout = aiohttp.ClientTimeout

    def short(total: float | None, sock_connect: float) -> aiohttp.ClientTimeout:
        return timeout(total=None if total is None else total / 200, sock_connect=sock_connect)  # 60 s become 0.3

    monkeypatch.setattr(aiohttp, "ClientTimeout", short)

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.7)
        return web.Response(status=204)

    end = f"/containers/{identity}" if verb is Verb.REMOVE else f"/{verb.value}"
    daemon.faults[end] = slow
    await getattr(engine, verb.value)(identity)
    assert daemon.count(end) == 1
