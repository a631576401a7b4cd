"""CPU weight: the shares of cgroup v1 and of engines' records, and the weight of cgroup v2.

Source: runc's and crun's ConvertCPUSharesToCgroupV2Value, cgroup-v2.rst.
"""

from __future__ import annotations

import math
from typing import Final

from runtime.model import LIMITS, LimitName

MIN_SHARES: Final = LIMITS[LimitName.CPU_SHARES].minimum
MAX_SHARES: Final = LIMITS[LimitName.CPU_SHARES].maximum


def shares_to_weight(shares: int) -> int:
    """The conversion of runc >= 1.3.2 and crun >= 1.23: a curve through 2->1, 1024->100, 262144->10000."""
    exponent = math.log2(min(MAX_SHARES, max(MIN_SHARES, shares)))
    return min(10_000, max(1, math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))))


def shares_to_weight_linear(shares: int) -> int:
    """The conversion of older runtimes: 1024 -> 39."""
    return 1 + ((min(MAX_SHARES, max(MIN_SHARES, shares)) - 2) * 9999) // 262142


def weight_to_shares(weight: int) -> int:
    """The largest number of shares that `shares_to_weight` converts to this weight."""
    low, high = MIN_SHARES, MAX_SHARES
    while low < high:
        middle = (low + high + 1) // 2
        if shares_to_weight(middle) <= weight:
            low = middle
        else:
            high = middle - 1
    return low
