"""Limits as the kernel holds them: read, review, change, read back.

`change` is the one way in which this project writes a limit of a live container; `verify` judges a change that an
engine's daemon made. Both judge by the kernel.
"""

from runtime.limits.after import back, restore, room, settle, take_back
from runtime.limits.facts import HostFacts, RecentUse, host_facts
from runtime.limits.finding import Finding, Severity
from runtime.limits.judge import same, survives
from runtime.limits.lacking import lacking
from runtime.limits.live import RawFile, change, check, raw, read, recent, verify
from runtime.limits.network import asked as asks_network
from runtime.limits.reclaim import Progress, shrink
from runtime.limits.review import refuse, review
from runtime.limits.turn import turn
from runtime.limits.units import validate

__all__ = [
    "Finding",
    "HostFacts",
    "Progress",
    "RawFile",
    "RecentUse",
    "Severity",
    "asks_network",
    "back",
    "change",
    "check",
    "host_facts",
    "lacking",
    "raw",
    "read",
    "recent",
    "refuse",
    "restore",
    "review",
    "room",
    "same",
    "settle",
    "shrink",
    "survives",
    "take_back",
    "turn",
    "validate",
    "verify",
]
