"""Whether a rung is within what the policy allows against a suspect: its sharpness, and the floors of limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.containment.rung import RungId, Whom
from runtime.model import Unlimited, Value
from tui.core.containment.state import PlannedRung
from tui.core.guard.policy import RUNGS, Containable
from tui.core.guard.situation import GuardReason

SHARPNESS: Final[Mapping[RungId, str]] = {
    RungId.PROTECT_CPU: "protect",
    RungId.PROTECT_MEMORY: "protect",
    RungId.PROTECT_IO: "protect",
    RungId.CPU_WEIGHT: "weight",
    RungId.IO_WEIGHT: "weight",
    RungId.MEMORY_SOFT_LIMIT: "weight",
    RungId.CPU_IDLE: "idle",
    RungId.CPU_QUOTA: "limit",
    RungId.MEMORY_HIGH: "limit",
    RungId.DISK_RATE: "limit",
    RungId.NETWORK_RATE: "limit",
    RungId.MEMORY_LIMIT: "hard_limit",  # from here on a program may fail: it is killed, or cannot fork
    RungId.TASKS: "hard_limit",
    RungId.FREEZE: "freeze",
}
"""What `last_rung` of a policy means for each rung of the ladder."""


def allows(entry: Containable, rung: RungId) -> bool:
    """Whether the policy goes so far."""
    return RUNGS.index(SHARPNESS[rung]) <= RUNGS.index(entry.last_rung)


def why_not(entry: Containable, planned: PlannedRung) -> GuardReason | None:
    """Why a planned rung is not climbed; None when it may be. Floors are those of suspects."""
    if not allows(entry, planned.rung.id):
        return GuardReason.LAST_RUNG
    if planned.rung.whom is Whom.VICTIM:
        return None
    for name, value in planned.change.items():
        floor = entry.floors.get(name)
        if floor is not None and _least(value) < floor:
            return GuardReason.FLOOR
    return None


def _least(value: Value) -> float:
    """The lowest number in a value; infinite for one without a limit."""
    if isinstance(value, tuple):
        return min((_least(each.rate) for each in value), default=float("inf"))
    return float("inf") if isinstance(value, Unlimited | str) else float(value)
