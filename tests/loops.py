"""How often the loops that look for rare faults go round."""

from __future__ import annotations

import os


def whole() -> bool:
    """Whether loops go round as often as they can: PYTOP_LONG is set, as in `make test-long`."""
    return bool(os.environ.get("PYTOP_LONG"))


def cycles(count: int, least: int = 1) -> int:
    """A tenth of `count` but no fewer than `least`; all of them in `make test-long`."""
    return count if whole() else max(count // 10, least)
