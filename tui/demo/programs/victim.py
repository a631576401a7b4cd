"""A service and its own load: requests in an open loop, each timed from the moment it was meant to start.

The server is a child process that does the same work for each request: CPU, random pages of a file, reads from
the disk, a round trip over the network, a child process, or several of these one after the other. The client
sends on a fixed schedule whether or not answers have come back, so that a slow server shows as latency and not as fewer
requests. As a real service does, it sheds what comes when its queue is full. Every report interval one JSON line
goes to stdout:

    {"at": seconds since start, "sent": n, "shed": n, "latency_ms": [each answered request, sorted]}

Run as: python victim.py [--work cpu,pages,disk,network,fork] [--rate 50] [--work-ms 12] [--queue 32] [--report 0.5]
    [--peer ADDRESS:PORT] [--file-mb 24]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import random
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BLOCK = b"x" * 16384
MIB_BYTES = 1024 * 1024
PAGE_BYTES = 4096
CACHED_BYTES = 64 * PAGE_BYTES  # read for a request through the page cache
UNCACHED_BYTES = 8 * PAGE_BYTES  # read for a request past it
DISK_FILE_BYTES = 8 * 1024 * 1024
MESSAGE_BYTES = 1024  # of a round trip, each way
RETRY_S = 0.005  # before a fork or a connection that was refused is tried again
FOLDER = "/pytop-demo-data"  # in the container's own layer


def burn(rounds: int) -> None:
    """A request's work: the same number of instructions each time."""
    for _ in range(rounds):
        hashlib.sha256(BLOCK).digest()


def calibrate(work_ms: float) -> int:
    """Rounds of `burn` that take `work_ms` of CPU on this machine, by the fastest of several tries."""
    best = float("inf")
    for _ in range(20):
        start = time.thread_time()
        burn(20)
        best = min(best, time.thread_time() - start)
    return max(1, round(work_ms / 1000 / (best / 20)))


def make_file(name: str, size_mb: int) -> str:
    """A file with contents in the container's own layer, its path; what it left in the page cache is clean."""
    Path(FOLDER).mkdir(exist_ok=True)
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as stream:
        for _ in range(size_mb):
            stream.write(os.urandom(1024) * 1024)
        stream.flush()
        os.fsync(stream.fileno())
    return path


def cpu_work(options: argparse.Namespace) -> Callable[[], None]:
    """Burn the same amount of CPU each time."""
    rounds = calibrate(options.work_ms)
    return lambda: burn(rounds)


def pages_work(options: argparse.Namespace) -> Callable[[], None]:
    """Read random pages of a file that fits into the page cache, as an index or a database does."""
    fd = os.open(make_file("index", options.file_mb), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    pages = options.file_mb * 1024 * 1024 // PAGE_BYTES

    def work() -> None:
        for _ in range(CACHED_BYTES // PAGE_BYTES):
            os.pread(fd, PAGE_BYTES, random.randrange(pages) * PAGE_BYTES)

    for page in range(pages):
        os.pread(fd, PAGE_BYTES, page * PAGE_BYTES)
    return work


def disk_work(_: argparse.Namespace) -> Callable[[], None]:
    """Read some pages past the page cache, as a database with a cache of its own does."""
    fd = os.open(make_file("table", DISK_FILE_BYTES // MIB_BYTES), os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, PAGE_BYTES)  # O_DIRECT wants an aligned buffer
    pages = DISK_FILE_BYTES // PAGE_BYTES

    def work() -> None:
        for _ in range(UNCACHED_BYTES // PAGE_BYTES):
            os.preadv(fd, [buffer], random.randrange(pages) * PAGE_BYTES)

    return work


def network_work(options: argparse.Namespace) -> Callable[[], None]:
    """Send a message to the peer and wait for it to come back."""
    host, _, port = options.peer.rpartition(":")
    message = b"x" * MESSAGE_BYTES
    while True:
        try:
            connection = socket.create_connection((host, int(port)), timeout=2)
            break
        except OSError:
            time.sleep(RETRY_S)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def work() -> None:
        connection.sendall(message)
        left = MESSAGE_BYTES
        while left:
            data = connection.recv(left)
            if not data:
                raise SystemExit("the peer has closed the connection")
            left -= len(data)

    return work


def fork_work(_: argparse.Namespace) -> Callable[[], None]:
    """Start a child and wait for its end, as a shell script or a CGI does; a fork that is refused is tried again."""

    def work() -> None:
        while True:
            try:
                child = os.fork()
                break
            except BlockingIOError:
                time.sleep(RETRY_S)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    return work


WORKS = {"cpu": cpu_work, "pages": pages_work, "disk": disk_work, "network": network_work, "fork": fork_work}


def serve(connection: socket.socket, works: Sequence[Callable[[], None]]) -> None:
    """Say that the work can begin, then answer each byte with a byte after the work is done, in order."""
    connection.sendall(b".")
    while True:
        request = connection.recv(1)
        if not request:
            return
        for work in works:
            work()
        connection.sendall(request)


def drive(connection: socket.socket, rate: float, queue: int, report: float) -> None:
    """Send on schedule, take answers in order, report; ends when the server is gone."""
    start = time.monotonic()
    interval = 1.0 / rate
    next_send, next_report = start + interval, start + report
    waiting: list[float] = []  # intended start of each request not yet answered, oldest first
    latencies: list[float] = []
    sent = shed = 0
    while True:
        now = time.monotonic()
        while now >= next_send:
            sent += 1
            if len(waiting) < queue:
                connection.sendall(b".")
                waiting.append(next_send)
            else:
                shed += 1
            next_send += interval
        if now >= next_report:
            latencies.sort()
            line = {
                "at": round(now - start, 3),
                "sent": sent,
                "shed": shed,
                "latency_ms": [round(value * 1000, 2) for value in latencies],
            }
            sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
            sys.stdout.flush()
            latencies, sent, shed = [], 0, 0
            next_report += report * max(1, int((now - next_report) / report) + 1)
        timeout = max(0.0, min(next_send, next_report) - time.monotonic())
        if not select.select([connection], [], [], timeout)[0]:
            continue
        answers = connection.recv(4096)
        if not answers:
            return
        now = time.monotonic()
        latencies.extend(now - intended for intended in waiting[: len(answers)])
        del waiting[: len(answers)]


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", default="cpu")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--work-ms", type=float, default=12.0)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--report", type=float, default=0.5)
    parser.add_argument("--peer", default="127.0.0.1:7777")
    parser.add_argument("--file-mb", type=int, default=24)
    options = parser.parse_args()
    client, server = socket.socketpair()
    if os.fork() == 0:
        client.close()
        serve(server, [WORKS[name](options) for name in options.work.split(",")])
        os._exit(0)
    server.close()
    if client.recv(1):
        drive(client, options.rate, options.queue, options.report)


if __name__ == "__main__":
    main()
