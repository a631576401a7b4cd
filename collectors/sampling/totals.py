"""The usage of a group whose containers share no cgroup of their own: the sum of its members. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from collectors.sampling.frame import NOTHING, IoRates, NetRates, Usage
from collectors.sampling.metrics import METRICS, Metric, MetricValue
from runtime.model import UNLIMITED, Missing, Ref, Unlimited

# Fields of `Usage` that hold one number; those of devices, interfaces and PSI are put together below.
_SINGLE = frozenset(Usage._fields) - {
    "at_ns",
    "io",
    "io_devices",
    "io_stacked",
    "net",
    "net_interfaces",
    "net_internal",
    "net_shared",
    "pressure",
    "extra",
}


def total(usages: Mapping[Ref, Usage], live: Sequence[Ref], networks: Mapping[Ref, Hashable]) -> Usage | None:
    """The sum over the live members; None when none of them was measured.

    Which metrics are summed is said in the registry. A value that one member lacks is missing in the sum, with the
    reason of that member. Limits are summed to what the members can use at most; the sum is unlimited when one of them
    is. `networks` has the network namespace of each: one that several share is counted once.
    """
    found = [usages.get(ref) for ref in live]
    measured = [usage for usage in found if usage is not None]
    if not measured:
        return None
    unmeasured = Missing.NOT_SAMPLED if len(measured) < len(found) else None

    def of(metric: Metric[Usage]) -> MetricValue:
        if not metric.summable:
            return Missing.UNSUPPORTED
        return unmeasured or _sum([metric.extract(usage) for usage in measured])

    fields: dict[str, Any] = {id: of(metric) for id, metric in METRICS.items() if id in _SINGLE}
    extra: dict[str, Any] = {id: of(metric) for id, metric in METRICS.items() if metric.read is not None}
    net, shared = network(usages, live, networks)
    return Usage(
        at_ns=max(usage.at_ns for usage in measured),
        **fields,
        io=unmeasured or _io([usage.io for usage in measured]),
        io_devices=_devices([usage.io_devices for usage in measured]),
        io_stacked=_devices([usage.io_stacked for usage in measured]),
        net=net,
        net_shared=shared,
        pressure=NOTHING,
        extra=extra,
    )


def network(
    usages: Mapping[Ref, Usage], live: Sequence[Ref], networks: Mapping[Ref, Hashable]
) -> tuple[NetRates | Missing, bool]:
    """The sum over the network namespaces of the members, and whether all of them use the host's."""
    by_space: dict[Hashable, NetRates | Missing] = {}
    shared = 0
    for ref in live:
        usage = usages.get(ref)
        if usage is None:
            return Missing.NOT_SAMPLED, False
        if usage.net_shared:
            shared += 1
            continue
        space = networks.get(ref, ref)
        if not isinstance(by_space.get(space), NetRates):
            by_space[space] = usage.net
    known = [net for net in by_space.values() if isinstance(net, NetRates)]
    if len(known) < len(by_space):
        return next(net for net in by_space.values() if isinstance(net, Missing)), False
    if not known:
        return Missing.UNSUPPORTED, bool(shared)
    fields = NetRates.__dataclass_fields__
    return NetRates(*(sum(getattr(net, name) for net in known) for name in fields)), False


def io_with_writes(whole: IoRates | Missing, usages: Mapping[Ref, Usage], live: Sequence[Ref]) -> IoRates | Missing:
    """The rates of a group's own cgroup; where that cannot tell what it wrote, the sum of what its members did."""
    if isinstance(whole, Missing) or isinstance(whole.write_bytes, float):
        return whole
    members = _io([usages[ref].io if ref in usages else Missing.NOT_SAMPLED for ref in live])
    return whole if isinstance(members, Missing) else replace(whole, write_bytes=members.write_bytes)


def _sum(values: Sequence[float | Unlimited | Missing]) -> float | Unlimited | Missing:
    total = 0.0 if any(isinstance(value, float) for value in values) else 0
    for value in values:
        if isinstance(value, Missing):
            return value
    for value in values:
        if isinstance(value, Unlimited):
            return UNLIMITED
        assert not isinstance(value, Missing)
        total += value
    return total


def _io(values: Sequence[IoRates | Missing]) -> IoRates | Missing:
    known = [value for value in values if isinstance(value, IoRates)]
    if len(known) < len(values):
        return next(value for value in values if isinstance(value, Missing))
    written = [rates.write_bytes for rates in known]
    return IoRates(
        read_bytes=sum(rates.read_bytes for rates in known),
        write_bytes=next((each for each in written if isinstance(each, Missing)), None)
        or sum(each for each in written if not isinstance(each, Missing)),
        read_ops=sum(rates.read_ops for rates in known),
        write_ops=sum(rates.write_ops for rates in known),
    )


def _devices(members: Sequence[Mapping[str, IoRates]]) -> Mapping[str, IoRates]:
    """The sum for each device over the members that use it."""
    names = {name for devices in members for name in devices}
    found = {name: _io([devices[name] for devices in members if name in devices]) for name in names}
    return {name: rates for name, rates in found.items() if isinstance(rates, IoRates)}
