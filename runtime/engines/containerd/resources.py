"""A container's OCI spec as the record of its limits: read, and changed so that the next task has them.

Source: OCI runtime-spec, config-linux.md, "Control groups". A task that is started gets the spec as it is then;
Tasks.Update changes the running one alone.
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


def recorded(spec: Mapping[str, Any], facts: HostFacts, *, cgroup_v2: bool) -> Limits:
    """The limits that a task gets when it is started now; what the spec cannot hold is UNSUPPORTED."""
    held = (spec.get("linux") or {}).get("resources") or {}
    cpu, memory, block = held.get("cpu") or {}, held.get("memory") or {}, held.get("blockIO") or {}
    quota, period = _number(cpu.get("quota")), period_or_default(_number(cpu.get("period")))
    limit, both = _size(memory.get("limit")), _size(memory.get("swap"))
    pids = _number((held.get("pids") or {}).get("limit"))
    high = str((held.get("unified") or {}).get(HIGH, "max"))
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
    """A copy of the spec that says `resources` too. Whatever lifts a limit takes it out, so that nothing is left."""
    found: dict[str, Any] = copy.deepcopy(dict(spec))
    held = found.setdefault("linux", {}).setdefault("resources", {})
    for part, fields in resources.items():
        target = held.setdefault(part, {})
        target.update(fields)
        if part == "blockIO":
            for field in RATES.values():
                kept = [entry for entry in target.get(field) or () if entry["rate"] != NO_RATE]
                target.pop(field, None)
                if kept:
                    target[field] = kept
    for part, field in UNLIMITED_BY_ABSENCE:
        if part in held and _number(held[part].get(field)) <= 0:
            held[part].pop(field, None)
    if (held.get("unified") or {}).get(HIGH) == "max":
        del held["unified"][HIGH]
    if _number((held.get("pids") or {}).get("limit")) < 0:
        del held["pids"]
    return found


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int) else 0


def _size(value: Any) -> int | Unlimited:
    number = _number(value)
    return number if 0 < number < UNLIMITED_BYTES else UNLIMITED


def _rates(entries: Any) -> tuple[DeviceRate, ...]:
    return tuple(sorted(DeviceRate(f"{entry['major']}:{entry['minor']}", int(entry["rate"])) for entry in entries))
