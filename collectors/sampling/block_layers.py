"""Which block devices are stacked on others: device-mapper (LVM, dm-crypt), md, bcache, and loop devices on a file.

The kernel counts a request at each layer that it passes, so a sum over all devices counts it again at each. A loop
device on a file in memory or on another machine is not stacked: nothing below it is counted.
Source: Documentation/ABI/stable/sysfs-block, Documentation/admin-guide/blockdev (loop/backing_file).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from collectors.sampling.sample import IoCounters
from runtime.kernel.filesystems import on_block_device
from runtime.model import Missing

TRUSTED_S: Final = 10.0  # then a device is looked up again: a loop device gets another file, a number another device


class BlockLayers:
    """Looks devices up in sysfs, each at most once in `TRUSTED_S` and only while there is I/O; about 20 us."""

    def __init__(self, sys: Path = Path("/sys")) -> None:
        self._sys = sys
        self._known: dict[str, tuple[float, bool]] = {}  # by number: until when (CLOCK_MONOTONIC), whether stacked

    def mark(self, counters: Mapping[str, IoCounters] | Missing) -> Mapping[str, IoCounters] | Missing:
        """The counters by "major:minor", with `stacked` set where it is so."""
        if isinstance(counters, Missing):
            return counters
        found = {number for number in counters if self._stacked(number)}
        if not found:
            return counters
        return {number: replace(each, stacked=number in found) for number, each in counters.items()}

    def _stacked(self, number: str) -> bool:
        now = time.monotonic()
        known = self._known.get(number)
        if known is None or known[0] < now:
            known = self._known[number] = now + TRUSTED_S, _is_stacked(self._sys / "dev/block" / number)
        return known[1]


def _is_stacked(device: Path) -> bool:
    """Whether a device, by its directory in sysfs, passes its requests on to devices that count them again."""
    try:
        if os.listdir(device / "slaves"):
            return True
        file = (device / "loop/backing_file").read_text().strip()
    except OSError:
        return False
    return on_block_device(Path(file))


LAYERS: Final = BlockLayers()
