"""Findings about a change of I/O and network limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.kernel import block
from runtime.limits.review.facts import HostFacts, RecentUse
from runtime.limits.review.finding import Finding, Severity
from runtime.limits.units import format_rate, human_bytes
from runtime.model import LIMITS, DeviceRate, LimitChange, LimitName, LimitUnit, Unlimited

MIN_BYTES_PER_S: Final = 4096
"""One page a second: below it a process waits for minutes and cannot be killed meanwhile."""
LOW_BYTES_PER_S: Final = 1024 * 1024
LOW_IOPS: Final = 20
MIN_BITS_PER_S: Final = 8_000
LOW_BITS_PER_S: Final = 256_000
_WHAT: Final = {
    LimitName.IO_READ_BPS: "reads",
    LimitName.IO_WRITE_BPS: "writes",
    LimitName.IO_READ_IOPS: "reads",
    LimitName.IO_WRITE_IOPS: "writes",
}


def findings(change: LimitChange, host: HostFacts, use: RecentUse) -> Iterator[Finding]:
    """For rates by device, weight, and the network."""
    for name, value in change.items():
        if name in _WHAT and isinstance(value, tuple):
            for each in value:
                yield from _device(name, each, host)
            writes = name in (LimitName.IO_WRITE_BPS, LimitName.IO_WRITE_IOPS)
            if writes and not host.counts_written_back and any(isinstance(each.rate, int) for each in value):
                text = "cgroup v1 holds back direct and synchronous writes only, not what goes through the page cache"
                yield Finding(name, Severity.WARNING, text)
    if change.io_weight is not None:
        yield from _weight(change.io_weight, host)
    for name, rate in ((LimitName.NET_EGRESS, change.net_egress), (LimitName.NET_INGRESS, change.net_ingress)):
        if rate is not None:
            yield from _network(name, rate, use)


def _device(name: LimitName, each: DeviceRate, host: HostFacts) -> Iterator[Finding]:
    shown, what = block.name(each.device), _WHAT[name]
    if isinstance(each.rate, Unlimited):
        yield Finding(name, Severity.INFO, f"{shown}: {what} as fast as the disk can")
        return
    disk = host.disks.partitions.get(each.device)
    if disk is not None:
        text = f"{each.device} is a partition of {disk}, and the kernel limits whole disks"
        yield Finding(name, Severity.REFUSE, text)
        return
    if host.disks.names and each.device not in host.disks.names:
        there = ", ".join(host.disks.names.values())
        yield Finding(name, Severity.REFUSE, f"this machine has no block device {shown} (it has {there})")
        return
    operations = LIMITS[name].unit is LimitUnit.OPERATIONS_PER_SECOND
    rate = f"{each.rate} a second" if operations else f"{human_bytes(each.rate)} a second"
    if not operations and each.rate < MIN_BYTES_PER_S:
        text = f"{shown}: {what} {rate}, and less than {human_bytes(MIN_BYTES_PER_S)} a second would hang it"
        yield Finding(name, Severity.REFUSE, text)
    elif each.rate < (LOW_IOPS if operations else LOW_BYTES_PER_S):
        text = f"{shown}: {what} at most {rate}; a process that waits for the disk cannot be killed meanwhile"
        yield Finding(name, Severity.WARNING, text)
    else:
        yield Finding(name, Severity.INFO, f"{shown}: {what} at most {rate}")


def _weight(weight: int, host: HostFacts) -> Iterator[Finding]:
    name = LimitName.IO_WEIGHT
    if not host.weighs_io:
        text = f"{weight}: no disk of this machine heeds weights (that takes the scheduler bfq, or io.cost.qos)"
        yield Finding(name, Severity.WARNING, text)
    text = f"{weight}: {weight / 100:.3g} times the normal weight, and only while others want the same disk"
    yield Finding(name, Severity.INFO, text)


def _network(name: LimitName, rate: int | Unlimited, use: RecentUse) -> Iterator[Finding]:
    sends = name is LimitName.NET_EGRESS
    what = "sends" if sends else "receives"
    if isinstance(rate, Unlimited):
        yield Finding(name, Severity.INFO, f"no network limit: it {what} as fast as the network can")
        return
    shown = f"{format_rate(rate)}: it {what} at most {human_bytes(rate // 8)} a second"
    used = use.sent if sends else use.received
    lately = ""
    if used is not None:
        lately = f"it {'sent' if sends else 'received'} {human_bytes(round(used / 8))} a second in the last minute"
    if rate < MIN_BITS_PER_S:
        yield Finding(name, Severity.REFUSE, f"{shown}; less than {format_rate(MIN_BITS_PER_S)} would cut it off")
    elif rate < LOW_BITS_PER_S:
        yield Finding(name, Severity.WARNING, f"{shown}, so connections may time out")
    elif used is not None and used > rate:
        yield Finding(name, Severity.WARNING, f"{shown}; {lately}, so it will be slowed down")
    else:
        yield Finding(name, Severity.INFO, "; ".join(filter(None, (shown, lately))))
    if use.sharing:
        text = f"{', '.join(use.sharing)} use its network too: this is what all of them have together"
        yield Finding(name, Severity.WARNING, text)
