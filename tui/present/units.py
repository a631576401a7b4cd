"""Formatting of each metric unit, with defaults for columns and graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.sampling.metrics import MetricUnit
from tui.present import format as fmt

KIB_BYTES, MIB_BYTES = 1024, 1 << 20


@dataclass(frozen=True, slots=True)
class UnitFormat:
    """The format of one unit; fields and graphs may override it.

    Attributes:
        show: a value as text.
        width: cells of the widest text.
        grain: differences below this do not change the order of rows.
        floor: the least that a graph's scale may be.
        base: a graph's scale ends at a round number of this base.
        fixed: a graph's scale always ends at `floor`.
    """

    show: Callable[[float], str]
    width: int
    grain: float
    floor: float
    base: int = 1000
    fixed: bool = False


UNITS: Final[Mapping[MetricUnit, UnitFormat]] = {
    MetricUnit.CORES: UnitFormat(fmt.cores, 5, 0.05, 0.1),
    MetricUnit.BYTES: UnitFormat(fmt.size, 5, MIB_BYTES, 16 * MIB_BYTES, KIB_BYTES),
    MetricUnit.BYTES_PER_S: UnitFormat(fmt.rate, 5, KIB_BYTES, 16 * KIB_BYTES, KIB_BYTES),
    MetricUnit.SHARE_OF_TIME: UnitFormat(fmt.share, 5, 0.05, 1.0, fixed=True),
    MetricUnit.SHARE_OF_LIMIT: UnitFormat(fmt.share, 5, 0.02, 1.0),
    MetricUnit.TASKS: UnitFormat(fmt.count, 5, 1.0, 10.0),
    MetricUnit.PER_S: UnitFormat(fmt.count, 5, 1.0, 10.0),
    MetricUnit.WEIGHT: UnitFormat(fmt.count, 5, 1.0, 10.0),
}
