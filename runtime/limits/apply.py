"""Limits of a live cgroup: reads all, changes some, and compares with what the kernel holds afterwards."""

from __future__ import annotations

import errno
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from runtime.errors import DeniedError, NotFoundError, PytopError, UnsupportedError
from runtime.kernel import cgroupfs, files, limit_journal
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import units
from runtime.limits.controllers import cpu, cpuset, io, memory, network, pids, weight
from runtime.limits.review.facts import RecentUse, host_facts
from runtime.limits.review.review import missing_limits, refuse
from runtime.limits.step import Step
from runtime.limits.systemd import controllers, route
from runtime.limits.unsupported import unsupported_limits
from runtime.limits.verdict import outcome_of
from runtime.model import (
    NETWORK_LIMITS,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Ref,
    Unlimited,
    Verdict,
)

_ABOVE: Final = "a cgroup above it allows less, or one below it was given more"
_NO_DISK: Final = "there is no such disk, or it is a partition: the kernel limits whole disks"
ERRNO_REASONS: Final[Mapping[tuple[str, int | None], str]] = {
    ("cpu.cfs_quota_us", errno.EINVAL): _ABOVE,
    ("cpu.cfs_period_us", errno.EINVAL): _ABOVE,
    ("cpuset.cpus", errno.EBUSY): "a cgroup below it was given these CPUs",
    ("cpuset.mems", errno.EBUSY): "a cgroup below it was given these memory nodes",
    ("memory.limit_in_bytes", errno.EBUSY): "more than that is in use and could not be reclaimed",
    ("memory.memsw.limit_in_bytes", errno.EBUSY): "more memory and swap than that is in use",
    ("blkio.bfq.weight", errno.ERANGE): f"BFQ takes 1 to {io.MAX_BFQ_WEIGHT}",
    ("io.bfq.weight", errno.ERANGE): f"BFQ takes 1 to {io.MAX_BFQ_WEIGHT}",
    ("blkio.weight", errno.ERANGE): "CFQ takes 10 to 1000",
    **{(file, errno.ENODEV): _NO_DISK for file in ("io.max", *(where.v1 for where in io.RATES.values()))},
}

LIMIT_FILES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "cpu": (
        ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.shares", "cpu.idle"),
        ("cpu.max", "cpu.max.burst", "cpu.weight", "cpu.idle"),
    ),
    "cpuset": (
        ("cpuset.cpus", "cpuset.mems"),
        ("cpuset.cpus", "cpuset.cpus.effective", "cpuset.mems", "cpuset.mems.effective"),
    ),
    "memory": (
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.swappiness"),
        ("memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max", "memory.swap.high"),
    ),
    "io": (
        (
            "blkio.throttle.read_bps_device",
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_iops_device",
            *io.WEIGHTS[0],
        ),
        ("io.max", *io.WEIGHTS[1]),
    ),
    "pids": (("pids.max",), ("pids.max",)),
}


@dataclass(frozen=True, slots=True)
class RawFile:
    """One limit file as the kernel holds it."""

    controller: str
    path: str
    text: str


def read(cgroup: Cgroup, pid: int | None = None) -> Limits:
    """Every limit; one that cannot be read is a `Missing` with the reason. Never raises for a missing file.

    `pid` is a process of the container: the limits of its network are found by it, and are unsupported without.
    """
    cores, period = cpu.read_bandwidth(cgroup)
    sizes = memory.read(cgroup)
    rates = io.read(cgroup)
    flows = network.read(pid)

    def size(name: LimitName) -> int | Unlimited | Missing:
        return sizes.get(name, Missing.UNSUPPORTED)

    return Limits(
        cpus=cores,
        cpu_period=period,
        cpu_burst=cpu.read_burst(cgroup),
        cpu_shares=weight.read_shares(cgroup),
        cpu_idle=weight.read_idle(cgroup),
        cpuset_cpus=cpuset.read(cgroup, "cpus"),
        cpuset_mems=cpuset.read(cgroup, "mems"),
        memory=size(LimitName.MEMORY),
        memory_high=size(LimitName.MEMORY_HIGH),
        memory_reservation=size(LimitName.MEMORY_RESERVATION),
        swap=size(LimitName.SWAP),
        pids=pids.read(cgroup),
        io_weight=io.read_weight(cgroup),
        io_read_bps=rates[LimitName.IO_READ_BPS],
        io_write_bps=rates[LimitName.IO_WRITE_BPS],
        io_read_iops=rates[LimitName.IO_READ_IOPS],
        io_write_iops=rates[LimitName.IO_WRITE_IOPS],
        net_egress=flows[LimitName.NET_EGRESS],
        net_ingress=flows[LimitName.NET_INGRESS],
    )


def raw_files(cgroup: Cgroup) -> tuple[RawFile, ...]:
    """Every limit file of the cgroup with its text."""
    found: list[RawFile] = []
    for controller, by_version in LIMIT_FILES.items():
        where = cgroup.where(controller)
        if where is None:
            continue
        directory, version = where
        for name in by_version[version - 1]:
            text = files.try_read(directory / name)
            if isinstance(text, str):
                found.append(RawFile(controller, str(directory / name), text))
    return tuple(found)


def recent_use(cgroup: Cgroup) -> RecentUse:
    """The current use of memory and tasks. CPU use needs two samples and is not known here."""
    use, tasks = memory.read_use(cgroup), pids.current(cgroup)
    if use is None:
        return RecentUse(pids=tasks)
    return RecentUse(memory=use.current, anon=use.anon, file=use.file, swap=use.swap, pids=tasks)


def check(cgroup: Cgroup, change: LimitChange, before: Limits, *, force: bool = False, pid: int | None = None) -> None:
    """Raise the reason why a change is impossible, or (without `force`) `RefusedError` when it would do harm."""
    units.validate(change)
    for name, why in missing_limits(change, before):
        title = f"set {name.value.replace('_', ' ')}"
        if why is Missing.DENIED:
            raise DeniedError(title, detail="the kernel file may not be read", hint=files.ROOT_HINT)
        if why is Missing.GONE:
            raise NotFoundError(title, detail="the container's cgroup is gone")
        if name in NETWORK_LIMITS:
            reason = network.why_not(pid, name) if pid is not None else None
            raise UnsupportedError(title, detail=reason or "there is no process whose network could be limited")
        reason = unsupported_limits(cgroupfs.detect()).get(name, "the container's cgroup does not offer it")
        raise UnsupportedError(title, detail=reason, hint="`pytop-containers doctor` says what this host offers")
    weight.check(change, before)
    if not force:
        refuse(change, before, host_facts(), recent_use(cgroup))


def steps(cgroup: Cgroup, change: LimitChange, pid: int | None = None) -> list[Step]:
    """All steps of a change, in the order in which they are made."""
    return [
        *pids.steps(cgroup, change),
        *cpuset.steps(cgroup, change),
        *cpu.steps(cgroup, change),
        *weight.steps(cgroup, change),
        *io.steps(cgroup, change),
        *memory.steps(cgroup, change),
        *network.steps(pid, change),
    ]


def change(
    ref: Ref, cgroup: Cgroup, wanted: LimitChange, *, force: bool = False, pid: int | None = None
) -> LimitOutcome:
    """Change limits of a container. Blocking, some milliseconds. `force` skips the refusal of harmful changes.

    Raises as long as nothing has been written: `InvalidError`, `NotFoundError`, `UnsupportedError`, `DeniedError`,
    `RefusedError`, `ConflictError`. After the first write it returns an outcome: if a later write fails, the earlier
    ones are reverted and read back, and each limit's outcome says so.
    """
    pid = pid if network.asks_network(wanted) else None
    limit_journal.restore_abandoned()
    before = read(cgroup, pid)
    predicted = controllers.predicted_limits(cgroup, wanted, before)
    check(cgroup, wanted, predicted, force=force, pid=pid)
    if predicted != before:
        cgroup = controllers.with_controllers(cgroup, wanted)
        before = read(cgroup, pid)
        check(cgroup, wanted, before, force=force, pid=pid)
    routed = route.route(cgroup, steps(cgroup, wanted, pid))
    for step in routed.steps:
        step.require()
    done: list[tuple[Step, Hashable]] = []
    for step in routed.steps:
        previous = step.current_value()
        try:
            step.apply()
        except PytopError as error:
            unexplained = (
                isinstance(error, (DeniedError, NotFoundError)) and (step.title, error.errno) not in ERRNO_REASONS
            )
            if not done and unexplained:
                raise
            reverted = _revert(done)
            return _rolled_back(ref, wanted, before, read(cgroup, pid), (step, error), reverted)
        done.append((step, previous))
    return route.annotated(verify(ref, cgroup, wanted, before, None, pid=pid), routed)


@dataclass(frozen=True, slots=True)
class _Reverted:
    """The result of a roll-back: the limits that had been written, and messages about those that were not reverted."""

    names: frozenset[LimitName]
    stuck: tuple[str, ...]


def _revert(done: list[tuple[Step, Hashable]]) -> _Reverted:
    """Revert steps, last first, and compare what each holds now with what it held before."""
    stuck: list[str] = []
    for step, previous in reversed(done):
        try:
            step.revert()
        except PytopError as error:
            stuck.append(str(error))
            continue
        now = step.current_value()
        if now != previous:
            stuck.append(f"{step.title} held {previous!s} and now holds {now!s}")
    return _Reverted(frozenset(step.name for step, _ in done), tuple(stuck))


def _rolled_back(
    ref: Ref,
    wanted: LimitChange,
    before: Limits,
    now: Limits,
    failed: tuple[Step, PytopError],
    reverted: _Reverted,
) -> LimitOutcome:
    step, error = failed
    answer = f"{step.title}: {error.detail or error}"
    why = ERRNO_REASONS.get((step.title, error.errno))
    outcomes: list[FieldOutcome] = []
    for name, value in wanted.items():
        current = now.get(name)
        if current != before.get(name):
            verdict, detail = Verdict.FAILED, "could not be taken back: " + "; ".join(reverted.stuck)
        elif name is step.name:
            verdict, detail = Verdict.FAILED, f"{answer}; {why}" if why else answer
        elif name in reverted.names:
            verdict, detail = Verdict.ROLLED_BACK, "taken back"
        else:
            verdict, detail = Verdict.FAILED, "not tried"
        outcomes.append(
            FieldOutcome(name, value, before.get(name), Missing.NOT_SAMPLED, current, verdict, detail=detail)
        )
    words = [f"{error}; {why}" if why else str(error), *(f"not taken back: {text}" for text in reverted.stuck)]
    return LimitOutcome(ref, tuple(outcomes), error="; ".join(words))


def verify(
    ref: Ref,
    cgroup: Cgroup,
    wanted: LimitChange,
    before: Limits,
    engine: Limits | None,
    *,
    pid: int | None = None,
) -> LimitOutcome:
    """The outcome of a change that this program or an engine's daemon made: compared with what the kernel holds now.

    `engine` is the engine's own record, None when it keeps none.
    """
    return outcome_of(ref, cgroup, wanted, before, read(cgroup, pid if network.asks_network(wanted) else None), engine)
