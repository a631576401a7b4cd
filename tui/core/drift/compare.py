"""Comparison of a limit that the kernel holds with an earlier value, and with an engine's record.

Two values that were read from the kernel are compared as they are. A record may differ from the kernel's value without
a change: the kernel rounds, older runtimes convert weights by another formula, and a quota of all CPUs is no limit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from runtime.errors import InvalidError
from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US, period_or_default
from runtime.kernel.cpu_weight import shares_to_weight, shares_to_weight_linear
from runtime.limits import same
from runtime.limits.units import cpuset_numbers
from runtime.model import NETWORK_LIMITS, LimitName, Limits, Missing, Unlimited, Value

CPUSETS: Final = frozenset({LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS})
DEFAULT_IO_WEIGHT: Final = 100


def comparable(record: Limits, unrecorded: Collection[LimitName]) -> dict[LimitName, Value]:
    """The values of a record that the kernel must hold; `unrecorded` as in `Capabilities`.

    Where a record has the default, the kernel may hold another one: systemd's for tasks, a scheduler's for the I/O
    weight, a period that was set without the engine. Swap without a memory limit means nothing, nor does a reservation
    of the whole memory limit: Docker keeps that one when a reservation is lifted.
    """
    expected: dict[LimitName, Value] = {}
    for name in LimitName:
        value = record.get(name)
        if name not in unrecorded and not isinstance(value, Missing):
            expected[name] = value
    if isinstance(expected.get(LimitName.PIDS), Unlimited):
        del expected[LimitName.PIDS]
    if expected.get(LimitName.CPU_PERIOD) == DEFAULT_PERIOD_US:
        del expected[LimitName.CPU_PERIOD]
    if expected.get(LimitName.IO_WEIGHT) == DEFAULT_IO_WEIGHT:
        del expected[LimitName.IO_WEIGHT]
    for name in NETWORK_LIMITS:
        if isinstance(expected.get(name), Unlimited):
            del expected[name]
    memory, reserved = record.memory, record.memory_reservation
    if not isinstance(memory, int):
        expected.pop(LimitName.SWAP, None)
    if not isinstance(reserved, int) or reserved == 0 or (isinstance(memory, int) and reserved >= memory):
        expected.pop(LimitName.MEMORY_RESERVATION, None)
    return expected


def has_changed(name: LimitName, held: Limits, before: Value, above: Limits) -> bool:
    """The kernel's value is not `before`; `above` has the parent's CPUs and memory nodes."""
    value = held.get(name)
    if isinstance(value, Missing) or value == before:
        return False
    return name not in CPUSETS or not _same_list(str(value), str(before), above.get(name))


def differs_from_record(name: LimitName, held: Limits, recorded: Value, above: Limits, ncpu: int) -> bool:
    """The kernel's value is not the recorded one, except for rounding, on a machine with `ncpu` CPUs."""
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
    """The quotas differ by less than 1 us per period, which is the most that rounding changes."""
    held_cores, recorded_cores = (
        cores if isinstance(cores, (int, float)) and cores < ncpu else ncpu for cores in (held, recorded)
    )
    return abs(held_cores - recorded_cores) * period < 1.0 + 1e-6


def _same_shares(held: Value, recorded: Value) -> bool:
    """The same weight by one of the two formulas that runtimes use."""
    if not isinstance(held, int) or not isinstance(recorded, int):
        return False
    return shares_to_weight(held) in (shares_to_weight(recorded), shares_to_weight_linear(recorded))


def _same_list(held: str, expected: str, above: Value | Missing) -> bool:
    """The same CPUs or nodes, or those of them that the parent has."""
    try:
        now, wanted = cpuset_numbers(held), cpuset_numbers(expected)
        return now == wanted or (isinstance(above, str) and now == wanted & cpuset_numbers(above))
    except InvalidError:
        return held == expected
