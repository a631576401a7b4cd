"""How fast a container may print: what it prints is CPU and disk of its shim, which no limit of the container counts.

A container that prints faster waits at its pipe, as for any slow reader. No output is lost by it.
"""

from __future__ import annotations

import time
from typing import Final

LOG_RATE_BYTES_PER_S: Final = 2 << 20
"""Bytes of the log, not of the output: a line has its time and stream there, 45 bytes of an empty one."""
LOG_BURST_BYTES: Final = 16 << 20
"""What a container may print at once after it has printed little for some seconds."""
STEP_BYTES: Final = 8 << 10
"""What each step from pipe to log counts for beside its bytes; so there are at most 256 steps a second for long."""


class LogRate:
    """A token bucket, as the time at which it would be full (GCRA)."""

    def __init__(self) -> None:
        self._full_at = 0.0  # CLOCK_MONOTONIC

    def take(self, size: int) -> None:
        """Count a step that has written `size` bytes of log."""
        self._full_at = max(self._full_at, time.monotonic()) + (size + STEP_BYTES) / LOG_RATE_BYTES_PER_S

    def pause_s(self) -> float:
        """Seconds until the next step may be made; 0 for now."""
        return max(0.0, self._full_at - LOG_BURST_BYTES / LOG_RATE_BYTES_PER_S - time.monotonic())
