"""Every limit on every engine, judged by the cgroup files of the container's own process."""

from __future__ import annotations

import asyncio

import pytest

from runtime.errors import InvalidError, NotFoundError, RefusedError, UnsupportedError
from runtime.limits import host_facts
from runtime.model import UNLIMITED, LimitChange, LimitName, LimitOutcome, Verdict
from tests.conftest import missing
from tests.engines.subject import Needs, Subject
from tests.waiting import until

MB = 1024 * 1024
V1_NONE = 2**62


async def quota(subject: Subject, ref: object) -> float | None:
    """CPU cores by the kernel's files; None when unlimited."""
    text = await subject.file(ref, "cpu", "cpu.cfs_quota_us", "cpu.max")  # type: ignore[arg-type]
    period = await subject.file(ref, "cpu", "cpu.cfs_period_us", "cpu.max")  # type: ignore[arg-type]
    number = text.split()[0]
    return None if number in ("max", "-1") else int(number) / int(period.split()[-1])


async def size(subject: Subject, ref: object, v1: str, v2: str) -> int | None:
    """Bytes or tasks by the kernel's file; None when unlimited."""
    text = await subject.file(ref, "pids" if v1.startswith("pids") else "memory", v1, v2)  # type: ignore[arg-type]
    return None if text == "max" or int(text) >= V1_NONE else int(text)


def held(outcome: LimitOutcome) -> bool:
    return outcome.ok and all(field.kernel == field.requested for field in outcome.fields)


async def test_cpu_is_capped_changed_and_lifted(subject: Subject) -> None:
    ref = await subject.run()
    for cores in (0.5, 1.25, 0.2):
        assert held(await subject.engine.update(ref.id, LimitChange(cpus=cores)))
        assert await quota(subject, ref) == pytest.approx(cores)
    assert held(await subject.engine.update(ref.id, LimitChange(cpus=UNLIMITED)))
    assert await quota(subject, ref) is None
    assert held(await subject.engine.update(ref.id, LimitChange(cpus=0.3)))
    assert await quota(subject, ref) == pytest.approx(0.3)


async def test_a_cap_that_it_was_created_with_is_lifted(subject: Subject) -> None:
    ref = await subject.run(limits=LimitChange(cpus=0.5, memory=64 * MB, pids=64))
    assert await quota(subject, ref) == pytest.approx(0.5)
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") == 64 * MB
    assert await size(subject, ref, "pids.max", "pids.max") == 64
    outcome = await subject.engine.update(ref.id, LimitChange(cpus=UNLIMITED, memory=UNLIMITED, pids=UNLIMITED))
    assert held(outcome), outcome
    assert await quota(subject, ref) is None
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") is None
    assert await size(subject, ref, "pids.max", "pids.max") is None


async def test_weight(subject: Subject) -> None:
    ref = await subject.run()
    for shares in (512, 2048, 1024):
        assert (await subject.engine.update(ref.id, LimitChange(cpu_shares=shares))).ok
        text = await subject.file(ref, "cpu", "cpu.shares", "cpu.weight")
        # On v2 the weights of newer and of older runtimes: 512, 2048 and 1024 shares.
        assert int(text) in {512: (512, 20, 59), 2048: (2048, 79, 174), 1024: (1024, 39, 100)}[shares]


async def test_memory_is_set_changed_and_lifted(subject: Subject) -> None:
    ref = await subject.run()
    for memory in (64 * MB, 128 * MB, 32 * MB):
        assert held(await subject.engine.update(ref.id, LimitChange(memory=memory)))
        assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") == memory
    assert held(await subject.engine.update(ref.id, LimitChange(memory=UNLIMITED)))
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") is None


async def test_swap_beside_memory(subject: Subject) -> None:
    reason = (await subject.engine.capabilities()).why_not(LimitName.SWAP)
    ref = await subject.run()
    change = LimitChange(memory=64 * MB, swap=32 * MB)
    if reason is not None:
        with pytest.raises(UnsupportedError):
            await subject.engine.update(ref.id, change)
        return
    assert held(await subject.engine.update(ref.id, change))
    both = await size(subject, ref, "memory.memsw.limit_in_bytes", "memory.swap.max")
    assert both in (96 * MB, 32 * MB)


async def test_reservation(subject: Subject) -> None:
    ref = await subject.run()
    assert held(await subject.engine.update(ref.id, LimitChange(memory_reservation=32 * MB)))
    assert await size(subject, ref, "memory.soft_limit_in_bytes", "memory.low") == 32 * MB
    outcome = await subject.engine.update(ref.id, LimitChange(memory_reservation=UNLIMITED))
    assert outcome.ok, outcome
    none = await size(subject, ref, "memory.soft_limit_in_bytes", "memory.low")
    assert none in (None, 0)  # v1 says it with its largest number, v2 with its smallest


async def test_tasks(subject: Subject) -> None:
    ref = await subject.run()
    assert held(await subject.engine.update(ref.id, LimitChange(pids=33)))
    assert await size(subject, ref, "pids.max", "pids.max") == 33
    assert held(await subject.engine.update(ref.id, LimitChange(pids=UNLIMITED)))
    assert await size(subject, ref, "pids.max", "pids.max") is None


async def test_cpuset(subject: Subject) -> None:
    ref = await subject.run()
    assert held(await subject.engine.update(ref.id, LimitChange(cpuset_cpus="0")))
    assert await subject.file(ref, "cpuset", "cpuset.cpus", "cpuset.cpus.effective") == "0"
    assert (await subject.engine.update(ref.id, LimitChange(cpuset_cpus=UNLIMITED))).ok
    assert await subject.file(ref, "cpuset", "cpuset.cpus", "cpuset.cpus.effective") == host_facts().cpus


async def test_several_at_once(subject: Subject) -> None:
    ref = await subject.run()
    outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.4, memory=48 * MB, pids=40, cpu_shares=256))
    assert outcome.ok, outcome
    assert await quota(subject, ref) == pytest.approx(0.4)
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") == 48 * MB
    assert await size(subject, ref, "pids.max", "pids.max") == 40


@pytest.mark.parametrize("name", list(LimitName))
async def test_what_is_declared_impossible_is_refused_with_that_reason(subject: Subject, name: LimitName) -> None:
    reason = (await subject.engine.capabilities()).why_not(name)
    if reason is None:
        return
    assert reason
    ref = await subject.run()
    value: dict[str, object] = {name.value: "0" if name.value.startswith("cpuset") else 64 * MB}
    with pytest.raises(UnsupportedError):
        await subject.engine.update(ref.id, LimitChange(**value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        LimitChange(cpus=0.001),
        LimitChange(cpuset_cpus="0,500"),
        LimitChange(memory=1 * MB),
        LimitChange(memory=64 * MB, memory_reservation=128 * MB),
    ],
)
async def test_harm_is_refused_and_nothing_changes(subject: Subject, change: LimitChange) -> None:
    ref = await subject.run(limits=LimitChange(pids=55))
    with pytest.raises(RefusedError) as caught:
        await subject.engine.update(ref.id, change)
    assert caught.value.detail
    assert await quota(subject, ref) is None
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") is None
    assert await size(subject, ref, "pids.max", "pids.max") == 55


NONSENSE = [
    LimitChange(cpus=float("nan")),
    LimitChange(cpus=float("inf")),
    LimitChange(cpus=-1.0),
    LimitChange(cpus=0.0),
    LimitChange(cpu_shares=1),
    LimitChange(cpu_shares=1_000_000),
    LimitChange(cpuset_cpus=""),
    LimitChange(cpuset_cpus="all of them"),
    LimitChange(cpuset_cpus="1-0"),
    LimitChange(cpuset_mems="777"),
    LimitChange(memory=-1),
    LimitChange(memory=0),
    LimitChange(memory=2**62),
    LimitChange(memory_reservation=-5),
    LimitChange(memory=64 * MB, swap=-1),
    LimitChange(pids=0),
    LimitChange(pids=-5),
    LimitChange(pids=1_000_000_000),
]


@pytest.mark.parametrize("live", [True, False], ids=["running", "at rest"])
async def test_invalid_limits_are_refused_running_or_not(subject: Subject, live: bool) -> None:
    ref = await (subject.run if live else subject.create)("sleep 60", limits=LimitChange(cpus=0.5), network="none")
    for change in NONSENSE:
        with pytest.raises((InvalidError, RefusedError)):
            await subject.engine.update(ref.id, change)
        with pytest.raises((InvalidError, RefusedError)):
            await subject.create("true", limits=change)
    if not live:
        await subject.engine.start(ref.id)
    assert await quota(subject, ref) == pytest.approx(0.5)
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") is None


async def test_memory_below_use_is_refused_with_the_figures(subject: Subject) -> None:
    subject.need(Needs.CGROUPS)
    # dd holds its one block of 40 MiB in anonymous memory while it waits for a reader of its output.
    ref = await subject.run("mkfifo /tmp/p; sleep 60 < /tmp/p & dd if=/dev/zero of=/tmp/p bs=40M count=2; sleep 60")

    async def holds_it() -> bool:
        return (await size(subject, ref, "memory.usage_in_bytes", "memory.current") or 0) > 40 * MB

    try:
        await until(holds_it, 15)
    except AssertionError:
        missing("memory", "the container did not come to hold 40 MiB")
    with pytest.raises(RefusedError, match="cannot be reclaimed"):
        await subject.engine.update(ref.id, LimitChange(memory=16 * MB))
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") is None
    assert (await subject.engine.get(ref.id)).state.live


async def test_an_empty_change_is_invalid(subject: Subject) -> None:
    ref = await subject.run()
    with pytest.raises(InvalidError):
        await subject.engine.update(ref.id, LimitChange())


async def test_a_container_that_is_not_there(subject: Subject) -> None:
    with pytest.raises(NotFoundError):
        await subject.engine.update("no-such-container", LimitChange(cpus=1.0))


async def test_a_change_at_rest_counts_from_the_next_start(subject: Subject) -> None:
    ref = await subject.create("sleep 60", limits=LimitChange(cpus=1.0, memory=128 * MB))
    reason = (await subject.engine.capabilities()).at_rest
    if reason:
        with pytest.raises(UnsupportedError) as caught:
            await subject.engine.update(ref.id, LimitChange(cpus=0.3, pids=44))
        assert caught.value.detail == reason
        return
    outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.3, pids=44))
    assert {field.verdict for field in outcome.fields} == {Verdict.UNREADABLE}
    await subject.engine.start(ref.id)
    assert await quota(subject, ref) == pytest.approx(0.3)
    assert await size(subject, ref, "pids.max", "pids.max") == 44
    assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") == 128 * MB


def kept(outcome: LimitOutcome) -> bool:
    """Whether the outcome says that a restart keeps all of it; it must not say so of one part and not of another."""
    (said,) = {field.persistent is not False for field in outcome.fields}
    return said


async def test_limits_survive_a_restart_or_the_outcome_says_that_they_do_not(subject: Subject) -> None:
    ref = await subject.run()
    outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.6, memory=64 * MB))
    await subject.engine.restart(ref.id, timeout=1)
    assert await quota(subject, ref) == (pytest.approx(0.6) if kept(outcome) else None)
    memory = await size(subject, ref, "memory.limit_in_bytes", "memory.max")
    assert memory == (64 * MB if kept(outcome) else None)


async def test_a_limit_that_was_lifted_stays_away_after_a_restart_or_the_outcome_says_not(subject: Subject) -> None:
    ref = await subject.run(limits=LimitChange(memory=64 * MB, pids=50))
    outcome = await subject.engine.update(ref.id, LimitChange(memory=UNLIMITED, pids=UNLIMITED))
    assert held(outcome)
    await subject.engine.stop(ref.id, timeout=1)
    await subject.engine.start(ref.id)
    memory = await size(subject, ref, "memory.limit_in_bytes", "memory.max")
    assert memory == (None if kept(outcome) else 64 * MB)
    assert await size(subject, ref, "pids.max", "pids.max") == (None if kept(outcome) else 50)


async def test_a_paused_container_can_be_limited(subject: Subject) -> None:
    ref = await subject.run()
    await subject.engine.pause(ref.id)
    assert held(await subject.engine.update(ref.id, LimitChange(cpus=0.7)))
    await subject.engine.unpause(ref.id)
    assert await quota(subject, ref) == pytest.approx(0.7)


async def test_two_changes_at_once_leave_one_of_both(subject: Subject) -> None:
    ref = await subject.run()
    await asyncio.gather(
        *(subject.engine.update(ref.id, LimitChange(cpus=cores)) for cores in (0.4, 0.8)), return_exceptions=True
    )
    assert await quota(subject, ref) in (pytest.approx(0.4), pytest.approx(0.8))


async def test_a_cap_really_holds_the_container_back(subject: Subject) -> None:
    subject.need(Needs.CGROUPS)
    ref = await subject.run("while :; do :; done", limits=LimitChange(cpuset_cpus="0"))
    await subject.engine.update(ref.id, LimitChange(cpus=0.2))

    async def throttled() -> int:
        text = await subject.file(ref, "cpu", "cpu.stat", "cpu.stat")
        return int(dict(line.split() for line in text.splitlines())["nr_throttled"])

    before = await throttled()

    async def more() -> bool:
        return await throttled() > before

    await until(more, 10, "it is held back")  # on a busy machine it takes its time until it has had its part
