"""Annotations of containers that come and go take no memory for ever.

The same kind was looked for in the history's rings (they age out), the drift detector, groups and the inventory (they
follow the list of containers), and the operations' locks (they go with their last user): the last test counts them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from collectors.history.rings import History
from runtime.containment.lease import Holder, Lease, LeaseState
from runtime.model import UNLIMITED, ContainerRef, Event, EventKind, LimitChange, Ref
from tests.app.fakes import FakeSweeper, container
from tests.fake_engine import FakeEngine
from tests.loops import cycles
from tests.waiting import until
from tui.core import annotations
from tui.core.annotations import UNLISTED_S, Annotations
from tui.core.session import Session
from tui.present.annotation_text import annotation_text

LISTED = ContainerRef("fake", "listed")


class World:
    """A history, a clock that is turned by hand, and an inventory with one container."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.history = History()
        self.annotations = Annotations(self.history, lambda ref: ref == LISTED, lambda: self.now)

    def tell(self, ref: Ref, kind: EventKind = EventKind.STARTED) -> None:
        assert isinstance(ref, ContainerRef)
        self.annotations.event(Event(kind, ref, 0))


def lease(state: LeaseState = LeaseState.ACTIVE, id: str = "0a") -> Lease:
    return Lease(
        id=id,
        ref=LISTED,
        name="hog",
        target="container",
        boot="b",
        change=LimitChange(cpus=0.4),
        before=LimitChange(cpus=UNLIMITED),
        created_ns=1,
        expires_ns=2,
        holder=Holder(pid=1, started=1, uid=0),
        state=state,
    )


def texts(world: World) -> list[str]:
    return [annotation_text(each) for each in world.history.annotations(LISTED)]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (LeaseState.CONFIRMED, "cpus 0.4 confirmed"),
        (LeaseState.REVERTED, "cpus unlimited again, lease taken back"),
        (LeaseState.CONFLICT, "lease not taken back, changed by somebody else"),
    ],
)
def test_what_becomes_of_a_lease_is_marked_once(state: LeaseState, text: str) -> None:
    world = World()
    world.annotations.leases([])
    for _ in range(3):
        world.annotations.leases([lease()])
    assert texts(world) == ["cpus 0.4 for a time"]
    for _ in range(3):
        world.annotations.leases([lease(state)])
    world.annotations.leases([])
    assert texts(world) == ["cpus 0.4 for a time", text]


def test_leases_that_were_there_before_the_first_look_are_marked_at_their_end_only() -> None:
    world = World()
    world.annotations.leases([lease(), lease(LeaseState.REVERTED, id="0b")])
    assert texts(world) == []
    world.annotations.leases([lease(LeaseState.CONFIRMED), lease(LeaseState.REVERTED, id="0b")])
    assert texts(world) == ["cpus 0.4 confirmed"]


def test_what_ran_between_two_lists_is_forgotten() -> None:
    world = World()
    world.tell(LISTED)
    for number in range(10_000):
        world.now += 0.1
        world.tell(ContainerRef("fake", f"short-{number}"))
        assert len(world.annotations._last) <= 2 * UNLISTED_S / 0.1 + 2
    assert len(world.history._annotations) == len(world.annotations._last)
    assert world.history.annotations(LISTED)


def test_an_event_after_the_removal_is_forgotten_too() -> None:
    world = World()
    gone = ContainerRef("fake", "gone")
    world.tell(gone)
    world.annotations.forget(gone)
    world.tell(gone, EventKind.DIED)
    assert world.history.annotations(gone)
    world.now += 2 * UNLISTED_S
    world.tell(LISTED)
    assert not world.history.annotations(gone)


def test_what_is_told_before_the_container_is_listed_is_kept_until_it_is() -> None:
    world = World()
    new = ContainerRef("fake", "new")
    world.tell(new)
    world.now += UNLISTED_S - 1
    world.tell(LISTED)
    assert world.history.annotations(new)


async def test_a_session_is_no_larger_after_many_short_containers(monkeypatch: Any) -> None:
    monkeypatch.setattr(annotations, "UNLISTED_S", 0.05)
    engine = FakeEngine([container("stays")])
    session = Session([engine], sweeper=FakeSweeper(lambda number, targets: {}), interval=0.02)
    sizes: list[int] = []
    try:
        await session.start()
        await until(lambda: engine.followers, 3)
        for batch in range(3):
            for number in range(cycles(3_000) // 10):
                for each in range(10):
                    short = container(f"{batch}-{number}-{each}")
                    engine.put(short)
                    engine.drop(short.ref)
                await until(lambda: len(session.containers) == 1, 5)
            await until(lambda: len(session._annotations._last) <= 1, 5)
            sizes.append(sum(held(session, set())))
    finally:
        await session.close()
    assert sizes[2] <= sizes[0] + 20


def held(node: object, seen: set[int]) -> Iterator[int]:
    """The number of entries of every collection that is reached through objects of ours; the fake engine left out."""
    if id(node) in seen or isinstance(node, FakeEngine):
        return
    seen.add(id(node))
    if isinstance(node, dict):
        yield len(node)
        for each in node.values():
            yield from held(each, seen)
    elif isinstance(node, (list, tuple, set, frozenset)):
        yield len(node)
        for each in node:
            yield from held(each, seen)
    elif type(node).__module__.partition(".")[0] in ("tui", "collectors"):
        yield from held(getattr(node, "__dict__", {}), seen)
