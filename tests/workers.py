"""Which of pytest-xdist's workers this is: the real tests of two files run side by side on one machine."""

from __future__ import annotations

import os

NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def subnet(second: int, bits: int = 24) -> str:
    """A network of this worker's own below 10.`second`.0.0/16, where each worker has 16 of 256."""
    return f"10.{second}.{NUMBER % 16 * 16}.0/{bits}"
