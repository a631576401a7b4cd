"""Limits as the kernel holds them: read, review, change, read back.

Every limit of a live container is written by `change`; `verify` checks a change that an engine's daemon made. Both
compare with what the kernel holds. The lock is apart, in `lock`, since it needs an event loop.
"""

from runtime.limits.apply import RawFile, change, check, raw_files, read, recent_use, verify
from runtime.limits.controllers.network import asks_network
from runtime.limits.reclaim import ReclaimProgress, shrink
from runtime.limits.review.facts import HostFacts, RecentUse, host_facts
from runtime.limits.review.finding import Finding, Severity
from runtime.limits.review.review import refuse, review
from runtime.limits.units import validate
from runtime.limits.unsupported import unsupported_limits
from runtime.limits.verdict import same, with_persistence

__all__ = [
    "Finding",
    "HostFacts",
    "RawFile",
    "RecentUse",
    "ReclaimProgress",
    "Severity",
    "asks_network",
    "change",
    "check",
    "host_facts",
    "raw_files",
    "read",
    "recent_use",
    "refuse",
    "review",
    "same",
    "shrink",
    "unsupported_limits",
    "validate",
    "verify",
    "with_persistence",
]
