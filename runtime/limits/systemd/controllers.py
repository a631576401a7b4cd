"""Enables controllers that a systemd unit lacks: systemd enables only those that a setting of the unit needs.

Source: systemd.resource-control(5), CGROUP_DELEGATION.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.errors import PytopError
from runtime.kernel import cgroupfs, files, systemd
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US
from runtime.kernel.systemd import Unit
from runtime.kernel.systemd_dbus import Manager, Property
from runtime.limits.controllers.io import RATES
from runtime.limits.review.facts import host_facts
from runtime.limits.systemd.properties import TRANSLATIONS
from runtime.limits.systemd.route import unit_at
from runtime.limits.unsupported import unsupported_limits
from runtime.model import LIMITS, NETWORK_LIMITS, UNLIMITED, LimitChange, LimitName, Limits, Missing, Value

_NEUTRAL_PROPERTIES: Final[Mapping[str, Property]] = {
    "cpu": ("CPUWeight", ("t", 100)),
    "io": ("IOWeight", ("t", 100)),
    "memory": ("MemoryAccounting", ("b", True)),
    "pids": ("TasksAccounting", ("b", True)),
}
_INITIAL: Final[Mapping[LimitName, Value]] = {
    **dict.fromkeys((LimitName.CPUS, LimitName.PIDS), UNLIMITED),
    **dict.fromkeys((LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.SWAP), UNLIMITED),
    **dict.fromkeys(RATES, ()),
    LimitName.CPU_PERIOD: DEFAULT_PERIOD_US,
    LimitName.CPU_BURST: 0,
    LimitName.CPU_SHARES: 1024,
    LimitName.CPU_IDLE: False,
    LimitName.MEMORY_RESERVATION: 0,
    LimitName.IO_WEIGHT: 100,
}
"""The limits of a cgroup whose controller was just enabled; for cpuset all CPUs and nodes."""


def predicted_limits(cgroup: Cgroup, change: LimitChange, before: Limits) -> Limits:
    """The limits after `with_controllers`, so that a harmful change can be refused before that call."""
    unit, missing = _missing(cgroup, change)
    if unit is None:
        return before
    facts, never = host_facts(), unsupported_limits(cgroupfs.detect())
    first: dict[LimitName, Value | Missing] = {
        **_INITIAL,
        LimitName.CPUSET_CPUS: facts.cpus,
        LimitName.CPUSET_MEMS: facts.mems,
    }
    return before.merge(
        {name: value for name, value in first.items() if LIMITS[name].controller in missing and name not in never}
    )


def with_controllers(cgroup: Cgroup, change: LimitChange) -> Cgroup:
    """The cgroup with the controllers that a change needs, as far as systemd gives them to it.

    For each missing controller its normal value is set, which limits nothing. If that fails, the cgroup is returned
    without it. The setting stays, so a refusal is decided before, by `predicted_limits`.
    """
    unit, missing = _missing(cgroup, change)
    if unit is None or cgroup.unified is None:
        return cgroup

    normal = {**_NEUTRAL_PROPERTIES, "cpuset": TRANSLATIONS["cpuset.cpus"](Path(), host_facts().cpus)[0]}
    try:
        with Manager(unit) as manager:
            if manager.get(unit, "ControlGroup") == unit.cgroup:
                manager.set(unit, [normal[name] for name in missing])
    except PytopError:
        return cgroup
    offered = files.try_read(cgroup.unified / "cgroup.controllers")
    return replace(cgroup, controllers=frozenset(offered.split())) if isinstance(offered, str) else cgroup


def _missing(cgroup: Cgroup, change: LimitChange) -> tuple[Unit | None, list[str]]:
    """The controllers that a change needs and the cgroup lacks, and the unit that can get them; None without a unit."""
    needed = {LIMITS[name].controller for name in change.names() - NETWORK_LIMITS}
    missing = sorted(name for name in needed if cgroup.where(name) is None)
    if not missing or cgroup.unified is None or not systemd.booted():
        return None, []
    hierarchies = cgroupfs.detect()
    unit = unit_at(cgroup.unified, hierarchies) if systemd.all_unified(hierarchies) else None
    return unit, missing
