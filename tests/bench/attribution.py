"""Attribution against the sweep whose frames it takes: CPU time of both, in turns, over real cgroups.

The containers are those of the sweep's benchmark. That they wait is put into the frames, as a machine on which so many
wait measures nothing: every busy container waits for CPU half of the time, and four of them hold most of it. Each
round sweeps once and takes the frame once; a warm-up fills the window before.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from collectors.attribution.attributor import WINDOW_S, Attributor
from collectors.attribution.evidence import Resource
from collectors.sampling.frame import Frame, Pressure, Usage
from collectors.sampling.sweep import Sweeper, Target
from runtime.model import Ref
from tests.bench import sweep
from tests.bench.figure import Figure

BOUNDS: Final = {"a tenth waits": 0.1, "all wait": 0.33}
ROUNDS: Final = 31
SHORT_ROUNDS: Final = 21
ROUND_S: Final = 0.5  # one frame each, as the dashboard's fastest interval
HOGS: Final = 4
HOG_CORES: Final = 0.4
WAIT_SHARE: Final = 0.5


def figures(*, short: bool = False) -> list[Figure]:
    """A tenth of the containers waits, and all of them."""
    count = sweep.SHORT_CGROUPS if short else sweep.CGROUPS
    busy = round(count * sweep.BUSY_SHARE)
    with (
        tempfile.TemporaryDirectory() as name,
        sweep.own_cgroups(sweep.compiled(Path(name), "load"), count, count) as all,
    ):
        cases = {"a tenth waits": [*all[:busy], *all[count:][: count - busy]], "all wait": all[:count]}
        waiting = {"a tenth waits": busy, "all wait": count}
        return [
            compared(name, targets, waiting[name], SHORT_ROUNDS if short else ROUNDS) for name, targets in cases.items()
        ]


def _load(folder: str) -> Path:
    return sweep.compiled(Path(folder), "load")


def compared(name: str, targets: Sequence[Target], waiting: int, rounds: int) -> Figure:
    """The means of both over the rounds after the window is full: not every frame makes all evidence anew."""
    victims = [target.ref for target in targets[:waiting]]
    sweeper, attributor = Sweeper(), Attributor()
    sweeps: list[int] = []
    takes: list[int] = []
    try:
        for frame, spent in _swept(sweeper, targets, rounds + round(WINDOW_S / ROUND_S)):
            given = _with_waits(frame, victims)
            started = time.process_time_ns()
            attributor.take(given)
            takes.append(time.process_time_ns() - started)
            sweeps.append(spent)
    finally:
        sweeper.close()
    found = attributor.latest.by_victim
    assert set(victims) <= set(found), f"{len(found)} of {waiting} victims have evidence"
    assert all(each.resource is Resource.CPU for each in found[victims[-1]])
    ours, theirs = statistics.fmean(takes[-rounds:]), statistics.fmean(sweeps[-rounds:])
    words = f"CPU {ours / 1e6:.3f} ms, a sweep of {len(targets)} {theirs / 1e6:.2f} ms (means of {rounds})"
    return Figure(f"attribution, {name}", ours / theirs, BOUNDS[name], words, wall_time=False)


def _swept(sweeper: Sweeper, targets: Sequence[Target], rounds: int) -> Iterator[tuple[Frame, int]]:
    """Frames of the containers, each with the CPU time of its sweep in ns."""
    sweeper.sweep(targets)
    gc.collect()
    for _ in range(rounds):
        time.sleep(ROUND_S)
        started = time.process_time_ns()
        frame = sweeper.sweep(targets)
        yield frame, time.process_time_ns() - started


def _with_waits(frame: Frame, victims: Sequence[Ref]) -> Frame:
    """The frame, in which these wait; who rests keeps the usage that it has."""
    usages: dict[Ref, Usage] = dict(frame.usages)
    small = Pressure(WAIT_SHARE, WAIT_SHARE)
    for number, ref in enumerate(victims):
        usage = usages[ref]
        usages[ref] = usage._replace(
            cpu=HOG_CORES if number < HOGS else usage.cpu,
            waiting=WAIT_SHARE,
            throttled=0.0,
            pressure={**usage.pressure, "cpu": small},
        )
    return replace(frame, usages=usages)
