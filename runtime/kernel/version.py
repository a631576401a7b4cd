"""The kernel's version, and the oldest with which every part of this program works."""

from __future__ import annotations

import platform
import re
from typing import Final

OLDEST_KERNEL_VERSION: Final = (5, 12)
"""It has mount_setattr(2), which makes a bind read-only with everything mounted below it."""
OLDEST_KERNEL: Final = ".".join(map(str, OLDEST_KERNEL_VERSION))


def is_new_enough() -> bool:
    """Whether this is a Linux with everything that is used."""
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    numbers = (int(found[1]), int(found[2])) if found is not None else (0, 0)
    return platform.system() == "Linux" and numbers >= OLDEST_KERNEL_VERSION
