"""CPU bandwidth: cores as a quota of CPU time in each period, as the kernel and every engine's record keep it.

Source: Documentation/scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from typing import Final

from runtime.model import UNLIMITED, Missing, Unlimited

DEFAULT_PERIOD_US: Final = 100_000  # of a new cgroup; engines record it as 0
MIN_QUOTA_US: Final = 1_000


def period_or_default(period_us: int | Missing | None) -> int:
    """The period; the default one when it is not set or not known."""
    return period_us if isinstance(period_us, int) and period_us > 0 else DEFAULT_PERIOD_US


def cores(quota_us: int, period_us: int) -> float | Unlimited:
    """The cores that a quota allows; a quota of 0 or less is no limit (the kernel writes -1, engines 0)."""
    return quota_us / period_us if quota_us > 0 else UNLIMITED


def exact_quota_us(cores: float, period_us: int) -> int:
    """The quota for a number of cores; the kernel refuses one below `MIN_QUOTA_US`."""
    return round(cores * period_us)


def quota_us(cores: float, period_us: int) -> int:
    """The quota for a number of cores, at least the smallest one that the kernel accepts."""
    return max(MIN_QUOTA_US, exact_quota_us(cores, period_us))
