"""Limits as command line flags, named as in Docker, and their text form."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from runtime.errors import InvalidError
from runtime.kernel import cpu_bandwidth
from runtime.kernel.cpu_bandwidth import period_or_default
from runtime.limits import units
from runtime.model import LIMITS, UNLIMITED, DeviceRate, LimitChange, LimitName, Limits, Missing, Unlimited, Value
from tui.present.limit_entries import ENTRY_OF

T = TypeVar("T")
LimitValue = Value | Missing


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add Docker's limit flags, and those of limits that Docker lacks."""
    group = parser.add_argument_group(
        "limits",
        'bytes as 512m or 1.5g; disks as /dev/sda or 8:0; times in microseconds or as 100ms; "unlimited" lifts a limit',
    )
    add = group.add_argument
    for name in LimitName:
        entry = ENTRY_OF[name]
        options = (*(each for each in entry.aliases if not each.startswith("--")), entry.flag)
        options += tuple(each for each in entry.aliases if each.startswith("--"))
        if not entry.metavar:
            add(*options, action=argparse.BooleanOptionalAction, help=entry.about)
        elif LIMITS[name].by_device:
            add(*options, metavar=entry.metavar, action="append", help=entry.about)
        else:
            add(*options, metavar=entry.metavar, help=entry.about)
        if name is LimitName.CPU_PERIOD:
            add("--cpu-quota", metavar="TIME", help="CPU time per period, instead of --cpus; -1 is unlimited")


@dataclass(frozen=True, slots=True)
class Asked:
    """The limits that the flags request. Docker's memory-and-swap total and its quota depend on other limits."""

    change: LimitChange
    total: int | Unlimited | None = None
    quota: int | Unlimited | None = None

    def __bool__(self) -> bool:
        return bool(self.change) or self.total is not None or self.quota is not None

    @property
    def depends(self) -> bool:
        """Whether `complete` needs the current limits."""
        return (isinstance(self.total, int) and self.change.memory is None) or (
            isinstance(self.quota, int) and self.change.cpu_period is None
        )

    def complete(self, held: Limits | None) -> LimitChange:
        """The complete change; `held` are the current limits, None for a new container.

        Raises `InvalidError` for a total that has no memory limit beside it.
        """
        change = self.change
        if self.quota is not None:
            change = change.merge(LimitChange(cpus=self._cores(held)))
        if self.total is None:
            return change
        memory = change.memory if change.memory is not None else held.memory if held is not None else None
        return change.merge(LimitChange(swap=swap_of(self.total, memory)))

    def _cores(self, held: Limits | None) -> float | Unlimited:
        if not isinstance(self.quota, int):
            return UNLIMITED
        period = self.change.cpu_period or (held.cpu_period if held is not None else None)
        return cpu_bandwidth.cores(self.quota, period_or_default(period))


def requested(args: argparse.Namespace) -> Asked:
    """The limits that the flags request. Raises `InvalidError` for what is not a number, a size, a list or a disk."""

    def parsed(text: str | None, parse: Callable[[str], T]) -> T | None:
        return None if text is None else parse(text)

    def quota(text: str) -> int | Unlimited:
        return UNLIMITED if text.strip() in ("-1", "0", "unlimited") else units.parse_microseconds(text)

    def disks(texts: list[str] | None, *, operations: bool = False) -> tuple[DeviceRate, ...] | None:
        return None if texts is None else units.parse_device_rates(" ".join(texts), operations=operations)

    if args.cpus is not None and args.cpu_quota is not None:
        raise InvalidError("--cpus and --cpu-quota say the same thing", hint="Give one of them")
    change = LimitChange(
        cpus=parsed(args.cpus, units.parse_cpus),
        cpu_period=parsed(args.cpu_period, units.parse_microseconds),
        cpu_burst=parsed(args.cpu_burst, units.parse_microseconds),
        cpu_shares=parsed(args.cpu_shares, units.parse_shares),
        cpu_idle=args.cpu_idle,
        cpuset_cpus=parsed(args.cpuset_cpus, units.parse_cpuset),
        cpuset_mems=parsed(args.cpuset_mems, units.parse_cpuset),
        memory=parsed(args.memory, units.parse_bytes),
        memory_high=parsed(args.memory_high, units.parse_bytes),
        memory_reservation=parsed(args.memory_reservation, units.parse_bytes),
        pids=parsed(args.pids_limit, units.parse_count),
        io_weight=parsed(args.blkio_weight, units.parse_weight),
        io_read_bps=disks(args.device_read_bps),
        io_write_bps=disks(args.device_write_bps),
        io_read_iops=disks(args.device_read_iops, operations=True),
        io_write_iops=disks(args.device_write_iops, operations=True),
        net_egress=parsed(args.net_egress, units.parse_rate),
        net_ingress=parsed(args.net_ingress, units.parse_rate),
    )
    return Asked(change, parsed(args.memory_swap, units.parse_bytes), parsed(args.cpu_quota, quota))


def swap_of(total: int | Unlimited, memory: int | Unlimited | Missing | None) -> int | Unlimited:
    """Swap alone, from Docker's total of memory and swap and the memory limit that it goes with."""
    if isinstance(total, Unlimited):
        return UNLIMITED
    if not isinstance(memory, int):
        raise InvalidError(
            "--memory-swap is memory and swap together, and there is no memory limit", hint="Give --memory too"
        )
    if total < memory:
        raise InvalidError(
            f"--memory-swap {total} is less than the memory limit {memory}",
            hint="It is memory and swap together: the same number means no swap",
        )
    return total - memory


def show(name: LimitName, value: LimitValue) -> str:
    """A limit as it could be typed, "-" where there is none to show."""
    if isinstance(value, Missing):
        return "-"
    return units.format_value(name, value)
