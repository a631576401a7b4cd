"""What each rung would change, by what victim and suspect hold and use now, or why there is nothing to change."""

from __future__ import annotations

from typing import Final

from runtime.containment import aimd
from runtime.containment.rung import Case, Party, Proposal, TargetKind
from runtime.model import DeviceRate, LimitChange, LimitName, Missing, Unlimited

PROTECTED_FACTOR: Final = 4  # by which the victim's weight is raised
MAX_PROTECTED_SHARES: Final = 16_384  # CPU shares (1024 is normal) beyond which a victim needs no more weight
LOWERED_FACTOR: Final = 10  # by which a suspect's weight is divided
MIN_LOWERED_SHARES: Final = 102
NORMAL_IO_WEIGHT: Final = 100
MAX_PROTECTED_IO_WEIGHT: Final = 1_000  # the largest that v1 takes
MIN_LOWERED_IO_WEIGHT: Final = 10  # the smallest that v1 takes
MEMORY_STEP_FACTOR: Final = 0.9
MEMORY_FLOOR_SHARE: Final = 0.5  # of what the suspect had at the first rung
MIN_MEMORY_BYTES: Final = 16 << 20
RATE_STEP_FACTOR: Final = 0.5
MIN_DISK_BYTES: Final = 1 << 20  # a second
MIN_DISK_IOPS: Final = 50
SMALL_REQUEST_BYTES: Final = 16 << 10  # below this mean size a suspect is limited by operations, not by bytes
MIN_NETWORK_BITS: Final = 1_000_000  # a second
NOTHING_MORE: Final = "it is at the least that the ladder leaves it"


def unavailable(name: LimitName, party: Party) -> str:
    """Why a limit of it cannot be changed, "" when it can."""
    reason = party.refused.get(name, "")
    value = party.limits.get(name)
    if not reason and isinstance(value, Missing) and party.kind is not TargetKind.PROCESS:
        return f"its {name.value.replace('_', ' ')}: {value}"
    return reason


def protect_cpu(case: Case) -> Proposal:
    """The victim's weight up."""
    victim = _victim(case)
    if victim.limits.cpu_idle is True:
        return "the victim was put into the idle class itself: leaving it is for whoever did that"
    now = _number(victim.limits.cpu_shares, 1024)
    if now >= MAX_PROTECTED_SHARES:
        return "the victim has a high weight already"
    return LimitChange(cpu_shares=min(MAX_PROTECTED_SHARES, now * PROTECTED_FACTOR))


def protect_memory(case: Case) -> Proposal:
    """What the victim uses now is reclaimed last."""
    victim = _victim(case)
    now, use = victim.limits.memory_reservation, victim.use.memory
    if isinstance(now, Unlimited):  # v1: without a soft limit nothing is reclaimed for being above it
        return "the victim has no soft limit, by which it would be reclaimed first"
    if isinstance(now, int) and now >= use:
        return "the victim's memory is protected already"
    return LimitChange(memory_reservation=use)


def protect_io(case: Case) -> Proposal:
    """The victim's requests first."""
    now = _number(_victim(case).limits.io_weight, NORMAL_IO_WEIGHT)
    if now >= MAX_PROTECTED_IO_WEIGHT:
        return "the victim has a high weight already"
    return LimitChange(io_weight=min(MAX_PROTECTED_IO_WEIGHT, now * PROTECTED_FACTOR))


def cpu_weight(case: Case) -> Proposal:
    """A tenth of the suspect's weight."""
    limits = case.suspect.limits
    now = _number(limits.cpu_shares, 1024)
    if limits.cpu_idle is True:
        return "it is in the idle class, where a weight does not count"
    if now <= MIN_LOWERED_SHARES:
        return "its weight is low already"
    return LimitChange(cpu_shares=max(MIN_LOWERED_SHARES, now // LOWERED_FACTOR))


def cpu_idle(case: Case) -> Proposal:
    """The suspect gets what nobody else wants."""
    if case.suspect.limits.cpu_idle is True:
        return "it is in the idle class already"
    return LimitChange(cpu_idle=True)


def cpu_quota(case: Case) -> Proposal:
    """One decrease of the suspect's quota."""
    limit, use = case.suspect.limits.cpus, case.suspect.use.cpu
    now = min(limit, use) if isinstance(limit, (int, float)) else use
    if now <= aimd.FLOOR_CORES:
        return NOTHING_MORE
    return LimitChange(cpus=aimd.lowered(now))


def memory_soft_limit(case: Case) -> Proposal:
    """The suspect is reclaimed before others."""
    limits, use = case.suspect.limits, case.suspect.use.memory
    if not unavailable(LimitName.MEMORY_HIGH, case.suspect):
        return "memory.high is to be had, which does more"
    wanted = max(MIN_MEMORY_BYTES, int(use * MEMORY_FLOOR_SHARE))
    if isinstance(limits.memory_reservation, int) and limits.memory_reservation <= wanted:
        return "its soft limit is low already"
    return LimitChange(memory_reservation=wanted)


def memory_high(case: Case) -> Proposal:
    """One step less before the suspect is slowed by reclaim."""
    size = _less_memory(case, case.suspect.limits.memory_high)
    return NOTHING_MORE if size is None else LimitChange(memory_high=size)


def memory_limit(case: Case) -> Proposal:
    """One step less of the hard limit, for which room is made before."""
    if not unavailable(LimitName.MEMORY_HIGH, case.suspect):
        return "memory.high is to be had, which kills nobody"
    size = _less_memory(case, case.suspect.limits.memory)
    return NOTHING_MORE if size is None else LimitChange(memory=size)


def _less_memory(case: Case, limit: int | Unlimited | Missing) -> int | None:
    """One step less than it has, None at the floor."""
    use = case.suspect.use.memory
    now = min(limit, use) if isinstance(limit, int) else use
    floor = max(MIN_MEMORY_BYTES, int(case.first_use.memory * MEMORY_FLOOR_SHARE))
    wanted = max(floor, int(now * MEMORY_STEP_FACTOR))
    return wanted if wanted < now else None


def io_weight(case: Case) -> Proposal:
    """A tenth of the suspect's weight."""
    now = _number(case.suspect.limits.io_weight, NORMAL_IO_WEIGHT)
    if now <= MIN_LOWERED_IO_WEIGHT:
        return "its weight is low already"
    return LimitChange(io_weight=max(MIN_LOWERED_IO_WEIGHT, now // LOWERED_FACTOR))


def disk_rate(case: Case) -> Proposal:
    """Half of what the suspect reads and writes."""
    disks = case.suspect.use.disks
    chosen = {case.device: disks[case.device]} if case.device in disks else disks
    values: dict[LimitName, tuple[DeviceRate, ...]] = {}
    for device, use in sorted(chosen.items()):
        for name, now, floor in (
            _direction(use.read_bytes, use.read_ops, LimitName.IO_READ_BPS, LimitName.IO_READ_IOPS),
            _direction(use.write_bytes, use.write_ops, LimitName.IO_WRITE_BPS, LimitName.IO_WRITE_IOPS),
        ):
            held = _rate_of(case.suspect.limits.get(name), device)
            now = now if held is None else min(now, held)
            if now > floor and not unavailable(name, case.suspect):
                rate = DeviceRate(device, max(floor, int(now * RATE_STEP_FACTOR)))
                values[name] = (*values.get(name, ()), rate)
    return LimitChange.of(dict(values)) if values else NOTHING_MORE


def _direction(moved: float, ops: float, by_bytes: LimitName, by_operations: LimitName) -> tuple[LimitName, float, int]:
    """What limits one direction of a device: bytes, or operations where they are small; the use, and the floor."""
    if ops > MIN_DISK_IOPS and moved / ops < SMALL_REQUEST_BYTES:
        return by_operations, ops, MIN_DISK_IOPS
    return by_bytes, moved, MIN_DISK_BYTES


def _rate_of(held: object, device: str) -> int | None:
    rates = held if isinstance(held, tuple) else ()
    return next((each.rate for each in rates if each.device == device and isinstance(each.rate, int)), None)


def network_rate(case: Case) -> Proposal:
    """Half of what the suspect sends and receives."""
    limits, use = case.suspect.limits, case.suspect.use
    values: dict[LimitName, int] = {}
    for name, now in ((LimitName.NET_EGRESS, use.sent), (LimitName.NET_INGRESS, use.received)):
        held = limits.get(name)
        now = min(now, held) if isinstance(held, int) else now
        if now > MIN_NETWORK_BITS and not unavailable(name, case.suspect):
            values[name] = max(MIN_NETWORK_BITS, int(now * RATE_STEP_FACTOR))
    return LimitChange.of(dict(values)) if values else NOTHING_MORE


def tasks(case: Case) -> Proposal:
    """As many tasks as the suspect has."""
    limit, count = case.suspect.limits.pids, max(1, case.suspect.use.tasks)
    if isinstance(limit, int) and limit <= count:
        return "it may have no more tasks than it has already"
    return LimitChange(pids=count)


def freeze(case: Case) -> Proposal:
    """It stands still; no limit is changed."""
    return LimitChange()


def _victim(case: Case) -> Party:
    assert case.victim is not None  # `_proposal` has skipped the rung otherwise
    return case.victim


def _number(value: int | Missing, default: int) -> int:
    return default if isinstance(value, Missing) else value
