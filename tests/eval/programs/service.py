"""A service under an open loop of requests, each timed from its intended start; what the queue cannot hold is shed.

One line of JSON goes to stdout every report interval, as those of `tui/demo/programs/victim.py`:

    {"at": seconds since start, "sent": n, "shed": n, "latency_ms": [each answered request, sorted]}

What a request does: `cpu` a fixed number of rounds of a hash; `file` reads some pages of a mapped file;
`disk` reads 4 KiB past the page cache; `net` asks a peer over TCP and waits for its answer; `fork` starts a process and
waits for its end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

BLOCK = b"x" * 16384
PART_BYTES = 1 << 20  # in which a file is written
PAGE_BYTES = 4096
PAGES = 200  # that one request of `file` reads
DISK_BYTES = 4096
ANSWER_BYTES = 2000
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0


def burn(rounds: int) -> None:
    """The same number of instructions each time."""
    for _ in range(rounds):
        hashlib.sha256(BLOCK).digest()


def calibrate(work_ms: float) -> int:
    """Rounds of `burn` that take `work_ms` of CPU, by the fastest of several tries."""
    best = float("inf")
    for _ in range(20):
        start = time.thread_time()
        burn(10)
        best = min(best, time.thread_time() - start)
    return max(1, round(work_ms / 1000 / (best / 10)))


def filled(path: Path, size: int) -> Path:
    """The file, made with that size where it is missing."""
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb") as file:
            for _ in range(size // PART_BYTES):
                file.write(os.urandom(4096) * (PART_BYTES // 4096))
            file.flush()
            os.fsync(file.fileno())
    return path


def cpu(rounds: int) -> Callable[[], None]:
    return lambda: burn(rounds)


def file(path: Path, size: int, rounds: int) -> Callable[[], None]:
    """Pages anywhere in the file, each by a fault of its own: without readahead the kernel reads those alone."""
    with filled(path, size).open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), size, prot=mmap.PROT_READ)
    for at in range(0, size, PAGE_BYTES):  # read once, so that all of it is in the page cache
        mapped[at]
    mapped.madvise(mmap.MADV_RANDOM)

    def request() -> None:
        for _ in range(PAGES):
            mapped[random.randrange(size // PAGE_BYTES) * PAGE_BYTES]
        burn(rounds)

    return request


def disk(path: Path, size: int, rounds: int) -> Callable[[], None]:
    descriptor = os.open(filled(path, size), os.O_RDONLY | os.O_DIRECT)
    aligned = mmap.mmap(-1, DISK_BYTES)

    def request() -> None:
        os.preadv(descriptor, [aligned], random.randrange(size // DISK_BYTES) * DISK_BYTES)
        burn(rounds)

    return request


def net(address: str, port: int, rounds: int) -> Callable[[], None]:
    connection = socket.create_connection((address, port), CONNECT_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(ANSWER_TIMEOUT_S)
    question = b"q" * ANSWER_BYTES

    def request() -> None:
        connection.sendall(question)
        missing = ANSWER_BYTES
        while missing:
            missing -= len(connection.recv(missing)) or missing
        burn(rounds)

    return request


def fork(rounds: int) -> Callable[[], None]:
    def request() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        burn(rounds)

    return request


def spin_beside(processes: int, until: float) -> None:
    """Processes of this same container that want all the CPU they can get."""
    for _ in range(processes):
        if os.fork() == 0:
            while time.monotonic() < until:
                burn(100)
            os._exit(0)


def drive(request: Callable[[], None], rate: float, queue: int, report: float, until: float) -> None:
    """Requests on schedule, one after the other; reports until the time is over."""
    start = time.monotonic()
    due, next_report = start, start + report
    latencies: list[float] = []
    sent = shed = 0
    while (now := time.monotonic()) < until:
        if now >= next_report:
            latencies.sort()
            line = {"at": round(now - start, 3), "sent": sent, "shed": shed, "latency_ms": latencies}
            sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
            sys.stdout.flush()
            latencies, sent, shed = [], 0, 0
            next_report += report * max(1, int((now - next_report) / report) + 1)
        if now < due:
            time.sleep(min(due, next_report) - now if min(due, next_report) > now else 0)
            continue
        late = max(0, int((now - due) * rate) - queue)
        sent += late + 1
        shed += late
        due += late / rate
        try:
            request()
            latencies.append(round((time.monotonic() - due) * 1000, 2))
        except TimeoutError:
            shed += 1
        due += 1 / rate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("cpu", "file", "disk", "net", "fork"))
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--work-ms", type=float, default=10.0)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--report", type=float, default=0.5)
    parser.add_argument("--spinners", type=int, default=0)
    parser.add_argument("--path", type=Path, default=Path("/var/tmp/data"))
    parser.add_argument("--size-mb", type=int, default=64)
    parser.add_argument("--address", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--limit", type=float, default=120.0)
    options = parser.parse_args()
    until = time.monotonic() + options.limit
    rounds = calibrate(options.work_ms)
    size = options.size_mb << 20
    requests: dict[str, Callable[[], Callable[[], None]]] = {
        "cpu": lambda: cpu(rounds),
        "file": lambda: file(options.path, size, rounds),
        "disk": lambda: disk(options.path, size, rounds),
        "net": lambda: net(options.address, options.port, rounds),
        "fork": lambda: fork(rounds),
    }
    spin_beside(options.spinners, until)
    drive(requests[options.kind](), options.rate, options.queue, options.report, until)


if __name__ == "__main__":
    main()
