"""A container's OCI spec as the record of its limits: reads it, and changes it so that the next task has them.

A task gets the spec that is persisted_limits when it is started; Tasks.Update changes the running task only.
Source: OCI runtime-spec, config-linux.md, "Control groups".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from runtime.engines.daemon.documents import UNLIMITED_BYTES
from runtime.kernel.cpu_bandwidth import cores, period_or_default
from runtime.limits import HostFacts
from runtime.model import UNLIMITED, DeviceRate, Limits, Missing, Unlimited
from runtime.oci.resources import HIGH, NO_RATE, RATES

UNLIMITED_BY_ABSENCE: Final = (("cpu", "quota"), ("memory", "limit"), ("memory", "swap"), ("memory", "reservation"))


def persisted_limits(spec: Mapping[str, Any], facts: HostFacts, *, cgroup_v2: bool) -> Limits:
    """The limits that a task would get if it were started now; those that a spec cannot express are UNSUPPORTED."""
    resources_now = (spec.get("linux") or {}).get("resources") or {}
    cpu, memory, block = (
        resources_now.get("cpu") or {},
        resources_now.get("memory") or {},
        resources_now.get("blockIO") or {},
    )
    quota, period = _number(cpu.get("quota")), period_or_default(_number(cpu.get("period")))
    limit, both = _size(memory.get("limit")), _size(memory.get("swap"))
    pids = _number((resources_now.get("pids") or {}).get("limit"))
    high = str((resources_now.get("unified") or {}).get(HIGH, "max"))
    held_limits = Limits(
        cpus=cores(quota, period),
        cpu_period=period,
        cpu_shares=_number(cpu.get("shares")) or 1024,
        cpuset_cpus=str(cpu.get("cpus") or facts.cpus),
        cpuset_mems=str(cpu.get("mems") or facts.mems),
        memory=limit,
        memory_high=(int(high) if high.isdecimal() else UNLIMITED) if cgroup_v2 else Missing.UNSUPPORTED,
        memory_reservation=_size(memory.get("reservation")),
        swap=max(0, both - limit) if isinstance(both, int) and isinstance(limit, int) else UNLIMITED,
        pids=pids if pids > 0 else UNLIMITED,
        io_weight=_number(block.get("weight")) or Missing.UNSUPPORTED,
    )
    return held_limits.merge({name: _rates(block.get(field) or ()) for name, field in RATES.items()})


def amended(spec: Mapping[str, Any], resources: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the spec with `resources` merged in; a value that lifts a limit removes the field."""
    changed: dict[str, Any] = copy.deepcopy(dict(spec))
    resources_now = changed.setdefault("linux", {}).setdefault("resources", {})
    for part, fields in resources.items():
        target = resources_now.setdefault(part, {})
        target.update(fields)
        if part == "blockIO":
            for field in RATES.values():
                rates = [entry for entry in target.get(field) or () if entry["rate"] != NO_RATE]
                target.pop(field, None)
                if rates:
                    target[field] = rates
    for part, field in UNLIMITED_BY_ABSENCE:
        if part in resources_now and _number(resources_now[part].get(field)) <= 0:
            resources_now[part].pop(field, None)
    if (resources_now.get("unified") or {}).get(HIGH) == "max":
        del resources_now["unified"][HIGH]
    if _number((resources_now.get("pids") or {}).get("limit")) < 0:
        del resources_now["pids"]
    return changed


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int) else 0


def _size(value: Any) -> int | Unlimited:
    number = _number(value)
    return number if 0 < number < UNLIMITED_BYTES else UNLIMITED


def _rates(entries: Any) -> tuple[DeviceRate, ...]:
    return tuple(sorted(DeviceRate(f"{entry['major']}:{entry['minor']}", int(entry["rate"])) for entry in entries))
