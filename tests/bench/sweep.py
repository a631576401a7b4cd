"""Sweeps of real cgroups against a C program that preads all the same files on kept descriptors.

The cgroups are this benchmark's own, in every hierarchy that has counters, each with a process that either sleeps or
moves CPU time and memory ten times a second (`load.c`). Whoever is measured takes turns with the others once a second,
as a dashboard does, so that what a sweep does only now and then has its share. The C program (`sweep.c`) reads every
file of every container each time, and of the host in the figures of a whole frame: that is what a sweep may know.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collectors.sampling import layout
from collectors.sampling.sweep import Sweeper, Target
from collectors.sampling.tracking import SHARED_FDS
from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import ContainerRef
from tests.bench.figure import Figure, Unavailable

CGROUPS: Final = 200
SHORT_CGROUPS: Final = 40
MANY: Final = 10  # times as many for the figure of growth
BUSY_SHARE: Final = 0.1  # of those that are not all busy
ROUNDS: Final = 21
SHORT_ROUNDS: Final = 11
ROUND_S: Final = 1.0
BOUNDS: Final = {"mostly idle": (0.6, 0.75), "all busy": (1.35, 1.7)}  # of the samples, of the whole frame
GROWTH_BOUND: Final = 12.0  # ten times the cgroups
KEPT_BOUND: Final = 8  # descriptors for each container, without the two that all share
ALL_KEPT_BOUND: Final = 16_000
HOST_FILES: Final = [  # what the host's totals come from
    *("/proc/stat", "/proc/net/dev", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/meminfo"),
    *(f"/proc/pressure/{name}" for name in ("cpu", "memory", "io")),
]
HERE: Final = Path(__file__).parent
CALLS: Final = ("pread", "open", "read", "close", "stat", "readlink")  # of `os`, by which a sweep calls the kernel

Cost = Callable[[], int]  # does the work once and gives its CPU time in ns


def compiled(folder: Path, name: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("no C compiler (cc)")
    program = folder / name
    subprocess.run([compiler, "-O2", "-o", program, HERE / f"{name}.c"], check=True, timeout=60)
    return program


def _parents() -> list[Path]:
    """Our own directory in every hierarchy that has counters; made, not yet filled."""
    hierarchies = cgroupfs.detect()
    if hierarchies.mode is cgroupfs.Mode.V2:
        raise Unavailable("pure cgroup v2: no processes in inner cgroups; run it on hybrid or v1")
    if os.geteuid() != 0:
        raise Unavailable("making cgroups needs root")
    mounts = {mount.path for name, mount in hierarchies.v1.items() if name in layout.V1}
    if hierarchies.unified is not None:
        mounts.add(hierarchies.unified.path)
    return [mount / f"pytop-bench-{os.getpid()}" for mount in sorted(mounts)]


@contextlib.contextmanager
def own_cgroups(load: Path, busy: int, idle: int) -> Iterator[list[Target]]:
    """Cgroups with a process each, the busy ones first; all removed at the end, also of a failure."""
    parents = _parents()
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for parent in parents:
            _make(parent)
        for number in range(busy + idle):
            worker = subprocess.Popen([load, "busy" if number < busy else "idle"], stdin=subprocess.DEVNULL)
            workers.append(worker)
            for parent in parents:
                own = parent / f"c{number}"
                _make(own)
                (own / "cgroup.procs").write_text(str(worker.pid))
        yield [Target(ContainerRef("bench", f"{number:064d}"), worker.pid) for number, worker in enumerate(workers)]
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait(10)
        for parent in parents:
            for directory in (*parent.glob("c*/"), parent):
                _remove(directory)


def _make(directory: Path) -> None:
    """Make a cgroup; a cpuset of v1 takes no process before it has CPUs and memory nodes."""
    directory.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (directory / name).exists():
            (directory / name).write_text((directory.parent / name).read_text())


def _remove(directory: Path) -> None:
    for _ in range(50):
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return


def _files_of(targets: Sequence[Target]) -> list[str]:
    """Every file that has a counter or a limit of these containers, whether it is kept open or not.

    Weights, idle class and CPUs are left out, though a sweep knows them: the bounds are older than these files.
    """
    hierarchies = cgroupfs.detect()
    found: list[str] = []
    for target in targets:
        own = own_cgroup.own_part(own_cgroup.cgroup_of_process(hierarchies, target.pid), hierarchies)
        for directory, files in layout.files_to_open(own):
            counted = [file.name for file in files if file.part != layout.SHARING_PART]
            found += [f"{directory}/{name}" for name in counted if (directory / name).exists()]
    return found


@contextlib.contextmanager
def _c_program(program: Path, folder: Path, files: Sequence[str]) -> Iterator[Cost]:
    """The C program over these files."""
    listing = folder / f"files-{len(list(folder.iterdir()))}"
    listing.write_text("".join(f"{path}\n" for path in files))
    with subprocess.Popen([program, listing], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        requests, answers = reader.stdin, reader.stdout

        def cost() -> int:
            requests.write("\n")
            requests.flush()
            return int(answers.readline().split()[0])

        yield cost
        requests.close()


def _ours(work: Callable[[], int], expected: int) -> Cost:
    def cost() -> int:
        started = time.process_time_ns()
        done = work()
        spent = time.process_time_ns() - started
        assert done == expected, f"{done} of {expected} were read"
        return spent

    return cost


def _medians(costs: Mapping[str, Cost], rounds: int) -> dict[str, float]:
    """The median CPU time of each in ns; they take turns, in an order that turns too, each once in `ROUND_S`."""
    names = list(costs)
    spent: dict[str, list[int]] = {name: [] for name in names}
    gc.collect()
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            time.sleep(ROUND_S / len(names))
            spent[name].append(costs[name]())
    return {name: statistics.median(values) for name, values in spent.items()}


def _system_calls(work: Callable[[], object]) -> int:
    """How often `work` calls the kernel by way of `os`."""
    count = 0
    real = {name: getattr(os, name) for name in CALLS}

    def counting(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **options: object) -> object:
            nonlocal count
            count += 1
            return call(*args, **options)

        return counted

    for name, call in real.items():
        setattr(os, name, counting(call))
    try:
        work()
    finally:
        for name, call in real.items():
            setattr(os, name, call)
    return count


@dataclass(frozen=True, slots=True)
class Case:
    """Containers to sweep, and the bounds for their samples and for a whole frame."""

    name: str
    targets: Sequence[Target]
    bounds: tuple[float, float]


def compared(cases: Sequence[Case], program: Path, folder: Path, rounds: int = ROUNDS) -> list[Figure]:
    """Samples and whole frames of each case against C."""
    costs: dict[str, Cost] = {}
    said: list[tuple[str, float, str]] = []
    with contextlib.ExitStack() as stack:
        for case in cases:
            files = _files_of(case.targets)
            for what, bound, more in zip(("samples", "whole frame"), case.bounds, ([], HOST_FILES), strict=True):
                sweeper = Sweeper()
                stack.callback(sweeper.close)

                def samples(sweeper: Sweeper = sweeper, case: Case = case) -> int:
                    return len(sweeper.samples(case.targets))

                def frame(sweeper: Sweeper = sweeper, case: Case = case) -> int:
                    return len(sweeper.sweep(case.targets).usages)

                work = samples if what == "samples" else frame
                for _ in range(3):
                    work()
                time.sleep(ROUND_S)
                calls = _system_calls(work)
                name = f"sweep, {case.name}, {what}"
                costs[name] = _ours(work, len(case.targets))
                costs[f"C: {name}"] = stack.enter_context(_c_program(program, folder, [*files, *more]))
                said.append((name, bound, f"{calls} system calls, by C reading all {len(files) + len(more)} files"))
        medians = _medians(costs, rounds)
    return [
        Figure(
            name,
            medians[name] / medians[f"C: {name}"],
            bound,
            f"CPU {medians[name] / 1e6:.2f} ms, {words}, {medians[f'C: {name}'] / 1e6:.2f} ms (medians of {rounds})",
            wall_time=False,
        )
        for name, bound, words in said
    ]


def growth(few: Sequence[Target], many: Sequence[Target], rounds: int = ROUNDS) -> list[Figure]:
    """A whole frame of many containers against one of few, and what is kept open for the many."""
    with contextlib.ExitStack() as stack:
        sweepers: list[Sweeper] = []
        for targets in (few, many):
            before = len(os.listdir("/proc/self/fd"))
            sweeper = Sweeper()
            stack.callback(sweeper.close)
            for _ in range(3):
                assert len(sweeper.sweep(targets).usages) == len(targets)
            kept = len(os.listdir("/proc/self/fd")) - before
            sweepers.append(sweeper)
        medians = _medians(
            {
                name: _ours(lambda sweeper=sweeper, targets=targets: len(sweeper.sweep(targets).usages), len(targets))
                for name, sweeper, targets in zip(("few", "many"), sweepers, (few, many), strict=True)
            },
            rounds,
        )
    ratio = medians["many"] / medians["few"]
    words = f"CPU {medians['many'] / 1e6:.1f} ms for {len(many)} cgroups, {medians['few'] / 1e6:.2f} ms for {len(few)}"
    own = f"{kept} descriptors kept for {len(many)} containers"
    return [
        Figure("sweep, ten times as many cgroups", ratio, GROWTH_BOUND, words, wall_time=False),
        Figure("sweep, descriptors per container", (kept - SHARED_FDS) / len(many), KEPT_BOUND, own, wall_time=False),
        Figure("sweep, descriptors in all", kept, ALL_KEPT_BOUND, own, wall_time=False),
    ]


def figures(*, short: bool = False) -> list[Figure]:
    """All figures; a tenth of the containers is busy where not all are."""
    if short:
        return measured(SHORT_CGROUPS, 1, SHORT_ROUNDS)
    return measured(CGROUPS, MANY, ROUNDS)


def measured(cgroups: int, many: int, rounds: int) -> list[Figure]:
    """`many` times as many containers are compared with `cgroups` of them, unless it is 1."""
    busy = round(cgroups * BUSY_SHARE)
    all_busy = max(cgroups, busy * many)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, load = compiled(folder, "sweep"), compiled(folder, "load")
        with own_cgroups(load, all_busy, (cgroups - busy) * many) as targets:
            idle = targets[all_busy:]
            few = [*targets[:busy], *idle[: cgroups - busy]]
            cases = [
                Case("mostly idle", few, BOUNDS["mostly idle"]),
                Case("all busy", targets[:cgroups], BOUNDS["all busy"]),
            ]
            found = compared(cases, program, folder, rounds)
            return found + (growth(few, [*targets[: busy * many], *idle], rounds) if many > 1 else [])
