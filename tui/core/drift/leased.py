"""Limits that leases hold for a time: they are no drift, neither while they hold nor when they have been taken back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from runtime.containment.lease import Lease
from runtime.limits import same
from runtime.limits.dependencies import followers
from runtime.model import LimitName, Limits, Missing, Ref, Value


class LeasedLimits:
    """What leases have set, by container: each limit with the values that it may have meanwhile."""

    def __init__(self, leases: Iterable[Lease] = ()) -> None:
        """`leases` are those that hold now."""
        self._values: dict[Ref, dict[LimitName, list[Value]]] = {}
        for lease in leases:
            by_name = self._values.setdefault(lease.ref, {})
            for change in (lease.change, lease.before):
                for name, value in change.items():
                    by_name.setdefault(name, []).append(value)

    def refs(self) -> Collection[Ref]:
        """The containers that have a lease."""
        return self._values.keys()

    def of(self, ref: Ref) -> Mapping[LimitName, Collection[Value]]:
        """The values by limit of one container."""
        return self._values.get(ref, {})

    def excused(self, ref: Ref, held: Limits) -> frozenset[LimitName]:
        """The limits of which the kernel holds what a lease has set, or restores; and those that follow them."""
        leased = self._values.get(ref)
        if leased is None:
            return frozenset()
        names = {name for name, values in leased.items() if _is_one_of(name, held.get(name), values)}
        return frozenset(names) | (followers(leased.keys()) - leased.keys())


def _is_one_of(name: LimitName, held: Value | Missing, values: Collection[Value]) -> bool:
    return any(same(name, held, value) is not None for value in values)
