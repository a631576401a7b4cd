"""Limits as the kernel holds them: read, review, change, read back.

`change` is the one way in which this project writes a limit of a live container; `verify` judges a change that an
engine's daemon made. Both judge by the kernel.
"""

from runtime.limits.apply import RawFile, change, check, raw, read, recent, verify
from runtime.limits.controllers.network import asked as asks_network
from runtime.limits.lock import turn
from runtime.limits.reclaim import Progress, shrink
from runtime.limits.review.facts import HostFacts, RecentUse, host_facts
from runtime.limits.review.finding import Finding, Severity
from runtime.limits.review.review import refuse, review
from runtime.limits.units import validate
from runtime.limits.unsupported import lacking
from runtime.limits.verdict import same, survives

__all__ = [
    "Finding",
    "HostFacts",
    "Progress",
    "RawFile",
    "RecentUse",
    "Severity",
    "asks_network",
    "change",
    "check",
    "host_facts",
    "lacking",
    "raw",
    "read",
    "recent",
    "refuse",
    "review",
    "same",
    "shrink",
    "survives",
    "turn",
    "validate",
    "verify",
]
