"""A change of limits through Docker's API where it can express it, through the kernel where it cannot.

What the API does with an update, measured on 20.10:

- Zeros and unknown fields are ignored with status 200, and memory.high is unknown to it.
- NanoCpus and CpuQuota exclude each other, so a container keeps the form that it has. CpuQuota -1 lifts a quota, but
  beside NanoCpus it stays in the record and wins over every later NanoCpus at the next start: never send it there.
- Memory needs MemorySwap beside it. -1 is refused for Memory, and MemorySwap -1 is recorded but not written. The
  largest size that the kernel knows is taken, written, and read back by the kernel as "unlimited".
- Limits of block devices are ignored before API 1.55, and no version knows burst, idle class, memory.high and network.
- A MemoryReservation above Memory is recorded, and then the container cannot be started any more.

What the API cannot do is written to the kernel, with the nearest harmless value in Docker's record, and the outcome
says so. In any case the kernel is the judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runtime.engines.daemon.documents import UNLIMITED_BYTES
from runtime.engines.daemon.settle import revert
from runtime.engines.docker import translate
from runtime.errors import InvalidError, RefusedError
from runtime.kernel import cpu_bandwidth
from runtime.kernel.cpu_bandwidth import exact_quota_us, period_or_default, quota_us
from runtime.limits.controllers.io import RATES
from runtime.model import LimitChange, LimitName, Missing, Unlimited
from runtime.oci.resources import ResourceContext


def body(change: LimitChange, host: Mapping[str, Any], baseline: ResourceContext) -> dict[str, Any]:
    """The document for /update; empty when the API has nothing to do with this change. `host` is Docker's HostConfig.

    Raises `InvalidError` for what contradicts itself, `RefusedError` for what Docker would take and choke on later.
    """
    found: dict[str, Any] = {}
    if change.cpus is not None or change.cpu_period is not None:
        found.update(_cpus(change, host, baseline))
    if change.cpu_shares is not None:
        found["CpuShares"] = change.cpu_shares
    for field, value, everything in (
        ("CpusetCpus", change.cpuset_cpus, baseline.facts.cpus),
        ("CpusetMems", change.cpuset_mems, baseline.facts.mems),
    ):
        if value is not None:
            found[field] = everything if isinstance(value, Unlimited) else value
    if change.pids is not None:
        found["PidsLimit"] = -1 if isinstance(change.pids, Unlimited) else change.pids
    if change.io_weight is not None and not baseline.cgroup_v2 and translate.fits_blkio_weight(change.io_weight):
        found["BlkioWeight"] = change.io_weight
    if change.memory is not None or change.swap is not None:
        found.update(_memory(change, baseline))
    found.update(_reservation(change, host, baseline, int(found.get("Memory", 0))))
    return found


def undone(
    names: Iterable[LimitName], then: Mapping[str, Any], now: Mapping[str, Any], baseline: ResourceContext
) -> dict[str, Any]:
    """The document for /update that makes these limits of Docker's record `now` what they were in the record `then`."""
    before, after = (translate.record(host, baseline.facts.ncpu) for host in (then, now))
    return body(revert(names, before, after), now, replace(baseline, before=after))


def is_irrevocable(sent: Mapping[str, Any], host: Mapping[str, Any], change: LimitChange) -> bool:
    """Whether a part of this change could fail after Docker has recorded what it cannot forget again.

    NanoCpus that were not set cannot be unset.
    """
    return "NanoCpus" in sent and not _number(host, "NanoCpus") and len(list(change.items())) > 1


def _number(host: Mapping[str, Any], name: str) -> int:
    return int(host.get(name) or 0)


def _cpus(change: LimitChange, host: Mapping[str, Any], baseline: ResourceContext) -> dict[str, Any]:
    """Bandwidth. A period needs the form with quota and period, which Docker refuses beside NanoCpus."""
    nano, quota = _number(host, "NanoCpus"), _number(host, "CpuQuota")
    period = period_or_default(change.cpu_period or _number(host, "CpuPeriod"))
    if change.cpus is None:
        cores = cpu_bandwidth.cores(quota, period_or_default(_number(host, "CpuPeriod")))
        kept = {} if isinstance(cores, Unlimited) else {"CpuQuota": exact_quota_us(cores, period)}
        return {} if nano else {"CpuPeriod": period, **kept}
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
    """The reservation, never above the memory limit that Docker will have on record."""
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
    if not reserves:  # it follows the memory limit, at which it means nothing
        return {"MemoryReservation": bound}
    raise RefusedError(
        "set memory",
        detail=f"the memory reservation is {recorded} bytes, and Docker does not start a container with less memory",
        hint="Lower the reservation in the same change. Nothing was changed",
    )


def unrecorded(daemon: Mapping[str, Any]) -> frozenset[LimitName]:
    """What is changed past Docker's record. A weight on cgroup v2 is recorded by others, in the numbers of v1."""
    v2 = str(daemon.get("CgroupVersion", "1")) == "2"
    return frozenset({*RATES, LimitName.IO_WEIGHT}) if v2 else frozenset(RATES)
