"""Groups in the list and on their own screen: tree, totals, folding, limits and pausing of a whole group."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from runtime.errors import UnsupportedError
from runtime.model import (
    UNLIMITED,
    FieldOutcome,
    GroupKind,
    GroupRef,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    State,
    Verb,
    Verdict,
)
from tests.app import fakes, limit_fakes
from tests.app.driving import main, running, screen, session_of, tamper, toasts, until
from tests.app.test_typing import packet
from tests.fake_engine import FakeEngine
from tui.app.screens.detail import DetailScreen
from tui.core.drift.detector import Drift
from tui.core.groups import Groups
from tui.core.hosts.local import LocalHost
from tui.core.inspector import Inspector
from tui.core.session import Group, Session

SHOP = GroupRef(GroupKind.COMPOSE, "shop", "docker")


def shop() -> tuple[Session, FakeEngine]:
    """Two members of a project and one container beside it."""
    members = [
        fakes.container("shop-web", engine="docker", group=SHOP),
        fakes.container("shop-db", engine="docker", group=SHOP),
    ]
    alone = fakes.container("alone", engine="docker")
    engine = FakeEngine([*members, alone], key="docker")
    uses = {"shop-web": fakes.usage(0.25), "shop-db": fakes.usage(0.5), "alone": fakes.usage(0.6)}
    return session_of([engine], fakes.fixed(uses, [*members, alone])), engine


def lines(pilot: Pilot[None]) -> list[str]:
    """The rows as they are on the screen, without the cursor."""
    return [row.text for row in main(pilot).table._rows]


async def test_a_key_puts_members_under_their_group_which_is_sorted_by_its_total() -> None:
    session, _ = shop()
    async with running(session, (100, 24)) as pilot:
        assert len(lines(pilot)) == 3
        await pilot.press("v")
        rows = lines(pilot)
        assert [("shop " in rows[0]), "shop-db" in rows[1], "shop-web" in rows[2], "alone" in rows[3]] == [True] * 4
        assert "0.75/4.00" in rows[0]  # both together, against both limits
        assert "└ shop-db" in rows[1]
        await pilot.press("v")
        assert len(lines(pilot)) == 3


async def test_a_group_is_folded_and_its_members_come_back() -> None:
    session, _ = shop()
    async with running(session) as pilot:
        await pilot.press("v", "home", "space")
        assert ["shop" in row for row in lines(pilot)] == [True, False]
        assert "▸ shop" in lines(pilot)[0]
        await pilot.press("space")
        assert len(lines(pilot)) == 4


async def test_the_screen_of_a_group_has_its_members_and_no_logs() -> None:
    session, engine = shop()
    async with running(session) as pilot:
        await pilot.press("v", "home", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen))
        await until(pilot, lambda: "0.75" in screen(pilot))
        assert "2 live, compose project" in screen(pilot)
        await pilot.press("2")
        await until(pilot, lambda: "shop-web" in screen(pilot))
        assert "alone" not in screen(pilot).partition("[2 members]")[2]
        assert screen(pilot).splitlines()[3].endswith("net in   out")
        await pilot.press("o")
        await pilot.pause()
        assert "shop-web" in screen(pilot)
        packet(pilot.app, "/", "p")  # type: ignore[arg-type]
        await until(pilot, lambda: "searches a container's log" in toasts(pilot))
        assert not engine.asked, "p is text"


async def test_a_group_without_a_cgroup_of_its_own_is_refused_a_limit_in_words() -> None:
    session, _ = shop()
    async with running(session):
        refusal = session.why_not(SHOP, LimitName.MEMORY)
        assert isinstance(refusal, UnsupportedError)
        assert "one by one" in refusal.detail
        with pytest.raises(UnsupportedError, match="one by one"):
            await session.update(SHOP, LimitChange(pids=10))


async def test_pausing_a_group_pauses_each_member_through_its_engine() -> None:
    session, engine = shop()
    async with running(session) as pilot:
        await pilot.press("v", "home", "p")
        await until(pilot, lambda: session.groups[SHOP].state is State.PAUSED)
        assert sorted(engine.asked) == [(Verb.PAUSE, "shop-db"), (Verb.PAUSE, "shop-web")]


async def test_a_group_ends_with_its_last_member() -> None:
    session, engine = shop()
    async with running(session) as pilot:
        await pilot.press("v")
        for container in [c for c in engine.all.values() if c.group == SHOP]:
            engine.put(replace(container, group=None))
        await until(pilot, lambda: not session.groups)
        assert len(lines(pilot)) == 3


async def test_the_list_can_begin_with_groups() -> None:
    session, _ = shop()
    async with running(session, grouped=True) as pilot:
        await until(pilot, lambda: len(lines(pilot)) == 4)
        assert "▾ shop" in lines(pilot)[0]


async def test_a_folded_group_shows_that_a_limit_in_it_was_changed_by_somebody_else() -> None:
    session, _ = shop()
    async with running(session) as pilot:
        await pilot.press("v", "home")
        web = next(ref for ref, c in session.containers.items() if c.name == "shop-web")
        tamper(session, web, Drift(LimitName.MEMORY, 1 << 20, 2 << 20, 1))
        await until(pilot, lambda: any("└ !shop-web" in row for row in lines(pilot)))
        assert "▾ shop" in lines(pilot)[0]
        await pilot.press("space")
        assert "▸ !shop" in lines(pilot)[0]


async def test_limits_of_a_group_with_a_cgroup_of_its_own_are_set_on_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, LimitChange]] = []

    async def change(_: LocalHost, group: Group, what: LimitChange) -> LimitOutcome:
        asked.append((group.name, what))
        fields = [FieldOutcome(n, v, UNLIMITED, Missing.UNSUPPORTED, v, Verdict.APPLIED) for n, v in what.items()]
        return LimitOutcome(group.ref, tuple(fields))

    async def read(*_: object, **__: object) -> Limits:
        return limit_fakes.KERNEL

    session, _ = shop()
    monkeypatch.setattr(Groups, "_find_cgroups", lambda _, members: dict.fromkeys(members, "/shop"))
    monkeypatch.setattr(LocalHost, "change_group_limits", change)
    monkeypatch.setattr(Inspector, "limits", read)
    async with running(session) as pilot:
        await pilot.press("v", "home")
        await until(pilot, lambda: session.groups[SHOP].cgroup)
        await pilot.press("l")
        await until(pilot, lambda: "Limits of shop" in screen(pilot) and "512m" in screen(pilot))
        assert "net out, net in" in screen(pilot).partition("Not to be set here")[2]
        await pilot.press("1", ".", "5", "enter")
        await until(pilot, lambda: asked)
        assert asked == [("shop", LimitChange(cpus=1.5))]
        await until(pilot, lambda: "shop: the kernel holds" in toasts(pilot))
