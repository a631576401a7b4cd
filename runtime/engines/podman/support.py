"""The capabilities of a Podman, by its answer to /info. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runtime.engines.podman import update
from runtime.engines.podman.client import numbers
from runtime.model import Capabilities, LimitName, Verb
from runtime.oci.resources import KERNEL_ONLY

_CONTROLLERS: Final[Mapping[str, tuple[LimitName, ...]]] = {
    "cpu": (LimitName.CPUS, LimitName.CPU_PERIOD, LimitName.CPU_BURST, LimitName.CPU_SHARES, LimitName.CPU_IDLE),
    "cpuset": (LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS),
    "memory": (LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.MEMORY_RESERVATION, LimitName.SWAP),
    "pids": (LimitName.PIDS,),
    "io": (
        LimitName.IO_WEIGHT,
        LimitName.IO_READ_BPS,
        LimitName.IO_WRITE_BPS,
        LimitName.IO_READ_IOPS,
        LimitName.IO_WRITE_IOPS,
    ),
}
NO_EVENT_LOGGERS: Final = ("none", "null")


def capabilities(
    about: Mapping[str, Any], version: str, *, local: bool, unsupported: Mapping[LimitName, str]
) -> Capabilities:
    """The capabilities, by the answer to /info.

    `local`: whether its address is on this machine; `unsupported`: limits that this machine's cgroups do not offer.
    """
    host = about.get("host") or {}
    verbs: dict[Verb, str] = {}
    if str(host.get("eventLogger", "")).lower() in NO_EVENT_LOGGERS:
        verbs[Verb.EVENTS] = "Podman is configured to keep no events (events_logger is none)"
    v2 = cgroup_v2(about)
    limits: dict[LimitName, str] = dict(unsupported) if local else {}
    if rootless(about) and not v2:
        reason = "a rootless Podman has no cgroups on a cgroup v1 host"
        limits.update({name: reason for names in _CONTROLLERS.values() for name in names})
    elif "cgroupControllers" in host:
        there = {"io" if name == "blkio" else str(name) for name in host["cgroupControllers"] or ()}
        for controller in _CONTROLLERS.keys() - there:
            why = f"not delegated to its user (Delegate={controller})" if rootless(about) else "off"
            limits.update(dict.fromkeys(_CONTROLLERS[controller], f"the cgroup controller {controller} is {why}"))
    if not local:
        if not v2:
            limits.setdefault(LimitName.MEMORY_HIGH, "cgroup v1 has no memory.high")
        reason = "Podman's API cannot change it, and another machine's kernel is out of reach"
        limits.update(dict.fromkeys(KERNEL_ONLY, reason))
    release = numbers(version)
    unrecorded = frozenset() if release >= update.MIN_RECORDING_VERSION else frozenset(LimitName)
    return Capabilities(verbs, limits, update.at_rest(release), unrecorded=unrecorded)


def cgroup_v2(about: Mapping[str, Any]) -> bool:
    """Whether its controllers are on cgroup v2."""
    return str((about.get("host") or {}).get("cgroupVersion", "")) == "v2"


def rootless(about: Mapping[str, Any]) -> bool:
    """Whether it runs as another user than root."""
    return bool(((about.get("host") or {}).get("security") or {}).get("rootless"))
