"""A change of limits through Docker's API as far as it has the limits; the others are written to the kernel.

Behaviour of an update, measured on 20.10:

- Zeros and unknown fields are ignored with status 200, and memory.high is unknown to it.
- NanoCpus and CpuQuota exclude each other, so a container keeps the form that it has. CpuQuota -1 lifts a quota, but
  beside NanoCpus it stays in the record and overrides every later NanoCpus at the next start: it is not sent then.
- Memory needs MemorySwap with it. -1 is refused for Memory, and MemorySwap -1 is recorded but not written. The kernel's
  largest size is accepted, written, and reads back as unlimited.
- Limits of block devices are ignored before API 1.55. From then on each list replaces the recorded one, and an empty
  list lifts them. No version has burst, idle class, memory.high and network.
- A MemoryReservation above Memory is recorded, and then the container cannot be started any more.

What the API cannot express is written to the kernel, with the nearest harmless value in Docker's record, and the
outcome says so. The outcome is always what the kernel holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runtime.engines.daemon.documents import UNLIMITED_BYTES
from runtime.engines.daemon.settle import revert
from runtime.engines.docker import translate
from runtime.errors import InvalidError, RefusedError
from runtime.kernel import block, cpu_bandwidth
from runtime.kernel.cpu_bandwidth import exact_quota_us, period_or_default, quota_us
from runtime.limits.controllers.io import RATES
from runtime.model import LimitChange, LimitName, Missing, Unlimited
from runtime.oci.resources import ResourceContext


def body(
    change: LimitChange, host: Mapping[str, Any], baseline: ResourceContext, *, device_limits: bool = False
) -> dict[str, Any]:
    """The document for /update; empty when the API has none of the limits. `host` is Docker's HostConfig.

    With `device_limits` (API 1.55) it has the rates of block devices and, on cgroup v2, the I/O weight. May look up
    names of devices. Blocking.

    Raises `InvalidError` for contradictory limits, `RefusedError` for ones that Docker accepts but cannot start with.
    """
    fields: dict[str, Any] = {}
    if change.cpus is not None or change.cpu_period is not None:
        fields.update(_cpus(change, host, baseline))
    if change.cpu_shares is not None:
        fields["CpuShares"] = change.cpu_shares
    for field, value, everything in (
        ("CpusetCpus", change.cpuset_cpus, baseline.facts.cpus),
        ("CpusetMems", change.cpuset_mems, baseline.facts.mems),
    ):
        if value is not None:
            fields[field] = everything if isinstance(value, Unlimited) else value
    if change.pids is not None:
        fields["PidsLimit"] = -1 if isinstance(change.pids, Unlimited) else change.pids
    if change.io_weight is not None:
        fields.update(_io_weight(change.io_weight, baseline, device_limits=device_limits))
    if device_limits:
        fields.update(_device_rates(change, host))
    if change.memory is not None or change.swap is not None:
        fields.update(_memory(change, baseline))
    fields.update(_reservation(change, host, baseline, int(fields.get("Memory", 0))))
    return fields


def _io_weight(weight: int, baseline: ResourceContext, *, device_limits: bool) -> dict[str, Any]:
    """On cgroup v2 the weight of Docker's scale that its runtime converts to the nearest one: 10..1000 to 1..10000."""
    if baseline.cgroup_v2:
        return {"BlkioWeight": 10 + round((weight - 1) * 990 / 9999)} if device_limits else {}
    return {"BlkioWeight": weight} if translate.fits_blkio_weight(weight) else {}


def _device_rates(change: LimitChange, host: Mapping[str, Any]) -> dict[str, Any]:
    """Whole lists, since Docker replaces each: what is recorded with the change in it. An empty list lifts them all."""
    fields: dict[str, Any] = {}
    for name, field in translate.DEVICE_RATES.items():
        asked = getattr(change, name.value)
        if asked is None:
            continue
        held = translate.device_rates(host, field)
        rates = {each.device: each.rate for each in (*(held if isinstance(held, tuple) else ()), *asked)}
        limited = ((device, rate) for device, rate in sorted(rates.items()) if isinstance(rate, int))
        fields[field] = [{"Path": block.node(device), "Rate": rate} for device, rate in limited]
    return fields


def undone(
    names: Iterable[LimitName],
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    baseline: ResourceContext,
    *,
    device_limits: bool = False,
) -> dict[str, Any]:
    """The document for /update that changes these limits from Docker's record `now` back to the record `then`."""
    before, after = (translate.record(host, baseline.facts.ncpu) for host in (then, now))
    back = revert(names, before, after)
    return body(back, now, replace(baseline, before=after), device_limits=device_limits)


def is_irrevocable(sent: Mapping[str, Any], host: Mapping[str, Any], change: LimitChange) -> bool:
    """Whether a part of this change could fail after Docker has recorded what cannot be reverted.

    NanoCpus cannot be unset.
    """
    return "NanoCpus" in sent and not _number(host, "NanoCpus") and len(list(change.items())) > 1


def _number(host: Mapping[str, Any], name: str) -> int:
    return int(host.get(name) or 0)


def _cpus(change: LimitChange, host: Mapping[str, Any], baseline: ResourceContext) -> dict[str, Any]:
    """The fields for CPU bandwidth. A period needs the form with quota and period, which NanoCpus exclude."""
    nano, quota = _number(host, "NanoCpus"), _number(host, "CpuQuota")
    period = period_or_default(change.cpu_period or _number(host, "CpuPeriod"))
    if change.cpus is None:
        cores = cpu_bandwidth.cores(quota, period_or_default(_number(host, "CpuPeriod")))
        quota_field = {} if isinstance(cores, Unlimited) else {"CpuQuota": exact_quota_us(cores, period)}
        return {} if nano else {"CpuPeriod": period, **quota_field}
    if isinstance(change.cpus, Unlimited):
        if nano:
            return {"NanoCpus": baseline.facts.ncpu * 1_000_000_000}
        return {"CpuQuota": -1, **({"CpuPeriod": period} if change.cpu_period else {})}
    if (quota or change.cpu_period) and not nano:
        return {"CpuQuota": quota_us(change.cpus, period), "CpuPeriod": period}
    return {"NanoCpus": round(change.cpus * 1e9)}


def _memory(change: LimitChange, baseline: ResourceContext) -> dict[str, Any]:
    memory = change.memory if change.memory is not None else baseline.before.memory
    swap = change.swap if change.swap is not None else baseline.before.swap
    if isinstance(memory, int):
        if isinstance(swap, Missing):
            return {"Memory": memory}
        return {"Memory": memory, "MemorySwap": memory + swap if isinstance(swap, int) else -1}
    if isinstance(change.swap, int) and not baseline.cgroup_v2:
        raise InvalidError(
            "limit swap alone", detail="without a memory limit the kernel bounds no swap", hint="Set memory as well"
        )
    if change.memory is None:
        return {}
    return {"Memory": UNLIMITED_BYTES, "MemorySwap": -1 if baseline.cgroup_v2 else UNLIMITED_BYTES}


def _reservation(
    change: LimitChange, host: Mapping[str, Any], baseline: ResourceContext, memory: int
) -> dict[str, Any]:
    """The field for the reservation, never above the memory limit that Docker will record."""
    bound = memory or _number(host, "Memory") or UNLIMITED_BYTES
    recorded = _number(host, "MemoryReservation")
    if isinstance(change.memory_reservation, int):
        return {"MemoryReservation": change.memory_reservation}
    if change.memory_reservation is not None:
        return {"MemoryReservation": bound}
    lifted = recorded > 0 and isinstance(baseline.before.memory_reservation, Unlimited)
    reserves = not lifted and recorded < (_number(host, "Memory") or UNLIMITED_BYTES)
    if recorded <= bound and not (lifted and memory):
        return {}
    if not reserves:  # set to the memory limit, where it has no effect
        return {"MemoryReservation": bound}
    raise RefusedError(
        "set memory",
        detail=f"the memory reservation is {recorded} bytes, and Docker does not start a container with less memory",
        hint="Lower the reservation in the same change. Nothing was changed",
    )


def unrecorded(daemon: Mapping[str, Any], *, device_limits: bool = False) -> frozenset[LimitName]:
    """Limits that are changed without Docker's record. An I/O weight on cgroup v2 is recorded with the scale of v1."""
    v2 = str(daemon.get("CgroupVersion", "1")) == "2"
    return frozenset(() if device_limits else RATES) | (frozenset({LimitName.IO_WEIGHT}) if v2 else frozenset())
