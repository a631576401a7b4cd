"""Limits of a live cgroup: read them all, change some, and judge by what the kernel holds afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.errors import DeniedError, NotFoundError, PytopError, RefusedError, UnsupportedError
from runtime.kernel import cgroups, files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import cpu, cpuset, memory, pids
from runtime.limits.plan import Write
from runtime.limits.review import RecentUse, Severity, host_facts, review, unsupported
from runtime.limits.units import cpuset_numbers, format_value
from runtime.model import (
    ContainerRef,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Unlimited,
    Verdict,
)

PAGE: Final = 4096
Held = float | int | str | Unlimited | Missing

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
        ),
        ("io.max", "io.weight"),
    ),
    "pids": (("pids.max",), ("pids.max",)),
}


@dataclass(frozen=True, slots=True)
class RawFile:
    """One limit file as the kernel holds it."""

    controller: str
    path: str
    text: str


def read(cgroup: Cgroup) -> Limits:
    """Every limit; what cannot be read says why. Never raises for a missing file."""
    cores, period = cpu.read_bandwidth(cgroup)
    sizes = memory.read(cgroup)

    def size(name: LimitName) -> int | Unlimited | Missing:
        return sizes.get(name, Missing.UNSUPPORTED)

    return Limits(
        cpus=cores,
        cpu_period_us=period,
        cpu_shares=cpu.read_shares(cgroup),
        cpuset_cpus=cpuset.read(cgroup, "cpus"),
        cpuset_mems=cpuset.read(cgroup, "mems"),
        memory=size(LimitName.MEMORY),
        memory_high=size(LimitName.MEMORY_HIGH),
        memory_reservation=size(LimitName.MEMORY_RESERVATION),
        swap=size(LimitName.SWAP),
        pids=pids.read(cgroup),
    )


def raw(cgroup: Cgroup) -> tuple[RawFile, ...]:
    """Every limit file that is there, in the kernel's own words."""
    found: list[RawFile] = []
    for controller, by_version in LIMIT_FILES.items():
        where = cgroup.where(controller)
        if where is None:
            continue
        directory, version = where
        for name in by_version[version - 1]:
            text = files.look(directory / name)
            if isinstance(text, str):
                found.append(RawFile(controller, str(directory / name), text))
    return tuple(found)


def recent(cgroup: Cgroup) -> RecentUse:
    """What the kernel says is in use at this moment; the CPU needs two looks and is not known here."""
    held = memory.use(cgroup)
    return RecentUse(memory=held[0] if held else None, file=held[1] if held else None, pids=pids.current(cgroup))


def check(cgroup: Cgroup, change: LimitChange, before: Limits, *, force: bool = False) -> None:
    """Raise what forbids a change: `UnsupportedError`, `DeniedError` or, without `force`, `RefusedError`."""
    for name, why in unsupported(change, before):
        title = f"set {name.value.replace('_', ' ')}"
        if why is Missing.DENIED:
            raise DeniedError(title, detail="the kernel file may not be read", hint=files.ROOT_HINT)
        if why is Missing.GONE:
            raise NotFoundError(title, detail="the container's cgroup is gone")
        raise UnsupportedError(
            title,
            detail="this host's cgroups do not offer it",
            hint="`pytop-containers doctor` says what they do offer",
        )
    refusals = [f for f in review(change, before, host_facts(), recent(cgroup)) if f.severity is Severity.REFUSE]
    if refusals and not force:
        raise RefusedError(
            f"set {', '.join(finding.name.value.replace('_', ' ') for finding in refusals)}",
            detail="; ".join(finding.text for finding in refusals),
            hint="Nothing was changed",
        )


def plan(cgroup: Cgroup, change: LimitChange) -> list[Write]:
    """All writes of a change, in the order in which they are made."""
    return [
        *pids.plan(cgroup, change),
        *cpuset.plan(cgroup, change),
        *cpu.plan(cgroup, change),
        *memory.plan(cgroup, change),
    ]


def change(ref: ContainerRef, cgroup: Cgroup, wanted: LimitChange, *, force: bool = False) -> LimitOutcome:
    """Change limits of a cgroup. Blocking, some milliseconds. `force` does what would be refused as harmful.

    Raises before anything is written: `NotFoundError`, `UnsupportedError`, `DeniedError`, `RefusedError`. After the
    first write it returns: if one fails, those before it are taken back, and each field says what became of it.
    """
    cgroups.require(cgroup)
    before = read(cgroup)
    check(cgroup, wanted, before, force=force)
    done: list[Write] = []
    failed: tuple[Write, PytopError] | None = None
    for write in plan(cgroup, wanted):
        try:
            files.write(write.path, write.text)
        except PytopError as error:
            failed = (write, error)
            break
        done.append(write)
    if failed is None:
        return verify(ref, cgroup, wanted, before, None)
    stuck = _take_back(done)
    return _rolled_back(ref, cgroup, wanted, before, failed, {write.name for write in done}, stuck)


def _take_back(done: list[Write]) -> list[str]:
    """Undo writes, last first; what could not be undone, in words."""
    stuck: list[str] = []
    for write in reversed(done):
        try:
            files.write(write.path, write.undo)
        except PytopError as error:
            stuck.append(str(error))
    return stuck


def _rolled_back(
    ref: ContainerRef,
    cgroup: Cgroup,
    wanted: LimitChange,
    before: Limits,
    failed: tuple[Write, PytopError],
    touched: set[LimitName],
    stuck: list[str],
) -> LimitOutcome:
    write, error = failed
    now = read(cgroup)
    outcomes: list[FieldOutcome] = []
    for name, value in wanted.items():
        held = now.get(name)
        kept = same(name, held, before.get(name)) is not None or held == before.get(name)
        if name is write.name:
            verdict, detail = Verdict.FAILED, f"{write.path.name}: {error.detail or error}"
        elif name in touched and kept:
            verdict, detail = Verdict.ROLLED_BACK, "taken back"
        else:
            verdict, detail = Verdict.FAILED, "not tried" if kept else "could not be taken back: " + "; ".join(stuck)
        outcomes.append(FieldOutcome(name, value, before.get(name), Missing.NOT_SAMPLED, held, verdict, detail))
    return LimitOutcome(ref, tuple(outcomes), error=str(error))


def verify(
    ref: ContainerRef, cgroup: Cgroup, wanted: LimitChange, before: Limits, engine: Limits | None
) -> LimitOutcome:
    """Judge a change that was made, by us or by an engine's daemon, by what the kernel holds now.

    `engine` is the engine's own record, None when it keeps none.
    """
    now = read(cgroup)
    outcomes: list[FieldOutcome] = []
    for name, value in wanted.items():
        held = now.get(name)
        verdict, detail = _judge(cgroup, name, value, before.get(name), held)
        says: Held = engine.get(name) if engine is not None else value
        outcomes.append(FieldOutcome(name, value, before.get(name), says, held, verdict, detail))
    return LimitOutcome(ref, tuple(outcomes))


def _judge(
    cgroup: Cgroup, name: LimitName, value: float | int | str | Unlimited, before: Held, held: Held
) -> tuple[Verdict, str]:
    if isinstance(held, Missing):
        return Verdict.UNREADABLE, str(held)
    wanted: Held = value
    if isinstance(value, Unlimited) and name in (LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS):
        wanted = cpuset.available(cgroup, "cpus" if name is LimitName.CPUSET_CPUS else "mems")
    verdict = same(name, held, wanted)
    if verdict is None and name is LimitName.CPU_SHARES and isinstance(value, int):
        weight = cpu.weight(cgroup)
        if weight is not None and weight in (cpu.shares_to_weight(value), cpu.shares_to_weight_linear(value)):
            return Verdict.APPLIED, f"cpu.weight {weight}"
    if verdict is None:
        words = (
            "the kernel still holds the old value" if held == before else f"the kernel holds {format_value(name, held)}"
        )
        return (Verdict.IGNORED if held == before else Verdict.FAILED), words
    return verdict, "the kernel rounded it" if verdict is Verdict.ROUNDED else ""


def same(name: LimitName, held: Held, wanted: Held) -> Verdict | None:
    """APPLIED when the kernel holds the value, ROUNDED when it holds the nearest that it can, None when neither."""
    if held == wanted:
        return Verdict.APPLIED
    if isinstance(held, (Unlimited, Missing)) or isinstance(wanted, (Unlimited, Missing)):
        return None
    if isinstance(held, str) or isinstance(wanted, str):
        texts = str(held), str(wanted)
        return Verdict.APPLIED if all(texts) and cpuset_numbers(texts[0]) == cpuset_numbers(texts[1]) else None
    if name is LimitName.CPUS:
        difference = abs(held - wanted)
        return Verdict.APPLIED if difference < 1e-9 else Verdict.ROUNDED if difference <= 0.0051 else None
    if name in (LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.MEMORY_RESERVATION, LimitName.SWAP):
        return Verdict.ROUNDED if abs(held - wanted) < 2 * PAGE else None
    return None
