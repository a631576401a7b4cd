"""What the dashboard costs beside idle Docker containers: CPU with its share of the daemon's, memory, a key's delay.

The containers are real, of a private dockerd. The daemon's share is what dockerd and its containerd use while the
dashboard looks minus what they use alone. `htop` and `docker stats` on the same containers are the yardstick; they have
no bound.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figure import Figure, Unavailable
from tests.bench.screen import Terminal, in_pty
from tests.dockerd import Dockerd, busybox_rootfs, dockerd
from tests.waiting import wait_until

CPU_BOUNDS = {200: 0.04, 40: 0.015}  # of a core, by the number of containers
PSS_BOUND = 70 << 20  # bytes
KEY_BOUND_S = 0.050
SETTLE_S, WATCH_S = 25.0, 30.0
ALONE_S = 20.0  # the daemon, without anybody who looks
YARDSTICK_S = 10.0
START_WORKERS = 4
START_TIMEOUT_S = 60.0
KEYS = 40
MOVES = b"\x1b[B", b"\x1b[A"
CURSOR = "▌".encode()


def figures(*, short: bool = False) -> list[Figure]:
    """CPU of the dashboard for each number of containers, in ascending order; memory and a key at the last one."""
    counts = (40,) if short else (40, 200)
    if os.geteuid():
        raise Unavailable("a private dockerd needs root")
    for program in (*Dockerd.NEEDS, "docker", "busybox"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed")
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, dockerd(Path(folder) / "docker") as daemon:
        load_image(daemon)
        there = 0
        for count in counts:
            start_containers(daemon, there, count)
            there = count
            found += measure(daemon, count, everything=count == counts[-1] and not short, patience=0.4 if short else 1)
    return found


def measure(daemon: Dockerd, count: int, *, everything: bool, patience: float = 1) -> list[Figure]:
    """`patience` is the part of the usual times that is waited and watched."""
    pids = daemon_pids(daemon)
    alone = usage_of(pids, lambda: time.sleep(ALONE_S * patience))
    with dashboard(daemon) as terminal:
        terminal.until(b"idle-", START_TIMEOUT_S)
        terminal.watch(SETTLE_S * patience)
        own, asked = usages_of(((terminal.pid,), pids), lambda: terminal.watch(WATCH_S * patience))
        pss = proportional_set_size(terminal.pid)
        delays = key_delays(terminal) if everything else []
    daemons = max(0.0, asked - alone)
    bound = CPU_BOUNDS[count]
    yardsticks = f"; {', '.join(yardstick(daemon, pids, alone))}" if everything else ""
    found = [
        Figure(
            f"dashboard, CPU, {count} idle",
            (own + daemons) / bound,
            1.0,
            f"{own:.2%} of a core and {daemons:.2%} of Docker's, bound {bound:.1%}{yardsticks}",
            wall_time=False,
        )
    ]
    if everything:
        typical, late = statistics.median(delays), sorted(delays)[int(0.95 * len(delays))]
        found += [
            Figure(
                f"dashboard, memory, {count} idle",
                pss / PSS_BOUND,
                1.0,
                f"{pss / 2**20:.1f} MiB (PSS), bound {PSS_BOUND >> 20}",
                wall_time=False,
            ),
            Figure(
                f"dashboard, a key, {count} idle",
                late / KEY_BOUND_S,
                1.0,
                f"{late * 1000:.0f} ms to the redraw (95 of 100; half: {typical * 1000:.0f} ms), "
                f"bound {KEY_BOUND_S * 1000:.0f}",
            ),
        ]
    return found


# the containers


def docker(daemon: Dockerd, *words: str, input: bytes | None = None) -> bytes:
    command = ["docker", "-H", daemon.url, *words]
    return subprocess.run(command, input=input, check=True, capture_output=True, timeout=START_TIMEOUT_S).stdout


def load_image(daemon: Dockerd) -> None:
    docker(daemon, "import", "-", "busybox:latest", input=busybox_rootfs())


def start_containers(daemon: Dockerd, first: int, end: int) -> None:
    def start(number: int) -> None:
        limits = ("--memory", "64m", "--cpus", "1.5", "--pids-limit", "64")
        docker(daemon, "run", "-d", "--name", f"idle-{number}", *limits, "busybox", "sleep", "1000000")

    with ThreadPoolExecutor(START_WORKERS) as pool:
        list(pool.map(start, range(first, end)))


def daemon_pids(daemon: Dockerd) -> tuple[int, ...]:
    """dockerd's and its containerd's."""
    marks = (daemon.folder / "pid", daemon.folder / "exec/containerd/containerd.pid")
    return tuple(int(mark.read_text()) for mark in marks)


# what is measured


@contextmanager
def dashboard(daemon: Dockerd) -> Iterator[Terminal]:
    with in_pty([sys.executable, "-m", "tui"], environ(daemon)) as terminal:
        yield terminal


def environ(daemon: Dockerd) -> Mapping[str, str]:
    """Without settings of the one who measures; what no engine lists is looked for, as everywhere outside of tests."""
    return {
        "DOCKER_HOST": daemon.url,
        "XDG_CONFIG_HOME": str(daemon.folder / "config"),
        "LC_ALL": "C.UTF-8",
        "PYTOP_FOUND": "1",
    }


def cpu_ns(pid: int) -> int:
    """CPU time of a process with all its threads, by its clock (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def usages_of(groups: Sequence[Sequence[int]], wait: Callable[[], None]) -> list[float]:
    """Cores that each group of processes uses while `wait` runs."""
    before = [sum(map(cpu_ns, pids)) for pids in groups]
    started = time.monotonic_ns()
    wait()
    passed = time.monotonic_ns() - started
    return [(sum(map(cpu_ns, pids)) - old) / passed for pids, old in zip(groups, before, strict=True)]


def usage_of(pids: Sequence[int], wait: Callable[[], None]) -> float:
    return usages_of([pids], wait)[0]


def proportional_set_size(pid: int) -> int:
    """Bytes, by proc_pid_smaps_rollup(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def key_delays(terminal: Terminal) -> list[float]:
    """Seconds from a key to the cursor in its new row, at random moments between two sweeps."""
    chance = random.Random(1)
    found = []
    for number in range(KEYS):
        terminal.watch(chance.uniform(0.2, 1.2))
        found.append(terminal.press(MOVES[number % len(MOVES)], CURSOR))
    return found


def yardstick(daemon: Dockerd, pids: Sequence[int], alone: float) -> Iterator[str]:
    """What others use beside the same containers."""
    programs = {"htop": ["htop", "-d", "10"], "docker stats": ["docker", "stats"]}
    for name, command in programs.items():
        if shutil.which(command[0]) is None:
            yield f"{name}: not installed"
            continue
        with in_pty(command, environ(daemon)) as terminal:
            wait_until(functools.partial(exists, terminal.pid))
            terminal.watch(YARDSTICK_S / 2)
            own, asked = usages_of(((terminal.pid,), pids), functools.partial(terminal.watch, YARDSTICK_S))
        yield f"{name}: {own:.2%} and {max(0.0, asked - alone):.2%}"


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
