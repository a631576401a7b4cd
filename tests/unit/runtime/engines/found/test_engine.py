"""What the engine for found containers refuses, and why: on trees of files, with nothing that could be hit."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime import limits
from runtime.engines.found import engine
from runtime.engines.found.engine import FoundEngine, _differences
from runtime.engines.found.unsupported import SHARES, why_not
from runtime.engines.protocol import Facets
from runtime.errors import NotFoundError, RefusedError, UnsupportedError
from runtime.kernel import cgroups
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import ContainerKind, ContainerRef, EventKind, LimitChange, LimitName, LimitOutcome, Verb
from tests.app.fakes import container
from tests.fake_engine import FakeEngine
from tests.unit.fake_machine import NOBODY, FakeMachine
from tui.core.session import Session

ID = "0123456789abcdef" * 4
BOX = "pid:[2]"
Act = Callable[[FoundEngine, str], Awaitable[object]]
OF_CGROUP: dict[str, Act] = {
    "pause": lambda found, key: found.pause(key),
    "update": lambda found, key: found.update(key, LimitChange(pids=9)),
}
ACTS: dict[str, Act] = OF_CGROUP | {
    "stop": lambda found, key: found.stop(key, timeout=0),
    "kill": lambda found, key: found.kill(key),
    "signal": lambda found, key: found.kill(key, "HUP"),
}


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@pytest.fixture(autouse=True)
def acted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been done."""
    done: list[str] = []

    def noted(name: str) -> Callable[..., None]:
        return lambda *_, **__: done.append(name)

    def change(ref: ContainerRef, cgroup: Cgroup, asked: LimitChange, *, pid: int) -> LimitOutcome:
        done.append(f"limit {[name.value for name, _ in asked.items()]} of {cgroup.unified}")
        return LimitOutcome(ref, ())

    for name in ("freeze", "thaw", "kill_all"):
        monkeypatch.setattr(cgroups, name, noted(name))
    monkeypatch.setattr(engine, "_signal", noted("signal"))
    monkeypatch.setattr(limits, "change", change)
    return done


def found(machine: FakeMachine, *, services: bool = False) -> FoundEngine:
    return FoundEngine(scanner=machine.scanner(services=services))


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_an_exclusive_cgroup_is_acted_on(machine: FakeMachine, acted: list[str], act: Act) -> None:
    machine.live(NOBODY, f"/docker/{ID}", 1, space=BOX)
    await act(found(machine), ID)
    assert acted or act is ACTS["stop"]  # nobody with that number is there to wait for


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_process_1_is_never_acted_on(machine: FakeMachine, acted: list[str], act: Act, late: bool) -> None:
    machine.live(NOBODY, f"/docker/{ID}")
    look = found(machine)
    if late:
        await look.containers()
    with (machine.mounts[0] / "docker" / ID / "cgroup.procs").open("a") as members:
        members.write("1\n")
    with pytest.raises(RefusedError, match="process 1"):
        await act(look, ID)
    assert not acted


@pytest.mark.parametrize("generation", [0, 1, 2])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_this_program_and_its_ancestors_are_never_acted_on(
    machine: FakeMachine, acted: list[str], act: Act, generation: int
) -> None:
    """A terminal in a container, say, from which this program was started: it may live elsewhere itself."""
    above = [os.getpid(), NOBODY + 1, NOBODY + 2]
    parents = [*above[1:], 1]
    for number, (pid, parent) in enumerate(zip(above, parents, strict=True)):
        machine.live(pid, f"/docker/{ID}/tmux" if number == generation else f"/other-{number}", parent=parent)
    machine.live(NOBODY, f"/docker/{ID}", born=1)
    with pytest.raises(RefusedError, match="this program runs in there"):
        await act(found(machine), ID)
    assert not acted


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_cgroup_with_unknown_processes_is_never_acted_on(
    machine: FakeMachine, acted: list[str], act: Act
) -> None:
    machine.live(NOBODY, f"/docker/{ID}")
    look = found(machine)
    await look.containers()
    machine.hide_processes(f"/docker/{ID}")
    with pytest.raises(RefusedError, match="cannot be read"):
        await act(look, ID)
    assert not acted


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb in engine.UNSUPPORTED and verb is not Verb.IMPORT])
async def test_what_only_an_engine_can_is_refused_as_declared(machine: FakeMachine, verb: Verb) -> None:
    look = found(machine)

    async def ask() -> None:
        answer = getattr(look, verb.value)(ID)
        assert inspect.isawaitable(answer), "what is no awaitable is refused at once"
        await answer

    with pytest.raises(UnsupportedError) as refused:
        await ask()
    assert refused.value.detail == (await look.capabilities()).why_not(verb)
    assert look.facets == Facets()


async def test_a_cgroup_that_this_program_lives_in_is_not_even_listed(machine: FakeMachine, acted: list[str]) -> None:
    machine.live(NOBODY, f"/docker/{ID}")
    machine.looks_from(f"/docker/{ID}/shell")
    with pytest.raises(NotFoundError):
        await found(machine).kill(ID)
    assert not acted


async def test_a_reused_pid_is_not_acted_on(machine: FakeMachine, acted: list[str]) -> None:
    machine.live(NOBODY, f"/docker/{ID}")
    look = found(machine)
    await look.containers()
    stat = machine.proc / str(NOBODY) / "stat"
    stat.write_text(stat.read_text().replace(" 100 0", " 101 0"))
    with pytest.raises(NotFoundError, match="it has ended"):
        await look.pause(ID)
    await look.kill(ID)
    assert not acted


async def test_a_process_that_left_its_cgroup_is_not_searched_for(machine: FakeMachine, acted: list[str]) -> None:
    machine.live(NOBODY, f"/docker/{ID}")
    look = found(machine)
    await look.containers()
    (machine.proc / str(NOBODY) / "cgroup").write_text("0::/elsewhere\n")
    with pytest.raises(NotFoundError, match="it is gone"):
        await look.pause(ID)
    assert not acted


@pytest.mark.parametrize("act", OF_CGROUP.values(), ids=OF_CGROUP)
async def test_a_container_that_shares_its_cgroup_is_not_acted_on(
    machine: FakeMachine, acted: list[str], act: Act
) -> None:
    machine.live(NOBODY, "/job", 1, space=BOX)
    machine.live(NOBODY + 1, "/job")
    look = found(machine)
    (one,) = await look.containers()
    assert one.cgroup == NO_OWN
    assert (await look.inspect(one.ref.id))["cgroup"] is None
    with pytest.raises(UnsupportedError) as refused:
        await act(look, one.ref.id)
    assert refused.value.detail == SHARES
    assert not acted
    await look.kill(one.ref.id)
    assert acted == ["signal"]  # to its first process, and not to the cgroup


async def test_a_container_that_shares_its_cgroup_may_have_its_own_network(
    machine: FakeMachine, acted: list[str]
) -> None:
    machine.live(NOBODY, "/job", 1, space=BOX)
    machine.live(NOBODY + 1, "/job")
    look = found(machine)
    (one,) = await look.containers()
    await look.update(one.ref.id, LimitChange(net_egress=1_000_000))
    assert acted == ["limit ['net_egress'] of None"]


@pytest.mark.parametrize(
    ("path", "key", "words"),
    [
        (r"/machine.slice/machine-qemu\x2d1\x2ddb.scope", "db", "power cut"),
        ("/system.slice/web.service", "web", "systemctl stop"),
    ],
)
async def test_machines_and_services_are_not_stopped(
    machine: FakeMachine, acted: list[str], path: str, key: str, words: str
) -> None:
    machine.live(NOBODY, path)
    look = found(machine, services=True)
    with pytest.raises(UnsupportedError) as refused:
        await look.stop(key)
    assert refused.value.title == f"stop {key}"
    assert words in refused.value.detail
    assert not acted
    await look.pause(key)
    await look.kill(key)
    assert acted == ["freeze", "kill_all"]


def test_only_found_containers_have_no_engine() -> None:
    virtual = container("db", kind=ContainerKind.VM, cgroup=NO_OWN)
    assert [why_not(virtual, what) for what in (*Verb, *LimitName)] == [None] * (len(Verb) + len(LimitName))


async def test_the_session_refuses_the_same_actions() -> None:
    virtual = container("db", kind=ContainerKind.VM, found="its emulator's process", cgroup="/vm")
    shared = container("box", found="its PID namespace", cgroup=NO_OWN)
    fake = FakeEngine([virtual, shared])
    session = Session([fake])
    await session.refresh()
    try:
        refusal = session.why_not(virtual.ref, Verb.STOP)
        assert refusal is not None
        assert "power cut" in refusal.detail
        assert session.why_not(virtual.ref, Verb.PAUSE) is None
        for what in (Verb.PAUSE, LimitName.MEMORY):
            assert (refusal := session.why_not(shared.ref, what)) is not None
            assert refusal.detail == SHARES
        assert session.why_not(shared.ref, LimitName.NET_EGRESS) is None
        assert session.why_not(shared.ref, Verb.STOP) is None
        works: list[Callable[[], Awaitable[object]]] = [
            lambda: session.perform(virtual.ref, Verb.STOP),
            lambda: session.perform(shared.ref, Verb.PAUSE),
            lambda: session.update(shared.ref, LimitChange(pids=9)),
            lambda: session.shrink(shared.ref, 1 << 20, lambda _: None),
        ]
        for work in works:
            with pytest.raises(UnsupportedError):
                await work()
        assert not fake.asked
    finally:
        await session.close()


async def test_a_new_first_process_is_an_event_without_an_annotation(machine: FakeMachine) -> None:
    machine.live(NOBODY, f"/docker/{ID}")
    before = {one.identity.id: one for one in machine.scanner().scan()}
    machine.live(NOBODY + 1, f"/docker/{ID}", 1, space=BOX)
    now = {one.identity.id: one for one in machine.scanner().scan()}
    (event,) = _differences(before, now)
    assert (event.kind, event.ref.id) == (EventKind.RENAMED, ID)
    assert not _differences(now, now)
