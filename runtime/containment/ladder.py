"""The ladder: what can be done for a victim, the mildest first, for each resource. Pure; never a kill.

Weights come before caps: a tight cap can hold a kernel lock and stall others, and leaves CPU unused, where a weight and
the idle class keep the machine busy. A rung that cannot be had here is skipped with the reason. A rung that repeats is
climbed in small steps down to a floor before the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from runtime.containment import proposals
from runtime.containment.proposals import unavailable
from runtime.containment.rung import Case, Cost, Proposal, Rung, RungId, SkippedRung, TargetKind, Whom
from runtime.model import LimitChange, LimitName, Resource


@dataclass(frozen=True, slots=True)
class NextRung:
    """The rung to climb next with its change, None at the end of the ladder; and those that were skipped for it."""

    rung: Rung | None
    change: LimitChange
    skipped: tuple[SkippedRung, ...] = ()


def next_rung(case: Case, taken: Collection[RungId] = (), failed: Mapping[RungId, str] | None = None) -> NextRung:
    """The mildest rung above those that were taken. `failed` are rungs that were tried in vain, with the reason."""
    ladder = LADDERS[case.resource]
    last = max((number for number, rung in enumerate(ladder) if rung.id in taken), default=-1)
    skipped: list[SkippedRung] = []
    for number, rung in enumerate(ladder):
        if number < last or (number == last and not rung.repeats):
            continue
        proposal = (failed or {}).get(rung.id) or _proposal(rung, case)
        if isinstance(proposal, LimitChange):
            return NextRung(rung, proposal, tuple(skipped))
        skipped.append(SkippedRung(rung.id, proposal))
    return NextRung(None, LimitChange(), tuple(skipped))


def _proposal(rung: Rung, case: Case) -> Proposal:
    party = case.victim if rung.whom is Whom.VICTIM else case.suspect
    if party is None:
        return "the victim is no container"
    if party.untouchable:
        return party.untouchable
    if rung.freezes and party.unfreezable:
        return party.unfreezable
    if party.kind is TargetKind.PROCESS and rung.id not in PROCESS_RUNGS:
        return "a process of the host has no cgroup of its own to be limited by: it can get nice or the idle policy"
    if rung.among_siblings and not case.siblings:
        return "it counts among cgroups of the same parent only, and victim and suspect have different ones"
    reasons = [unavailable(name, party) for name in rung.limits]
    return reasons[0] if reasons and all(reasons) else rung.propose(case)


_FREEZE: Final = Rung(id=RungId.FREEZE, whom=Whom.SUSPECT, cost=Cost.STANDS_STILL, limits=(), propose=proposals.freeze)
_TASKS: Final = Rung(
    id=RungId.TASKS, whom=Whom.SUSPECT, cost=Cost.NO_NEW_TASKS, limits=(LimitName.PIDS,), propose=proposals.tasks
)
_CPU_WEIGHT: Final = Rung(
    id=RungId.CPU_WEIGHT,
    whom=Whom.SUSPECT,
    cost=Cost.LESS_WHEN_CONTENDED,
    limits=(LimitName.CPU_SHARES,),
    propose=proposals.cpu_weight,
    among_siblings=True,
)
_CPU_IDLE: Final = Rung(
    id=RungId.CPU_IDLE,
    whom=Whom.SUSPECT,
    cost=Cost.ONLY_LEFTOVERS,
    limits=(LimitName.CPU_IDLE,),
    propose=proposals.cpu_idle,
    among_siblings=True,
)
_CPU_QUOTA: Final = Rung(
    id=RungId.CPU_QUOTA,
    whom=Whom.SUSPECT,
    cost=Cost.UNUSED_CPU,
    limits=(LimitName.CPUS,),
    propose=proposals.cpu_quota,
    repeats=True,
)
_DISK_RATE: Final = Rung(
    id=RungId.DISK_RATE,
    whom=Whom.SUSPECT,
    cost=Cost.SLOWER_DISK,
    limits=(LimitName.IO_READ_BPS, LimitName.IO_WRITE_BPS, LimitName.IO_READ_IOPS, LimitName.IO_WRITE_IOPS),
    propose=proposals.disk_rate,
    repeats=True,
)
_CPU: Final = (
    Rung(
        id=RungId.PROTECT_CPU,
        whom=Whom.VICTIM,
        cost=Cost.OTHERS_LESS_CPU,
        limits=(LimitName.CPU_SHARES,),
        propose=proposals.protect_cpu,
        among_siblings=True,
    ),
    _CPU_WEIGHT,
    _CPU_IDLE,
    _CPU_QUOTA,
    _FREEZE,
)
_MEMORY: Final = (
    Rung(
        id=RungId.PROTECT_MEMORY,
        whom=Whom.VICTIM,
        cost=Cost.OTHERS_LESS_CACHE,
        limits=(LimitName.MEMORY_RESERVATION,),
        propose=proposals.protect_memory,
    ),
    Rung(
        id=RungId.MEMORY_SOFT_LIMIT,
        whom=Whom.SUSPECT,
        cost=Cost.RECLAIMED_FIRST,
        limits=(LimitName.MEMORY_RESERVATION,),
        propose=proposals.memory_soft_limit,
    ),
    Rung(
        id=RungId.MEMORY_HIGH,
        whom=Whom.SUSPECT,
        cost=Cost.SLOWED_BY_RECLAIM,
        limits=(LimitName.MEMORY_HIGH,),
        propose=proposals.memory_high,
        repeats=True,
    ),
    Rung(
        id=RungId.MEMORY_LIMIT,
        whom=Whom.SUSPECT,
        cost=Cost.KILLED_IF_IT_GROWS,
        limits=(LimitName.MEMORY,),
        propose=proposals.memory_limit,
        repeats=True,
    ),
    _FREEZE,
)
_IO: Final = (
    Rung(
        id=RungId.PROTECT_IO,
        whom=Whom.VICTIM,
        cost=Cost.OTHERS_LATER_DISK,
        limits=(LimitName.IO_WEIGHT,),
        propose=proposals.protect_io,
        among_siblings=True,
    ),
    Rung(
        id=RungId.IO_WEIGHT,
        whom=Whom.SUSPECT,
        cost=Cost.LATER_DISK,
        limits=(LimitName.IO_WEIGHT,),
        propose=proposals.io_weight,
        among_siblings=True,
    ),
    _DISK_RATE,
    _FREEZE,
)
_NETWORK: Final = (
    Rung(
        id=RungId.NETWORK_RATE,
        whom=Whom.SUSPECT,
        cost=Cost.SLOWER_NETWORK,
        limits=(LimitName.NET_EGRESS, LimitName.NET_INGRESS),
        propose=proposals.network_rate,
        repeats=True,
    ),
    _FREEZE,
)

LADDERS: Final[Mapping[Resource, tuple[Rung, ...]]] = {
    Resource.CPU: _CPU,
    Resource.MEMORY: _MEMORY,
    Resource.IO: _IO,
    Resource.NETWORK: _NETWORK,
    Resource.TASKS: (_TASKS, _CPU_WEIGHT, _CPU_IDLE, _CPU_QUOTA, _FREEZE),
}
"""By resource, the mildest rung first."""

PROCESS_RUNGS: Final = frozenset({RungId.PROTECT_CPU, RungId.CPU_WEIGHT, RungId.CPU_IDLE})
"""Those that a process without a cgroup of its own can have: as nice and as the idle policy."""
