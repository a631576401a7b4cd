"""What counts as a limit that somebody else has changed, and what does not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from collectors.history.rings import History
from collectors.sampling.frame import Frame, HostUsage, Usage
from runtime.model import (
    UNLIMITED,
    Container,
    ContainerRef,
    DeviceRate,
    Event,
    EventKind,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Ref,
    State,
    Value,
    Verdict,
)
from tui.core.drift.detector import MAX_READ_IN_TURN, SETTLE_S, DriftDetector
from tui.core.subject import EngineRef
from tui.present.annotation_text import annotation_text

REF = ContainerRef("x", "a")
X = EngineRef("", "x")
WEB = Container(REF, "web", "image", State.RUNNING, pid=7)


class World:
    """A container that has settled, and a clock that is turned by hand."""

    def __init__(
        self,
        record: Limits = Limits(),  # noqa: B008  (frozen)
        unrecorded: Collection[LimitName] = (),
    ) -> None:
        self.now = 0.0
        self.history = History()
        self.detector = DriftDetector(self.history, lambda: self.now)
        self.detector.inventory([WEB])
        self.detector.recorded(REF, record, unrecorded)
        self.now += SETTLE_S

    def frame(self, **swept: object) -> Frame:
        usage = Usage(0, **{"cpu_limit": UNLIMITED, "memory_limit": UNLIMITED, "pids_limit": UNLIMITED, **swept})  # type: ignore[arg-type]
        return Frame(1, 1, 1, 1, 1, HostUsage(ncpu=2), usages={REF: usage})

    def see(self, held: Limits, above: Limits = Limits(), **swept: object) -> None:  # noqa: B008  (frozen)
        """One round; `above` is what the parent has."""
        self.now += 1
        frame = self.frame(**swept)
        for ref, generation in self.detector.suspects(X, frame).items():
            self.detector.judge(ref, held, generation, frame.usages[ref], above)

    def set(self, name: LimitName, value: Value, *, held: Value | None = None) -> None:
        """A change from here; `held` is what the kernel has kept where it did not take it."""
        self.detector.begin(REF)
        if held is None:
            field = FieldOutcome(name, value, Missing.NOT_SAMPLED, value, value, Verdict.APPLIED)
        else:
            field = FieldOutcome(name, value, held, held, held, Verdict.FAILED)
        self.detector.end(REF, LimitOutcome(REF, (field,)))

    @property
    def told(self) -> dict[LimitName, tuple[Value, Value]]:
        return {d.name: (d.expected, d.kernel) for d in self.detector.drifts.get(REF, ())}


def test_a_limit_that_was_set_here_and_changed_elsewhere_is_told_with_an_annotation() -> None:
    world = World()
    world.set(LimitName.CPU_SHARES, 512)
    world.see(Limits(cpu_shares=512))
    assert not world.told
    world.see(Limits(cpu_shares=1024))
    assert world.told == {LimitName.CPU_SHARES: (512, 1024)}
    texts = [annotation_text(each) for each in world.history.annotations(REF)]
    assert texts == ["cpu shares 1024 by somebody else (was 512)"]
    world.see(Limits(cpu_shares=1024))
    assert len(world.history.annotations(REF)) == 1
    assert world.detector.expected(REF) == LimitChange(cpu_shares=512)


def test_the_engines_record_is_compared_with_what_the_sweep_gives() -> None:
    world = World(Limits(memory=1 << 30))
    world.see(Limits(memory=1 << 30), memory_limit=1 << 30)
    assert not world.told
    world.see(Limits(memory=1 << 20), memory_limit=1 << 20)
    assert world.told == {LimitName.MEMORY: (1 << 30, 1 << 20)}
    world.see(Limits(memory=1 << 30), memory_limit=1 << 30)
    assert not world.told


def test_a_tighter_limit_above_is_no_drift_and_hides_none() -> None:
    world = World(Limits(cpus=2.0, memory=1 << 30))
    for _ in range(2):
        world.see(Limits(cpus=1.5, memory=1 << 30), cpu_limit=0.5, memory_limit=1 << 20)
        assert world.told == {LimitName.CPUS: (2.0, 1.5)}
    world.detector.accept(REF)
    for _ in range(2):
        world.see(Limits(cpus=1.5, memory=1 << 30), cpu_limit=0.5, memory_limit=1 << 20)
        assert not world.told
    world.see(Limits(cpus=1.0, memory=1 << 30), cpu_limit=0.5, memory_limit=1 << 20)
    assert world.told == {LimitName.CPUS: (1.5, 1.0)}


def test_cpus_that_a_parent_took_away_and_gives_back_are_no_drift() -> None:
    for record in (Limits(), Limits(cpuset_cpus="0-3")):
        world = World(record)
        if not isinstance(record.cpuset_cpus, str):
            world.see(Limits(cpuset_cpus="0-3"))
        for left in ("0-1", "0-3", "1"):
            world.see(Limits(cpuset_cpus=left), Limits(cpuset_cpus=left))
            assert not world.told
        world.see(Limits(cpuset_cpus="0"), Limits(cpuset_cpus="0-3"))
        assert world.told == {LimitName.CPUSET_CPUS: ("0-3", "0")}


def test_rounding_is_no_drift() -> None:
    world = World(Limits(memory=100_000_001, cpus=0.333333333))
    world.see(Limits(memory=99_999_744, cpus=0.33333, cpu_period=100_000))
    assert not world.told


def test_a_small_quota_has_a_small_tolerance() -> None:
    world = World(Limits(cpus=0.0109))
    world.see(Limits(cpus=0.0100, cpu_period=100_000))
    assert world.told == {LimitName.CPUS: (0.0109, 0.0100)}
    world = World(Limits(cpus=0.3333))
    world.see(Limits(cpus=0.333, cpu_period=1_000))
    assert not world.told


def test_all_cpus_on_record_are_as_good_as_no_limit() -> None:
    world = World(Limits(cpus=2.0))
    world.see(Limits(cpus=UNLIMITED), cpu_limit=UNLIMITED)
    assert not world.told
    world.see(Limits(cpus=1.0), cpu_limit=1.0)
    assert world.told == {LimitName.CPUS: (UNLIMITED, 1.0)}


def test_every_limit_on_record_is_compared() -> None:
    record = Limits(
        cpu_shares=512,
        cpuset_cpus="0",
        swap=1 << 20,
        memory=1 << 30,
        memory_reservation=1 << 20,
        io_read_bps=(DeviceRate("8:0", 1000),),
    )
    held = Limits(
        cpu_shares=1024,
        cpuset_cpus="0-1",
        swap=2 << 20,
        memory=1 << 30,
        memory_reservation=UNLIMITED,
        io_read_bps=(DeviceRate("8:0", 1000), DeviceRate("8:16", 1000)),
    )
    world = World(record)
    world.see(record, memory_limit=1 << 30)
    assert not world.told
    world.see(held, memory_limit=1 << 30)
    five = {"cpu_shares", "cpuset_cpus", "swap", "memory_reservation", "io_read_bps"}
    assert set(world.told) == five
    late = World(record)
    late.see(held, memory_limit=1 << 30)
    assert late.told == world.told
    assert late.detector.expected(REF).io_read_bps == (DeviceRate("8:0", 1000), DeviceRate("8:16", UNLIMITED))


def test_what_a_record_does_not_ask_for_may_have_any_default() -> None:
    world = World(Limits(pids=UNLIMITED, io_weight=100, memory_reservation=UNLIMITED, swap=UNLIMITED, memory=UNLIMITED))
    world.see(Limits(pids=4915, io_weight=500, memory_reservation=1 << 20, swap=0, memory=UNLIMITED))
    assert not world.told
    world.see(Limits(pids=100, io_weight=500, memory_reservation=1 << 20, swap=0, memory=UNLIMITED))
    assert world.told == {LimitName.PIDS: (4915, 100)}


def test_a_weight_is_the_same_by_either_conversion() -> None:
    for shares in (126, 512):  # what an older and a newer runtime have made of 512
        world = World(Limits(cpu_shares=512))
        world.see(Limits(cpu_shares=shares))
        assert not world.told
    world = World(Limits(cpu_shares=512))
    world.see(Limits(cpu_shares=1024))
    assert world.told


def test_without_a_record_of_updates_only_what_was_seen_here_counts() -> None:
    world = World(Limits(memory=1 << 30, cpus=0.5), unrecorded=frozenset(LimitName))
    world.see(Limits(memory=1 << 20, cpus=1.0))
    assert not world.told
    world.set(LimitName.CPUS, 0.75)
    world.detector.recorded(REF, Limits(memory=1 << 30, cpus=0.5), frozenset(LimitName))
    world.see(Limits(memory=1 << 20, cpus=0.75))
    assert not world.told
    world.see(Limits(memory=2 << 20, cpus=0.75))
    assert world.told == {LimitName.MEMORY: (1 << 20, 2 << 20)}


def test_what_the_engine_records_anew_is_expected() -> None:
    world = World(Limits(memory=1 << 30, cpu_shares=512))
    world.see(Limits(memory=1 << 30, cpu_shares=512, memory_high=1 << 20), memory_limit=1 << 30)
    world.detector.event(Event(EventKind.UPDATED, REF, 0))
    world.detector.recorded(REF, Limits(memory=2 << 30, cpu_shares=512))
    world.see(Limits(memory=2 << 30, cpu_shares=512, memory_high=1 << 20), memory_limit=2 << 30)
    assert not world.told
    world.see(Limits(memory=1 << 30, cpu_shares=512, memory_high=UNLIMITED), memory_limit=1 << 30)
    assert world.told == {LimitName.MEMORY: (2 << 30, 1 << 30), LimitName.MEMORY_HIGH: (1 << 20, UNLIMITED)}


def test_what_was_set_here_and_then_by_the_engines_client_is_told() -> None:
    world = World(Limits(pids=10))
    world.set(LimitName.PIDS, 20)
    world.detector.recorded(REF, Limits(pids=20))
    world.see(Limits(pids=20))
    world.detector.event(Event(EventKind.UPDATED, REF, 0))
    world.detector.recorded(REF, Limits(pids=30))
    world.see(Limits(pids=30))
    assert world.told == {LimitName.PIDS: (20, 30)}


def test_all_files_are_read_in_turn_a_few_in_each_round() -> None:
    now = 0.0
    detector = DriftDetector(History(), lambda: now)
    refs = [ContainerRef("x", str(number)) for number in range(3 * MAX_READ_IN_TURN)]
    detector.inventory(replace(WEB, ref=ref) for ref in refs)
    frame = Frame(1, 1, 1, 1, 1, HostUsage(ncpu=2), usages={})
    for _ in range(2):
        read: list[Ref] = []
        for _ in range(3):
            now += SETTLE_S
            suspects = detector.suspects(X, frame)
            assert len(suspects) == MAX_READ_IN_TURN
            read += suspects
            for ref, generation in suspects.items():
                detector.judge(ref, Limits(), generation, None)
        assert sorted(read) == sorted(refs)


def test_nothing_is_told_while_a_change_is_under_way_nor_of_what_was_read_before_it() -> None:
    world = World(Limits(cpus=1.0))
    frame = world.frame(cpu_limit=0.5)
    (generation,) = world.detector.suspects(X, frame).values()
    world.detector.begin(REF)
    assert not world.detector.suspects(X, frame)
    assert not world.detector.judge(REF, Limits(cpus=0.5), generation, None)
    world.detector.end(REF, None)
    assert not world.detector.judge(REF, Limits(cpus=0.5), generation, None)
    assert not world.told


def test_a_restart_begins_anew_and_has_time_to_settle() -> None:
    world = World()
    world.set(LimitName.PIDS, 10)
    world.see(Limits(pids=20))
    assert world.told
    world.detector.inventory([replace(WEB, pid=8)])
    assert not world.told
    world.detector.recorded(REF, Limits(pids=10))
    world.see(Limits(pids=20), pids_limit=20)
    assert not world.told
    world.now += SETTLE_S
    world.see(Limits(pids=20), pids_limit=20)
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


def test_what_somebody_else_changed_just_before_our_own_change_is_told() -> None:
    world = World()
    world.set(LimitName.MEMORY, 1 << 30)
    world.see(Limits(memory=1 << 30))
    world.set(LimitName.PIDS, 10)
    world.see(Limits(memory=1 << 20, pids=10))
    assert world.told == {LimitName.MEMORY: (1 << 30, 1 << 20)}


def test_a_change_that_fails_hides_nothing() -> None:
    for fail in ("raised", "refused by the kernel"):
        world = World()
        world.set(LimitName.MEMORY, 1 << 30)
        world.see(Limits(memory=1 << 30))
        if fail == "raised":
            world.detector.begin(REF)
            world.detector.end(REF, None)
        else:
            world.set(LimitName.MEMORY, 2 << 30, held=1 << 20)
        world.see(Limits(memory=1 << 20))
        assert world.told == {LimitName.MEMORY: (1 << 30, 1 << 20)}


def test_a_new_value_can_be_accepted() -> None:
    world = World(Limits(pids=10))
    world.see(Limits(pids=20), pids_limit=20)
    world.detector.accept(REF)
    assert not world.told
    world.see(Limits(pids=20), pids_limit=20)
    assert not world.told


def test_an_event_asks_for_the_record_again() -> None:
    world = World(Limits(pids=10))
    assert not world.detector.unrecorded(X, [REF])
    world.detector.event(Event(EventKind.UPDATED, REF, 0))
    assert world.detector.unrecorded(X, [REF]) == [REF]


def test_a_new_difference_from_the_record_is_doubted_before_it_is_told() -> None:
    world = World(Limits(pids=10))
    assert world.detector.doubts(REF, Limits(pids=20))
    world.detector.recorded(REF, Limits(pids=20))  # the engine itself has changed it
    assert not world.detector.doubts(REF, Limits(pids=20))
