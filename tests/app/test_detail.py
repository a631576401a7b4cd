"""The detail screen: its pages, its graphs, and what can be done from it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.geometry import Region
from textual.pilot import Pilot

from collectors.history.annotation import AnnotationKind
from collectors.inspection.isolation import Isolation, MountPoint, Namespace
from collectors.inspection.processes import Process
from collectors.sampling.frame import Frame, Usage
from runtime.errors import ConflictError
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.procfs import IdRange
from runtime.limits.controllers.network import Queue, Shaping
from runtime.model import UNLIMITED, ContainerRef, LimitName, Missing, State, Verb
from tests.app import fakes, limit_fakes
from tests.app.driving import question, screen, tamper, until
from tests.fake_engine import FakeEngine
from tui.app.app import PytopApp
from tui.app.screens.detail import DetailScreen
from tui.app.screens.limit_editor import LimitEditor
from tui.app.screens.panes.overview import Overview
from tui.app.widgets.graph import Graph
from tui.app.widgets.page import Page
from tui.core.drift.detector import Drift
from tui.core.session import Changed, Session
from tui.core.settings import Settings

S = 10**9
NOON = 1_767_268_800 * S  # a wall clock that every run has
HOG = limit_fakes.HOG


def frames(usages: Sequence[Usage | None]) -> list[Frame]:
    """One frame a second; None is a sweep without the hog."""
    return [
        Frame(
            n,
            n * S,
            NOON + n * S,
            S,
            0,
            fakes.HOST,
            usages={} if usage is None else {HOG.ref: usage._replace(at_ns=n * S)},
        )
        for n, usage in enumerate(usages, 1)
    ]


def story() -> list[Usage | None]:
    """Busy, then lowered to 0.2 of a core, with a hole between."""
    free = [fakes.usage(1.9, cpu_limit=UNLIMITED, memory=(40 + n) << 20) for n in range(30)]
    low = fakes.usage(0.2, cpu_limit=0.2, throttled=1.7, throttled_share=1.0, memory=70 << 20)
    return [*free, None, None, None, None, *[low] * 20]


@asynccontextmanager
async def detail(
    usages: Sequence[Usage | None] = (), size: tuple[int, int] = (80, 24), **options: Any
) -> AsyncIterator[tuple[Pilot[None], Session]]:
    """The screen on frames that are handed in; nothing is measured besides."""
    engine = FakeEngine([HOG])
    session = limit_fakes.ScriptedSession([engine], sweeper=fakes.FakeSweeper(lambda *_: {}), interval=1.0)  # type: ignore[arg-type]
    session._measurement.loops = dict  # type: ignore[method-assign,assignment]
    app = PytopApp(session, chosen=Settings(), **options)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: HOG.ref in session.containers)
        app.push_screen(DetailScreen(session, HOG.ref))
        await until(pilot, lambda: isinstance(app.screen, DetailScreen))
        feed(session, frames(usages))
        await pilot.pause()
        await pilot.pause(0.1)
        yield pilot, session


def feed(session: Session, more: Sequence[Frame]) -> None:
    for frame in more:
        session.history.push(frame)
        session.frame = frame
    session._notifier.tell(Changed.FRAME)


def graph(pilot: Pilot[None], id: str) -> list[str]:
    return pilot.app.screen.query_one(f"#graph-{id}", Graph).text.splitlines()


def head(pilot: Pilot[None]) -> str:
    return screen(pilot).splitlines()[0]


async def test_cpu_shows_the_fall_its_limit_line_and_the_time_held_back() -> None:
    async with detail(story()) as (pilot, _):
        title, *rows = graph(pilot, "cpu")
        assert "▒ held back" in title
        assert rows[0].split()[0] == "2.00"  # what was before the limit is still on the graph
        assert rows[0].split()[-3:] == ["0.20", "1.22", "1.90"]
        assert "limit 0.20" in rows[1]
        line = next(row for row in rows if row.strip().startswith("0.20"))
        assert "╌" in line
        assert sum(row.count("▒") for row in rows) > 20
        assert "⣶  ▒" in rows[0]  # four sweeps without it are two empty cells


async def test_missing_samples_are_gaps_and_figures_say_so() -> None:
    async with detail([*[fakes.usage(0.5, net=Missing.UNSUPPORTED)] * 10, None]) as (pilot, _):
        assert graph(pilot, "cpu")[1].split()[-3:] == ["-", "0.50", "0.50"]
        assert "not measured now" in graph(pilot, "cpu")[2]
        (lane,) = graph(pilot, "net-rx")
        assert lane.split() == ["net", "in", "-", "-", "-"]


@pytest.mark.parametrize(
    ("limit", "words"),
    [(UNLIMITED, "no memory limit"), (Missing.DENIED, "limit: denied"), (64 << 20, "limit 64M")],
)
async def test_no_limit_and_an_unknown_one_are_told_apart(limit: Any, words: str) -> None:
    async with detail([fakes.usage(0.5, memory_limit=limit)] * 3) as (pilot, _):
        assert graph(pilot, "memory")[2].endswith(words)


async def test_annotations_stand_on_the_axis_and_are_told() -> None:
    async with detail(story()) as (pilot, session):
        session.history.annotate(HOG.ref, AnnotationKind.LIMITS_SET, at_ns=34 * S)
        session.history.annotate(HOG.ref, AnnotationKind.OOM_KILL, at_ns=40 * S)
        feed(session, frames([*story(), story()[-1]])[-1:])
        await pilot.pause(0.1)
        axis = pilot.app.screen.query_one("#axis-left").text  # type: ignore[attr-defined]
        assert axis.index("▲") < axis.index("✖")
        clock = time.strftime("%H:%M:%S", time.localtime(NOON // S + 40))
        assert f"✖ {clock} OOM kill" in screen(pilot)


async def test_one_more_sample_sends_one_column_and_its_figures() -> None:
    steady = [fakes.usage(0.5, cpu_limit=UNLIMITED)] * 51
    async with detail(steady[:50]) as (pilot, session):
        graph = pilot.app.screen.query_one("#graph-cpu", Graph)
        seen: list[Region] = []
        refresh = graph.refresh

        def watch(*regions: Region, **options: Any) -> Graph:
            assert regions, "the whole graph was drawn again"
            seen.extend(regions)
            return refresh(*regions, **options)

        graph.refresh = watch  # type: ignore[method-assign]
        feed(session, frames(steady)[-1:])
        await pilot.pause(0.1)
        assert seen
        assert sum(region.area for region in seen) <= graph.size.height


@pytest.mark.parametrize(("size", "all_seen"), [((80, 24), True), ((200, 50), True), ((40, 10), False)])
async def test_sizes(size: tuple[int, int], all_seen: bool) -> None:
    async with detail(story(), size) as (pilot, _):
        whole = pilot.app.screen.size.region
        seen = [g.id for g in pilot.app.screen.query(Graph) if whole.contains_region(g.region) and g.region.area]
        assert {"graph-cpu", "graph-memory"} <= set(seen) or size == (40, 10)
        assert (len(seen) == 9) is all_seen
        assert "hog" in screen(pilot).splitlines()[0]
        if size == (40, 10):
            await pilot.press("end")
            await pilot.pause(0.5)
            assert "psi io" in screen(pilot)


async def test_ascii_only_uses_nothing_else() -> None:
    async with detail(story(), ascii_only=True) as (pilot, _):
        for each in pilot.app.screen.query(Graph):
            assert each.text.isascii()
        assert "x" * 5 in "".join(graph(pilot, "cpu")[1:])


PROCESSES = (
    Process(
        pid=100, inner_pid=1, ppid=99, user="root", state="S", cpu_time_s=1.0, rss=28 << 20, threads=1, command="init"
    ),
    Process(
        pid=101,
        inner_pid=7,
        ppid=100,
        user="33",
        state="R",
        cpu_time_s=4000.0,
        rss=1 << 20,
        threads=3,
        command="worker\x1b[2J --fast [x]",
    ),
)


def _load(processes: Mapping[int, float]) -> tuple[Process, ...]:
    return tuple(replace(p, cpu_time_s=processes[p.pid]) for p in PROCESSES)


async def test_processes_are_measured_while_they_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()

    async def processes(self: Session, ref: ContainerRef) -> tuple[Process, ...]:
        return _load({100: 1.0, 101: 4000.0 + next(looks)})

    monkeypatch.setattr(limit_fakes.ScriptedSession, "processes", processes)
    monkeypatch.setattr("tui.app.screens.panes.processes.INTERVAL_S", 0.05)
    async with detail() as (pilot, _):
        await pilot.press("3")
        page = pilot.app.screen.query_one("#processes-page", Page)
        await until(pilot, lambda: "worker" in page.text)
        await until(pilot, lambda: page.text.splitlines()[0].split()[4] not in ("-", "0.00"))
        first, second = page.text.splitlines()
        assert first.split()[:4] == ["101", "7", "33", "R"]
        assert "worker�[2J --fast [x]" in first
        assert second.split()[4] == "0.00"
        assert "4 threads" in screen(pilot)
        await pilot.press("1")
        await pilot.pause(0.1)
        count = next(looks)
        await pilot.pause(0.3)
        assert next(looks) == count + 1


ISOLATION = Isolation(
    namespaces=(Namespace("pid", 4026532180, False), Namespace("user", 4026531837, True)),
    cgroup=Cgroup(v1={"cpu": Path("/sys/fs/cgroup/cpu/x")}),
    capabilities={"effective": ("CHOWN", "KILL"), "bounding": ()},
    no_new_privs=True,
    seccomp="filter (1)",
    mounts=(MountPoint("/", "overlay", "overlay", ("rw",)),),
    uid_map=(IdRange(0, 0, 2**32 - 1),),
    gid_map=Missing.DENIED,
    apparmor=Missing.UNSUPPORTED,
)


async def test_isolation_says_what_is_shared_and_what_the_kernel_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def isolation(self: Session, ref: ContainerRef) -> Isolation:
        return ISOLATION

    monkeypatch.setattr(limit_fakes.ScriptedSession, "isolation", isolation)
    async with detail() as (pilot, _):
        await pilot.press("4")
        page = pilot.app.screen.query_one("#isolation-page", Page)
        await until(pilot, lambda: "NAMESPACES" in page.text)
        rows = [" ".join(line.split()) for line in page.text.splitlines()]
        assert "pid [4026532180] own" in rows
        assert "user [4026531837] SHARED WITH THE HOST" in rows
        assert "no new privileges yes" in rows
        assert "effective 2 CHOWN KILL" in rows
        assert "user ids the host's own: root inside is root outside" in rows
        assert any(row.startswith("memory 512m") for row in rows)
        assert "mem high this kernel does not offer it" in rows
        assert rows[rows.index("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us") + 1] == "-1"
        assert "/ overlay from overlay (rw)" in rows


@pytest.mark.parametrize("page", ["3", "4"])
async def test_a_container_that_does_not_run_says_so(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: Session, ref: ContainerRef) -> Any:
        raise ConflictError("look into hog", detail="it is not running")

    monkeypatch.setattr(limit_fakes.ScriptedSession, "processes", fail)
    monkeypatch.setattr(limit_fakes.ScriptedSession, "isolation", fail)
    async with detail() as (pilot, _):
        await pilot.press(page)
        await until(pilot, lambda: "it is not running" in screen(pilot))


async def test_pages_turn_by_numbers_and_arrows() -> None:
    async with detail() as (pilot, _):
        assert "[1 overview]" in screen(pilot)
        for key, shown in (("right", "[2 logs]"), ("right", "[3 processes]"), ("left", "[2 logs]"), ("4", "[4 isol")):
            await pilot.press(key)
            await until(pilot, lambda shown=shown: shown in screen(pilot))
        await pilot.click("TabBar", offset=(3, 0))
        await until(pilot, lambda: "[1 overview]" in screen(pilot))


async def test_the_head_follows_the_containers_life() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen))
        await until(pilot, lambda: "running" in head(pilot))
        assert "up 3d" in head(pilot)
        engine.put(replace(HOG, state=State.EXITED, pid=None, exit_code=137, oom_killed=True, finished_ns=fakes.NOW_NS))
        await until(pilot, lambda: "out of memory, killed by signal 9" in head(pilot))
        engine.drop(HOG.ref)
        await until(pilot, lambda: "gone" in head(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, DetailScreen))


async def test_changes_can_be_asked_for_from_here() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen))
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, LimitEditor))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen))
        await pilot.press("p")
        await until(pilot, lambda: (Verb.PAUSE, "hog") in engine.asked)
        await until(pilot, lambda: "paused" in head(pilot))
        await pilot.press("K")
        await question(pilot)
        await pilot.press("y")
        await until(pilot, lambda: (Verb.KILL, "hog") in engine.asked)


async def test_odd_names_are_only_text() -> None:
    odd = fakes.container("a[red]\x1b[2J\u202eb")
    app, _ = limit_fakes.app(hog=odd)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen))
        await until(pilot, lambda: "a[red]�[2J�b" in head(pilot))
        await pilot.press("l")
        await until(pilot, lambda: "Limits of a[red]�[2J�b" in screen(pilot))


def queues(**counters: int) -> Shaping:
    """What the kernel says of a container that may send 4 Mbit/s."""
    return Shaping(Queue(4_000_000, **counters), None)


async def looked(pilot: Pilot[None], session: Session, *answers: Shaping) -> None:
    """One frame for each answer that the kernel gives about the queues."""
    pane = pilot.app.screen.query_one(Overview)
    for number, answer in enumerate(answers, 1):
        seen = asyncio.Event()

        async def shaping(_: ContainerRef, answer: Shaping = answer, seen: asyncio.Event = seen) -> Shaping:
            seen.set()
            return answer

        session.shaping = shaping  # type: ignore[method-assign]
        feed(session, frames([fakes.usage(0.5)] * (3 + number))[-1:])
        await until(
            pilot,
            lambda seen=seen, answer=answer: seen.is_set() and pane._last_shaping and pane._last_shaping[0] is answer,
        )  # type: ignore[misc]
    pane.draw()
    await pilot.pause()


async def test_a_limit_of_the_network_has_a_line_and_says_what_passed_waits_and_was_dropped() -> None:
    async with detail([fakes.usage(0.5)] * 3, (200, 50)) as (pilot, session):
        await looked(pilot, session, queues(drops=5), queues(drops=12, backlog_bytes=18 << 10, sent_bytes=1000))
        rows = graph(pilot, "net-tx")
        assert any("488K" in row and "╌" in row and row.endswith("limit 4.0mbit") for row in rows)
        assert [row.split()[-2] for row in rows[3:6]] == ["passed", "dropped", "queued"]
        assert rows[4].endswith("dropped 7")
        assert rows[5].endswith("queued 18K")
        assert not any("limit" in row for row in graph(pilot, "net-rx"))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (queues(drops=5), "limit 4.0mbit"),
        (queues(drops=5, backlog_bytes=18 << 10), "queued 18K"),
        (queues(drops=12, backlog_bytes=18 << 10), "dropped 7"),
    ],
)
async def test_on_a_small_screen_a_limit_of_the_network_says_the_worst(now: Shaping, words: str) -> None:
    async with detail([fakes.usage(0.5)] * 3) as (pilot, session):
        await looked(pilot, session, queues(drops=5), now)
        (lane,) = graph(pilot, "net-tx")
        assert lane.endswith(words)
        assert "51K" in lane


async def test_what_somebody_else_has_changed_is_told_whole_on_a_small_screen() -> None:
    async with detail([fakes.usage(0.5)] * 3) as (pilot, session):
        changed = (Drift(LimitName.CPUS, 0.5, 1.5, NOON), Drift(LimitName.MEMORY, 200 << 20, 253904 << 10, NOON))
        tamper(session, HOG.ref, *changed)
        await until(pilot, lambda: "changed by somebody else" in screen(pilot))
        told = " ".join(line.strip() for line in screen(pilot).splitlines()[1:3])
        assert "(l: set again or accept)" in told
        assert "CPU cores 1.5, expected 0.5; memory 248M, expected 200m" in told
        assert "[1 overview]" in screen(pilot).splitlines()[3]
