"""A change of limits as the resources of an OCI runtime spec, which Podman's and containerd's APIs take.

Source: OCI runtime-spec, config-linux.md, "Control groups". Swap is counted there as memory and swap together, -1 is
unlimited, and what is left out stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from runtime.errors import InvalidError
from runtime.kernel.cpu_bandwidth import period_or_default, quota_us
from runtime.limits.review.facts import HostFacts
from runtime.model import LimitChange, LimitName, Limits, Missing, Unlimited

HIGH: Final = "memory.high"
NO_RATE: Final = 2**64 - 1
"""The kernel's own number for "no limit" of a block device, which both cgroup versions take."""
KERNEL_ONLY: Final = frozenset(
    {LimitName.CPU_BURST, LimitName.CPU_IDLE, LimitName.IO_WEIGHT, LimitName.NET_EGRESS, LimitName.NET_INGRESS}
)
"""What no OCI runtime can change on a running container, or none in the same way."""
RATES: Final[Mapping[LimitName, str]] = {
    LimitName.IO_READ_BPS: "throttleReadBpsDevice",
    LimitName.IO_WRITE_BPS: "throttleWriteBpsDevice",
    LimitName.IO_READ_IOPS: "throttleReadIOPSDevice",
    LimitName.IO_WRITE_IOPS: "throttleWriteIOPSDevice",
}


@dataclass(frozen=True, slots=True)
class ResourceContext:
    """What a change is translated with.

    Attributes:
        before: the kernel's limits, or the engine's record where the kernel cannot be read.
        facts: the engine's machine.
        cgroup_v2: whether its controllers are those of cgroup v2.
    """

    before: Limits
    facts: HostFacts
    cgroup_v2: bool


def resources(change: LimitChange, held: ResourceContext) -> dict[str, Any]:
    """The document; empty when the API has nothing to do with this change. Raises `InvalidError`."""
    found = {
        "cpu": _cpu(change, held),
        "memory": _memory(change, held),
        "pids": {} if change.pids is None else {"limit": _number(change.pids)},
        "blockIO": _block_io(change, held),
        "unified": _unified(change, held),
    }
    return {name: part for name, part in found.items() if part}


def initial_resources(change: LimitChange, held: ResourceContext) -> dict[str, Any]:
    """The resources of a new container, where a missing entry means unlimited. Raises `InvalidError`."""
    if isinstance(change.swap, int) and not isinstance(change.memory, int):
        raise InvalidError("limit swap alone", detail="it is counted on top of memory", hint="Set memory as well")
    limited = LimitChange.of({name: value for name, value in change.items() if not isinstance(value, Unlimited)})
    return resources(limited, replace(held, before=Limits()))


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with everything that `new` says; parts of parts are merged too, lists are replaced."""
    found = dict(old)
    for name, value in new.items():
        before = found.get(name)
        found[name] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return found


def _number(value: int | Unlimited) -> int:
    return -1 if isinstance(value, Unlimited) else value


def _cpu(change: LimitChange, held: ResourceContext) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if change.cpus is not None or change.cpu_period is not None:
        cores = change.cpus if change.cpus is not None else held.before.cpus
        period = period_or_default(change.cpu_period if change.cpu_period is not None else held.before.cpu_period)
        quota = -1 if isinstance(cores, (Unlimited, Missing)) else quota_us(cores, period)
        found.update(quota=quota, period=period)
    if change.cpu_shares is not None:
        found["shares"] = change.cpu_shares
    for name, value, everything in (
        ("cpus", change.cpuset_cpus, held.facts.cpus),
        ("mems", change.cpuset_mems, held.facts.mems),
    ):
        if value is not None:
            found[name] = everything if isinstance(value, Unlimited) else value
    return found


def _memory(change: LimitChange, held: ResourceContext) -> dict[str, Any]:
    found: dict[str, Any] = {}
    memory = change.memory if change.memory is not None else held.before.memory
    swap = change.swap if change.swap is not None else held.before.swap
    if change.memory is not None or change.swap is not None:
        if isinstance(memory, int):
            found["limit"] = memory
            if not isinstance(swap, Missing):
                found["swap"] = memory + swap if isinstance(swap, int) else -1
        elif isinstance(change.swap, int) and not held.cgroup_v2:
            raise InvalidError(
                "limit swap alone",
                detail="without a memory limit the kernel bounds no swap",
                hint="Set memory as well",
            )
        elif change.memory is not None or isinstance(change.swap, Unlimited):
            found.update(limit=-1, swap=-1)
    if isinstance(change.memory_reservation, int):
        found["reservation"] = change.memory_reservation
    elif change.memory_reservation is not None:
        # On v2 the limit is memory.low, where the largest number would protect everything: 0 means none in the
        # record, which runtimes do not write, so the kernel's file is written beside it.
        found["reservation"] = 0 if held.cgroup_v2 else -1
    return found


def _block_io(change: LimitChange, held: ResourceContext) -> dict[str, Any]:
    """Rates by device. A list replaces the one before it, so devices that stay as they are come along."""
    found: dict[str, Any] = {}
    for name, field in RATES.items():
        wanted = change.get(name)
        if not isinstance(wanted, tuple):
            continue
        now = held.before.get(name)
        rates = {entry.device: entry.rate for entry in (now if isinstance(now, tuple) else ())}
        rates.update({entry.device: entry.rate for entry in wanted})
        found[field] = [_throttle(device, rate) for device, rate in sorted(rates.items())]
    return found


def _throttle(device: str, rate: int | Unlimited) -> dict[str, int]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "rate": NO_RATE if isinstance(rate, Unlimited) else rate}


def _unified(change: LimitChange, held: ResourceContext) -> dict[str, str]:
    if change.memory_high is None or not held.cgroup_v2:
        return {}
    return {HIGH: "max" if isinstance(change.memory_high, Unlimited) else str(change.memory_high)}
