"""What counts as a limit that somebody else has changed, and what does not."""

from __future__ import annotations

from dataclasses import replace

from collectors.frame import Frame, HostUsage, Usage
from collectors.history import History
from runtime.model import (
    UNLIMITED,
    Container,
    ContainerRef,
    Event,
    EventKind,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    State,
    Value,
    Verdict,
)
from tui.drift import SETTLE, Drifts

REF = ContainerRef("x", "a")
WEB = Container(REF, "web", "image", State.RUNNING, pid=7)


class World:
    """A container that has settled, and a clock that is turned by hand."""

    def __init__(self, record: Limits = Limits()) -> None:  # noqa: B008  (frozen)
        self.now = 0.0
        self.history = History()
        self.drifts = Drifts(self.history, lambda: self.now)
        self.drifts.inventory({REF: WEB})
        self.drifts.recorded(REF, record)
        self.now += SETTLE

    def frame(self, **swept: object) -> Frame:
        usage = Usage(0, **{"cpu_limit": UNLIMITED, "memory_limit": UNLIMITED, "pids_limit": UNLIMITED, **swept})  # type: ignore[arg-type]
        return Frame(1, 1, 1, 1, 1, HostUsage(2), {REF: usage})

    def see(self, held: Limits, **swept: object) -> bool:
        """One round; whether the files were read."""
        frame = self.frame(**swept)
        suspects = self.drifts.suspects("x", frame)
        for ref, generation in suspects.items():
            self.drifts.judge(ref, held, generation, frame.usages[ref])
        return bool(suspects)

    def set(self, name: LimitName, value: Value) -> None:
        self.drifts.begin(REF)
        field = FieldOutcome(name, value, Missing.NOT_SAMPLED, value, value, Verdict.APPLIED)
        self.drifts.end(REF, LimitOutcome(REF, (field,)))

    @property
    def told(self) -> dict[LimitName, tuple[Value, Value]]:
        return {d.name: (d.expected, d.kernel) for d in self.drifts.found.get(REF, ())}


def test_a_limit_that_was_set_here_and_changed_elsewhere_is_told_with_a_mark() -> None:
    world = World()
    world.set(LimitName.CPU_SHARES, 512)
    world.see(Limits(cpu_shares=512))
    assert not world.told
    world.see(Limits(cpu_shares=1024))
    assert world.told == {LimitName.CPU_SHARES: (512, 1024)}
    assert [mark.text for mark in world.history.marks(REF)] == ["cpu shares 1024 by somebody else (was 512)"]
    world.see(Limits(cpu_shares=1024))
    assert len(world.history.marks(REF)) == 1
    assert world.drifts.expected(REF) == LimitChange(cpu_shares=512)


def test_the_engines_record_is_compared_with_what_the_sweep_gives() -> None:
    world = World(Limits(memory=1 << 30))
    assert not world.see(Limits(memory=1 << 30), memory_limit=1 << 30)
    assert world.see(Limits(memory=1 << 20), memory_limit=1 << 20)
    assert world.told == {LimitName.MEMORY: (1 << 30, 1 << 20)}
    world.see(Limits(memory=1 << 30), memory_limit=1 << 30)
    assert not world.told


def test_a_tighter_limit_above_is_looked_into_once_and_is_no_drift() -> None:
    world = World(Limits(memory=1 << 30))
    assert world.see(Limits(memory=1 << 30), memory_limit=1 << 20)
    assert not world.told
    assert not world.see(Limits(memory=1 << 30), memory_limit=1 << 20)


def test_rounding_is_no_drift() -> None:
    world = World(Limits(memory=100_000_001, cpus=0.333333333))
    assert not world.see(Limits(), memory_limit=99_999_744, cpu_limit=0.33333)


def test_nothing_is_told_while_a_change_is_under_way_nor_of_what_was_read_before_it() -> None:
    world = World(Limits(cpus=1.0))
    frame = world.frame(cpu_limit=0.5)
    (generation,) = world.drifts.suspects("x", frame).values()
    world.drifts.begin(REF)
    assert not world.drifts.suspects("x", frame)
    assert not world.drifts.judge(REF, Limits(cpus=0.5), generation, None)
    world.drifts.end(REF, None)
    assert not world.drifts.judge(REF, Limits(cpus=0.5), generation, None)
    assert not world.told


def test_a_restart_begins_anew_and_has_time_to_settle() -> None:
    world = World()
    world.set(LimitName.PIDS, 10)
    world.see(Limits(pids=20))
    assert world.told
    world.drifts.inventory({REF: replace(WEB, pid=8)})
    assert not world.told
    world.drifts.recorded(REF, Limits(pids=10))
    assert not world.see(Limits(pids=20), pids_limit=20)
    world.now += SETTLE
    assert world.see(Limits(pids=20), pids_limit=20)
    assert world.told == {LimitName.PIDS: (10, 20)}


def test_what_moved_with_our_own_change_is_expected() -> None:
    world = World()
    world.set(LimitName.CPU_PERIOD, 50_000)
    world.see(Limits(cpu_period=50_000))
    world.set(LimitName.CPUS, 0.5)
    world.see(Limits(cpu_period=100_000, cpus=0.5))
    assert not world.told
    world.see(Limits(cpu_period=20_000, cpus=0.5))
    assert world.told == {LimitName.CPU_PERIOD: (100_000, 20_000)}


def test_a_new_value_can_be_accepted() -> None:
    world = World(Limits(pids=10))
    world.see(Limits(pids=20), pids_limit=20)
    world.drifts.accept(REF)
    assert not world.told
    world.see(Limits(pids=20), pids_limit=20)
    assert not world.told


def test_an_event_asks_for_the_record_again() -> None:
    world = World(Limits(pids=10))
    assert not world.drifts.unrecorded([REF])
    world.drifts.event(Event(EventKind.UPDATED, REF, 0))
    assert world.drifts.unrecorded([REF]) == [REF]


def test_a_new_difference_from_the_record_is_doubted_before_it_is_told() -> None:
    world = World(Limits(pids=10))
    assert world.drifts.doubts(REF, Limits(pids=20))
    world.drifts.recorded(REF, Limits(pids=20))  # the engine itself has changed it
    assert not world.drifts.doubts(REF, Limits(pids=20))
