"""Two machines whose containers have the same engine and the same id: nothing of the two mixes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from collectors.history.annotation import AnnotationKind
from collectors.inspection.isolation import Isolation
from collectors.inspection.processes import Process
from collectors.sampling.frame import Frame, Usage
from collectors.sampling.target import Target
from runtime.kernel.block import Disks
from runtime.limits import RawFile, ReclaimProgress
from runtime.limits.controllers.network import Shaping
from runtime.model import (
    Container,
    ContainerRef,
    ContainerSpec,
    EventKind,
    GroupKind,
    GroupRef,
    LimitChange,
    LimitOutcome,
    Limits,
    Missing,
    State,
    Verb,
)
from tests.app import fakes
from tests.app.fakes import FakeSweeper
from tests.fake_engine import FakeEngine
from tui.core.hosts.frames import MAX_AGE_FRAMES, FrameMerger
from tui.core.hosts.host import Host, Preview, RecentUsage
from tui.core.session import Group, Session, Subject
from tui.core.subject import EngineRef

FAR = "far.example"
SHOP = GroupRef(GroupKind.COMPOSE, "shop", "docker")
HERE = fakes.container("web", engine="docker", group=SHOP, pid=4001)
THERE = replace(HERE, ref=HERE.ref._replace(host=FAR), name="web-there", group=SHOP._replace(host=FAR))


class FakeInspection:
    """The kernel of another machine."""

    def __init__(self) -> None:
        self.held = Limits(pids=7)
        self.read: list[Subject] = []

    async def limits(self, subject: Subject, *, network: bool = True) -> Limits:
        self.read.append(subject)
        return self.held

    async def parent_cpusets(self, subject: Subject) -> Limits:
        return Limits()

    async def raw_limits(self, subject: Subject) -> tuple[RawFile, ...]:
        return (RawFile("pids", "/far/pids.max", "7"),)

    async def shaping(self, subject: Subject) -> Shaping | Missing:
        return Missing.UNSUPPORTED

    async def disks(self) -> Disks:
        return Disks()

    async def preview(
        self, subject: Subject, change: LimitChange, recent: RecentUsage, others: Collection[Container] = ()
    ) -> Preview:
        assert all(each.ref.host == FAR for each in others)
        return Preview(self.held, ())

    async def processes(self, container: Container) -> tuple[Process, ...]:
        return ()

    async def isolation(self, container: Container) -> Isolation:
        raise NotImplementedError


class FakeHost:
    """Another machine, in memory: an engine whose refs name it, and frames that the test hands in."""

    name = FAR

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.engines = {engine.key: engine}
        self.inspection = FakeInspection()
        self.targets: Callable[[], Sequence[Target]] = tuple
        self.on_frame: Callable[[Frame], None] | None = None
        self.limited: list[tuple[str, LimitChange]] = []
        self.reclaimed: list[int] = []
        self.guarded: list[str] = []
        self.interval = 0.0
        self.closed = False

    async def measure(
        self,
        targets: Callable[[], Sequence[Target]],
        on_frame: Callable[[Frame], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.targets, self.on_frame = targets, on_frame
        await asyncio.Event().wait()

    def set_interval(self, seconds: float) -> None:
        self.interval = seconds

    async def protect_self(self, subject: Subject, title: str) -> None:
        self.guarded.append(subject.name)

    async def change_group_limits(self, group: Group, change: LimitChange) -> LimitOutcome:
        self.limited.append((group.name, change))
        return LimitOutcome(group.ref, ())

    async def reclaim(
        self, subject: Subject, target_bytes: int, progress: Callable[[ReclaimProgress], None], stop: Event
    ) -> ReclaimProgress:
        self.reclaimed.append(target_bytes)
        return ReclaimProgress(target_bytes, target_bytes, 0, done=True)

    async def close(self) -> None:
        self.closed = True


class FarEngine(FakeEngine):
    """An engine on another machine: what it makes is there."""

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        ref = await super().create(spec)
        made = self.all.pop(ref)
        moved = replace(made, ref=ref._replace(host=FAR))
        self.put(moved)
        return moved.ref


class World:
    """A session on this machine and on the far one, each with an engine "docker" and a container of the same id."""

    def __init__(self) -> None:
        self.here, self.there = FakeEngine([HERE], key="docker"), FarEngine([THERE], key="docker")
        self.far = FakeHost(self.there)
        host: Host = self.far
        self.measured: list[Sequence[Target]] = []
        self.session = Session([self.here], hosts=[host], sweeper=FakeSweeper(self._sweep), interval=0.02)  # type: ignore[arg-type]

    def _sweep(self, _: int, targets: Sequence[Target]) -> Mapping[Any, Usage]:
        self.measured.append(targets)
        return {HERE.ref: fakes.usage(0.25)}

    def far_frame(self, seq: int, **usage: Any) -> Frame:
        return Frame(seq, 5 * 10**18, 1, 10**9, 1, fakes.HOST, usages={THERE.ref: fakes.usage(0.75, **usage)})


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        await made.session.start()
        await made.session.ready()
        await until(lambda: len(made.session.containers) == 2 and made.far.on_frame and made.session.frame)
        yield made
    finally:
        await made.session.close()
    assert made.far.closed


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(3):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_inventory_history_drift_locks_and_actions_of_two_hosts_do_not_mix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert HERE.ref.id == THERE.ref.id
    assert HERE.ref.engine == THERE.ref.engine
    async with world() as w:
        session = w.session
        # inventory
        assert {ref: each.name for ref, each in session.containers.items()} == {HERE.ref: "web", THERE.ref: "web-there"}
        assert {ref.host: group.members for ref, group in session.groups.items()} == {
            "": (HERE.ref,),
            FAR: (THERE.ref,),
        }
        w.there.put(replace(THERE, state=State.PAUSED))
        await until(lambda: session.containers[THERE.ref].state is State.PAUSED)
        assert session.containers[HERE.ref].state is State.RUNNING
        w.there.put(THERE)
        await until(lambda: session.containers[THERE.ref].state is State.RUNNING)

        # each is measured on its own machine, and history has both
        assert {target.ref for target in w.measured[-1]} == {HERE.ref}
        assert {target.ref for target in w.far.targets()} == {THERE.ref}
        assert w.far.on_frame is not None
        w.far.on_frame(w.far_frame(1))
        await until(lambda: session.frame is not None and THERE.ref in session.frame.usages)
        assert session.history.series(HERE.ref, "cpu").values[-1] == 0.25
        assert session.history.series(THERE.ref, "cpu").values[-1] == 0.75
        session.interval = 0.03
        assert w.far.interval == 0.03
        w.there.tell(EventKind.OOM, THERE.ref)
        kinds = lambda ref: {each.kind for each in session.history.annotations(ref)}  # noqa: E731
        await until(lambda: AnnotationKind.OOM_KILL in kinds(THERE.ref))
        assert not kinds(HERE.ref)

        # limits are read where they are
        assert (await session.limits(THERE.ref)).pids == 7
        assert w.far.inspection.read[-1].ref == THERE.ref
        assert (await session.raw_limits(THERE.ref))[0].path == "/far/pids.max"
        await session.preview(THERE.ref, LimitChange(pids=3))
        await session.compare([THERE])
        assert HERE.ref not in {subject.ref for subject in w.far.inspection.read}

        # an action reaches its host alone
        await session.perform(THERE.ref, Verb.PAUSE)
        assert (w.here.asked, w.there.asked) == ([], [(Verb.PAUSE, "web-there")])
        await session.perform(HERE.ref, Verb.PAUSE)
        assert w.here.asked == [(Verb.PAUSE, "web")]
        await session.perform(SHOP._replace(host=FAR), Verb.UNPAUSE)
        assert len(w.here.asked) == 1
        assert session.containers[HERE.ref].state is State.PAUSED
        await session.update(THERE.ref, LimitChange(pids=9))
        await session.shrink(THERE.ref, 64 << 20, lambda _: None)
        assert w.far.reclaimed == [64 << 20]
        assert len(w.here.asked) == 1
        made = await session.create("docker", ContainerSpec("host", name="made"), host=FAR)
        assert made.host == FAR
        assert made in session.containers
        assert not any(ref.id == made.id for ref in w.here.all)
        monkeypatch.setattr(session._groups, "_find_cgroups", lambda members: dict.fromkeys(members, "/shop"))
        await session.regroup()
        await session.update(SHOP._replace(host=FAR), LimitChange(pids=5))
        assert w.far.limited == [("shop", LimitChange(pids=5))]

        # locks: while one is changed the other is too
        w.there.delay = 60.0
        waiting = asyncio.ensure_future(session.perform(THERE.ref, Verb.PAUSE))
        await until(lambda: session.busy)
        async with asyncio.timeout(1):
            await session.perform(HERE.ref, Verb.UNPAUSE)
        assert not waiting.done()
        for task in session._operations._work:
            task.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        # an engine that is away is so on its host alone
        w.there.away = True
        await session.refresh()
        assert [(problem.host, problem.engine) for problem in session.problems] == [(FAR, "docker")]
        assert session.containers[HERE.ref].state is State.RUNNING
        assert session.why_not(HERE.ref, Verb.PAUSE) is None
        assert session.why_not(THERE.ref, Verb.PAUSE) is not None


async def test_what_was_found_here_is_not_taken_for_what_an_engine_lists_on_another_host() -> None:
    found = replace(HERE, ref=ContainerRef("found", THERE.ref.id), found="its cgroup", group=None)
    session = Session([FakeEngine([found], key="found")], hosts=[FakeHost(FarEngine([THERE], key="docker"))])
    await session.refresh()
    assert set(session.containers) == {found.ref, THERE.ref}
    await session.close()


async def test_drift_has_rounds_for_each_engine_of_each_host() -> None:
    async with world() as w:
        w.there.recorded = _recorded  # type: ignore[method-assign]
        session = w.session
        session._detector._clock = lambda: 1e9  # type: ignore[method-assign]
        frame = replace(w.far_frame(1, pids_limit=7))
        await session._checker.round(frame)
        await session._checker.round(frame)
        assert {ref: [(d.expected, d.kernel) for d in found] for ref, found in session.drift.items()} == {
            THERE.ref: [(9, 7)]
        }
        assert session.expected(THERE.ref) == LimitChange(pids=9)
        assert not session.expected(HERE.ref)
        assert EngineRef(FAR, "docker") in session._checker._fresh


async def _recorded(_: str) -> Limits:
    return Limits(pids=9)


def test_another_hosts_use_counts_until_it_is_too_old() -> None:
    w = World()
    merger = FrameMerger()
    local = Frame(1, 10**9, 1, 10**9, 1, fakes.HOST, usages={HERE.ref: fakes.usage(0.25)})
    assert merger.take("", local) is local
    assert merger.take(FAR, w.far_frame(1)) is None
    for _ in range(MAX_AGE_FRAMES):
        merged = merger.take("", local)
        assert merged is not None
        assert set(merged.usages) == {HERE.ref, THERE.ref}
        assert merged.at_ns == local.at_ns, "times are this machine's"
    assert merger.take("", local) is local
