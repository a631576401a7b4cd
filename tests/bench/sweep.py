"""A sweep of 200 real cgroups against a C program that preads the same files on kept descriptors.

The cgroups are this benchmark's own, in every v1 controller and the v2 tree, each with a process that wakes ten times a
second and touches memory, so that counters do change from sweep to sweep. The C program gets the list of files from
the sweeper's own open descriptors, and a sweep is checked to read each of them once. Both take turns. The first figure
ends with every counter parsed; the second with the `Frame` that the screen gets, rates and the host's totals
included, for which the C program reads the host's files too.
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
from collections.abc import Callable, Iterator
from pathlib import Path

from collectors.sampling.sweep import Sweeper, Target
from runtime.kernel import cgroupfs
from runtime.model import ContainerRef
from tests.bench.figure import Figure, Unavailable

CGROUPS = 200
ROUNDS = 21
PAUSE_S = 0.15
BOUND = 1.6
FRAME_BOUND = 2.0  # our own: rates of every counter and the machine's totals beside it
HOST_FILES = [  # what the host's totals come from; psutil reads the first five
    *("/proc/stat", "/proc/net/dev", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/meminfo"),
    *(f"/proc/pressure/{name}" for name in ("cpu", "memory", "io")),
]
SOURCE = Path(__file__).with_suffix(".c")


def _compile(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("no C compiler (cc)")
    program = folder / "sweep"
    subprocess.run([compiler, "-O2", "-o", program, SOURCE], check=True, timeout=60)
    return program


def _parents() -> list[Path]:
    """Our own directory in every hierarchy that containers have; made, not yet filled."""
    hierarchies = cgroupfs.detect()
    if hierarchies.mode is cgroupfs.Mode.V2:
        raise Unavailable("pure cgroup v2: no processes in inner cgroups; run it on hybrid or v1")
    if os.geteuid() != 0:
        raise Unavailable("making cgroups needs root")
    mounts = {mount.path for mount in hierarchies.v1.values()}
    if hierarchies.unified is not None:
        mounts.add(hierarchies.unified.path)
    return [mount / f"pytop-bench-{os.getpid()}" for mount in sorted(mounts)]


def _fill_cpuset(directory: Path) -> None:
    """A v1 cpuset takes no process before it has CPUs and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (directory / name).exists():
            (directory / name).write_text((directory.parent / name).read_text())


@contextlib.contextmanager
def _cgroups(program: Path) -> Iterator[list[int]]:
    """200 cgroups with a process each, given by their pids; all removed at the end, also of a failure."""
    parents = _parents()
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for parent in parents:
            parent.mkdir()
            _fill_cpuset(parent)
        for number in range(CGROUPS):
            worker = subprocess.Popen([program, "work"], stdin=subprocess.DEVNULL)
            workers.append(worker)
            for parent in parents:
                own = parent / f"c{number}"
                own.mkdir()
                _fill_cpuset(own)
                (own / "cgroup.procs").write_text(str(worker.pid))
        yield [worker.pid for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait(10)
        for parent in parents:
            for directory in (*parent.glob("c*/"), parent):
                _remove(directory)


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


def _files_open_below(parents: list[Path]) -> list[str]:
    """What the sweeper keeps open in cgroup file systems, by our own descriptors."""
    mounts = tuple(str(parent.parent) for parent in parents)
    open_now = (_link(entry) for entry in os.listdir("/proc/self/fd"))
    return sorted(path for path in open_now if path.startswith(mounts))


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _reads_of(sweeper: Sweeper, targets: list[Target]) -> int:
    """How many times one sweep preads."""
    count = 0
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        nonlocal count
        count += 1
        return pread(fd, size, offset)

    os.pread = counting
    try:
        sweeper.sweep(targets)
    finally:
        os.pread = pread
    return count


def _measure(work: Callable[[], int], reader: subprocess.Popen[str]) -> tuple[float, float]:
    """Median CPU ns of our work and of the C program's sweep, taken in turns that swap who goes first."""
    ours: list[int] = []
    theirs: list[int] = []

    def us() -> None:
        started = time.process_time_ns()
        done = work()
        ours.append(time.process_time_ns() - started)
        assert done == CGROUPS

    def them() -> None:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
        theirs.append(int(reader.stdout.readline().split()[0]))

    for number in range(ROUNDS):
        for one in (us, them) if number % 2 else (them, us):
            time.sleep(PAUSE_S)
            one()
    return statistics.median(ours), statistics.median(theirs)


def _figure(name: str, bound: float, what: str, work: Callable[[], int], program: Path, listing: Path) -> Figure:
    command = [program, listing]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        gc.collect()
        ours, theirs = _measure(work, reader)
        assert reader.stdin is not None
        reader.stdin.close()
    files = len(listing.read_text().splitlines())
    compared = (
        f"CPU to {what} {CGROUPS} cgroups, {ours / 1e6:.2f} ms, by C reading the same {files} files, "
        f"{theirs / 1e6:.2f} ms (medians of {ROUNDS})"
    )
    return Figure(name, ours / theirs, bound, compared)


def figures(*, short: bool = False) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        program = _compile(Path(folder))
        pids = stack.enter_context(_cgroups(program))
        targets = [Target(ContainerRef("bench", f"{number:064d}"), pid) for number, pid in enumerate(pids)]
        sweeper = Sweeper()
        stack.callback(sweeper.close)
        for _ in range(3):
            sweeper.sweep(targets)
        files = _files_open_below(_parents())
        reads = _reads_of(sweeper, targets)
        if reads != len(files):
            raise AssertionError(f"a sweep reads {reads} times, and {len(files)} files are open")
        counters, everything = Path(folder) / "counters", Path(folder) / "everything"
        counters.write_text("".join(f"{path}\n" for path in files))
        everything.write_text("".join(f"{path}\n" for path in (*files, *HOST_FILES)))

        def read_and_parse() -> int:
            return len(sweeper.samples(targets))

        def make_a_frame() -> int:
            return len(sweeper.sweep(targets).usages)

        return [
            _figure("sweep", BOUND, "read and parse", read_and_parse, program, counters),
            _figure(
                "sweep, with rates and the host", FRAME_BOUND, "make a frame of", make_a_frame, program, everything
            ),
        ]
