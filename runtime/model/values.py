"""Values that are no number: no limit at all, and a value that is not there.

Neither is ever a magic number such as -1 or 2**63, so neither can be added up or drawn by mistake.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Unlimited(Enum):
    """The type of `UNLIMITED`."""

    UNLIMITED = "unlimited"

    def __str__(self) -> str:
        return "unlimited"


UNLIMITED: Final = Unlimited.UNLIMITED


class Missing(Enum):
    """Why a value is not there."""

    UNSUPPORTED = "unsupported"  # this kernel, cgroup version or engine does not have it
    DENIED = "denied"  # it is there, and we may not read it
    GONE = "gone"  # the container or its cgroup vanished
    NOT_SAMPLED = "not sampled yet"  # a rate needs two samples

    def __str__(self) -> str:
        return self.value
