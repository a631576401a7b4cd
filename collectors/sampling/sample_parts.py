"""The parts of a `Sample`, made of the parsed values of a cgroup's files, by the slots of `layout`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collectors.sampling import parse
from collectors.sampling.inherited_limits import InheritedLimit, tightest
from collectors.sampling.layout import (
    CPUS,
    CURRENT,
    IDLE,
    IO_BYTES,
    IO_OPS,
    IO_WEIGHT,
    MAX,
    OOM,
    PEAK,
    PERIODS,
    PSI_CPU,
    PSI_IO,
    PSI_MEMORY,
    RESOURCES,
    SPLIT,
    STAT,
    SWAP,
    USAGE,
    V1_STAT_SLOTS,
    WEIGHT,
)
from collectors.sampling.sample import CpuCounters, IoCounters, MemoryGauges, PressureTotals, Sharing
from runtime.model import Missing


def cpu(values: list[Any]) -> CpuCounters:
    """CPU time, and what the own quota held back."""
    usage = values[USAGE]
    if not isinstance(usage, tuple):  # v1: cpuacct
        return CpuCounters(usage, *values[SPLIT], *values[PERIODS])
    return CpuCounters(*usage) if len(usage) == 6 else CpuCounters(*usage, *values[PERIODS])


def memory(values: list[Any], above: Sequence[InheritedLimit]) -> MemoryGauges:
    """Memory; `above` are the inherited limits."""
    current, stat = values[CURRENT], values[STAT]
    if len(stat) == V1_STAT_SLOTS:
        anon, file, shared, inactive_file, refaults, major_faults, swap, limit = stat
    else:
        anon, file, shared, inactive_file, refaults, major_faults = stat
        swap, limit = values[SWAP], values[MAX]
    working_set = inactive_file
    if not isinstance(current, int):
        working_set = current
    elif isinstance(inactive_file, int):
        working_set = current - inactive_file if current > inactive_file else 0
    return MemoryGauges(  # the first by position: twice as fast, and this is done for every container in every sweep
        current,
        working_set,
        anon,
        file,
        shared,
        swap,
        peak=values[PEAK],
        limit=tightest(limit, above),
        oom_kills=values[OOM],
        refaults=refaults,
        major_faults=major_faults,
    )


def sharing(values: list[Any], above: Sequence[InheritedLimit]) -> Sharing:
    """Weights, idle class and CPUs; of a cgroup without a cpuset of its own, those of the nearest above it."""
    cpus = values[CPUS]
    if isinstance(cpus, Missing):
        cpus = next((limit.value for limit in above if isinstance(limit.value, frozenset)), cpus)
    return Sharing(values[WEIGHT], values[IDLE], cpus, values[IO_WEIGHT])


def pressure(values: list[Any]) -> Mapping[str, PressureTotals]:
    """By resource; one that this kernel does not have is left out, one that may not be read is DENIED."""
    cpu, memory, io = values[PSI_CPU], values[PSI_MEMORY], values[PSI_IO]
    if type(cpu) is type(memory) is type(io) is PressureTotals:  # the usual case
        return {"cpu": cpu, "memory": memory, "io": io}
    found: dict[str, PressureTotals] = {}
    for slot, name in RESOURCES:
        value = values[slot]
        if value is not Missing.UNSUPPORTED:
            found[name] = PressureTotals(value, value) if isinstance(value, Missing) else value
    return found


def io(values: list[Any]) -> Mapping[str, IoCounters] | Missing:
    """By block device."""
    sizes: Mapping[str, Any] | Missing = values[IO_BYTES]
    counts: Mapping[str, Any] | Missing = values[IO_OPS]
    if isinstance(sizes, Missing):
        return sizes
    if isinstance(counts, Missing):  # v2 has all in one file; on v1 both files are needed
        return counts if any(isinstance(pair, tuple) for pair in sizes.values()) else sizes
    return parse.merge_io_v1(sizes, counts)
