"""Which limits the kernel changes when others are changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from runtime.model import LimitName

CHANGED_WITH: Final[Mapping[LimitName, frozenset[LimitName]]] = {
    LimitName.CPU_PERIOD: frozenset({LimitName.CPUS}),
    LimitName.CPUS: frozenset({LimitName.CPU_PERIOD}),
    LimitName.CPU_BURST: frozenset({LimitName.CPUS, LimitName.CPU_PERIOD}),
    LimitName.CPU_SHARES: frozenset({LimitName.CPU_IDLE}),
    LimitName.SWAP: frozenset({LimitName.MEMORY}),
    LimitName.MEMORY_RESERVATION: frozenset({LimitName.MEMORY}),
}
"""By limit: the limits whose change may change it too."""


def followers(names: Collection[LimitName]) -> frozenset[LimitName]:
    """Limits that the kernel may change along with these."""
    return frozenset(name for name, leaders in CHANGED_WITH.items() if not leaders.isdisjoint(names)) - frozenset(names)
