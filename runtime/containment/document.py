"""Leases, changes and refs as JSON objects and back. What is read may be damaged, or of another version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from runtime.containment.lease import DirectoryIdentity, Holder, Lease, LeasedCgroup, LeaseState, ThreadScheduling
from runtime.model import UNLIMITED, ContainerRef, DeviceRate, GroupKind, GroupRef, LimitChange, LimitName, Ref, Value

FORMAT: Final = 1
_PLAIN: Final = ("id", "name", "target", "boot", "frozen", "created_ns", "expires_ns", "reason", "result")
_OPTIONAL: Final = ("pid", "pid_started", "by_api", "ended_ns")


def value_to_json(value: Value) -> Any:
    """UNLIMITED is a word; rates by device are pairs."""
    if isinstance(value, tuple):
        return [[each.device, value_to_json(each.rate)] for each in value]
    return UNLIMITED.value if value is UNLIMITED else value


def change_to_json(change: LimitChange) -> dict[str, Any]:
    """By the name of the limit."""
    return {name.value: value_to_json(value) for name, value in change.items()}


def change_from_json(found: Mapping[str, Any]) -> LimitChange:
    """Raises `ValueError`, `TypeError` or `KeyError` for what is no change."""
    return LimitChange.of({LimitName(name): value_from_json(value) for name, value in found.items()})


def value_from_json(value: Any) -> Value:
    """Raises as `change_from_json`."""
    if isinstance(value, list):
        return tuple(DeviceRate(str(device), _rate(rate)) for device, rate in value)
    if value == UNLIMITED.value:
        return UNLIMITED
    if isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} is no limit")


def _rate(value: Any) -> Any:
    return UNLIMITED if value == UNLIMITED.value else int(value)


def ref_to_json(ref: Ref) -> dict[str, str]:
    """The fields of the ref; that of a group has a kind."""
    return {name: str(value) for name, value in ref._asdict().items()}


def ref_from_json(found: Mapping[str, str]) -> Ref:
    """Raises as `change_from_json`."""
    if "kind" in found:
        return GroupRef(GroupKind(found["kind"]), found["name"], found["engine"], found["host"])
    return ContainerRef(found["engine"], found["id"], found["host"])


def lease_to_json(lease: Lease) -> dict[str, Any]:
    """Everything of it."""
    cgroup = lease.cgroup
    return {
        "format": FORMAT,
        **{name: getattr(lease, name) for name in (*_PLAIN, *_OPTIONAL)},
        "ref": ref_to_json(lease.ref),
        "state": lease.state.value,
        "change": change_to_json(lease.change),
        "before": change_to_json(lease.before),
        "holder": asdict(lease.holder),
        "cgroup": None if cgroup is None else {**asdict(cgroup), "v1": dict(cgroup.v1)},
        "scheduled": None if lease.scheduled is None else asdict(lease.scheduled),
        "scheduling": [asdict(each) for each in lease.scheduling],
    }


def lease_from_json(found: Any) -> Lease | None:
    """None for what is damaged, or of another format."""
    try:
        if found["format"] != FORMAT:
            return None
        cgroup, scheduled = found["cgroup"], found["scheduled"]
        return Lease(
            **{name: found[name] for name in (*_PLAIN, *_OPTIONAL)},
            ref=ref_from_json(found["ref"]),
            state=LeaseState(found["state"]),
            change=change_from_json(found["change"]),
            before=change_from_json(found["before"]),
            holder=Holder(**found["holder"]),
            cgroup=None if cgroup is None else _cgroup(cgroup),
            scheduled=None if scheduled is None else ThreadScheduling(**scheduled),
            scheduling=tuple(ThreadScheduling(**each) for each in found["scheduling"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _cgroup(found: Mapping[str, Any]) -> LeasedCgroup:
    directories = tuple(DirectoryIdentity(**each) for each in found["directories"])
    return LeasedCgroup({str(name): str(path) for name, path in found["v1"].items()}, found["unified"], directories)
