"""How often the loops that look for rare faults go round."""

from __future__ import annotations

import os


def cycles(whole: int, least: int = 1) -> int:
    """A tenth of `whole` but no fewer than `least`; all of them where PYTOP_LONG is set, as in `make test-long`."""
    return whole if os.environ.get("PYTOP_LONG") else max(whole // 10, least)
