"""Whether a limit is as it was left: what the kernel holds against what was seen before, and against a record.

Two readings of the kernel's files are the same or not. A record is in another one's words: the kernel rounds, older
runtimes convert weights in another way, and all CPUs are as good as no limit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from runtime.errors import InvalidError
from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US, period_or_default
from runtime.limits import same
from runtime.limits.controllers.weight import shares_to_weight, shares_to_weight_linear
from runtime.limits.units import cpuset_numbers
from runtime.model import NETWORK_LIMITS, LimitName, Limits, Missing, Unlimited, Value

CPUSETS: Final = frozenset({LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS})
NORMAL_IO_WEIGHT: Final = 100


def comparable(record: Limits, unrecorded: Collection[LimitName]) -> dict[LimitName, Value]:
    """What of a record the kernel must hold; `unrecorded` as in `Capabilities`.

    Where a record says that nothing was asked for, the kernel may hold a default of somebody's: systemd's for tasks,
    a scheduler's for the weight of I/O, and a period that was set past the engine. Swap means nothing there without a
    limit of memory, nor does a reservation of all of it: that is what Docker is left with when one is lifted.
    """
    found: dict[LimitName, Value] = {}
    for name in LimitName:
        value = record.get(name)
        if name not in unrecorded and not isinstance(value, Missing):
            found[name] = value
    if isinstance(found.get(LimitName.PIDS), Unlimited):
        del found[LimitName.PIDS]
    if found.get(LimitName.CPU_PERIOD) == DEFAULT_PERIOD_US:
        del found[LimitName.CPU_PERIOD]
    if found.get(LimitName.IO_WEIGHT) == NORMAL_IO_WEIGHT:
        del found[LimitName.IO_WEIGHT]
    for name in NETWORK_LIMITS:
        if isinstance(found.get(name), Unlimited):
            del found[name]
    memory, reserved = record.memory, record.memory_reservation
    if not isinstance(memory, int):
        found.pop(LimitName.SWAP, None)
    if not isinstance(reserved, int) or reserved == 0 or (isinstance(memory, int) and reserved >= memory):
        found.pop(LimitName.MEMORY_RESERVATION, None)
    return found


def moved(name: LimitName, held: Limits, before: Value, above: Limits) -> bool:
    """The kernel holds another value than it did; `above` has the lists of CPUs and memory nodes of the parent."""
    value = held.get(name)
    if isinstance(value, Missing) or value == before:
        return False
    return name not in CPUSETS or not _same_list(str(value), str(before), above.get(name))


def belied(name: LimitName, held: Limits, recorded: Value, above: Limits, ncpu: int) -> bool:
    """The kernel holds something else than a record says, rounding apart, on a machine with `ncpu` CPUs."""
    value = held.get(name)
    if isinstance(value, Missing) or value == recorded:
        return False
    if name in CPUSETS:
        return not _same_list(str(value), str(recorded), above.get(name))
    if name is LimitName.CPUS:
        period = period_or_default(held.cpu_period)
        return not _same_cores(value, recorded, period, ncpu)
    if name is LimitName.CPU_SHARES:
        return not _same_shares(value, recorded)
    if isinstance(value, tuple) and isinstance(recorded, tuple):
        return set(value) != set(recorded)
    return same(name, value, recorded) is None


def _same_cores(held: Value, recorded: Value, period: int, ncpu: int) -> bool:
    """No more than a microsecond of the period apart; that is all that rounding does."""
    one, other = (cores if isinstance(cores, (int, float)) and cores < ncpu else ncpu for cores in (held, recorded))
    return abs(one - other) * period < 1.0 + 1e-6


def _same_shares(held: Value, recorded: Value) -> bool:
    """The same weight, which runtimes compute in two ways."""
    if not isinstance(held, int) or not isinstance(recorded, int):
        return False
    return shares_to_weight(held) in (shares_to_weight(recorded), shares_to_weight_linear(recorded))


def _same_list(held: str, expected: str, above: Value | Missing) -> bool:
    """The same CPUs or nodes, or as many of them as the parent has left."""
    try:
        now, wanted = cpuset_numbers(held), cpuset_numbers(expected)
        return now == wanted or (isinstance(above, str) and now == wanted & cpuset_numbers(above))
    except InvalidError:
        return held == expected
