"""A service and its own load: requests in an open loop, each timed from the moment it was meant to start.

The server is a child process that burns a fixed amount of CPU per request. The client sends on a fixed schedule
whether or not answers have come back, so that a slow server shows as latency and not as fewer
requests. As a real service does, it sheds what comes when its queue is full. Every report interval one JSON line
goes to stdout:

    {"at": seconds since start, "sent": n, "shed": n, "latency_ms": [each answered request, sorted]}

Run as: python victim.py [--rate 50] [--work-ms 12] [--queue 32] [--report 0.5]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import select
import socket
import sys
import time

BLOCK = b"x" * 16384


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


def serve(connection: socket.socket, rounds: int) -> None:
    """Answer each byte with a byte after the work is done, in order."""
    while True:
        request = connection.recv(1)
        if not request:
            return
        burn(rounds)
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
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--work-ms", type=float, default=12.0)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--report", type=float, default=0.5)
    options = parser.parse_args()
    rounds = calibrate(options.work_ms)
    client, server = socket.socketpair()
    if os.fork() == 0:
        client.close()
        serve(server, rounds)
        os._exit(0)
    server.close()
    drive(client, options.rate, options.queue, options.report)


if __name__ == "__main__":
    main()
