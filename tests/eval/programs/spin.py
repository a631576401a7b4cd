"""Want CPU: in processes or threads, all the time or for a share of each period, for some seconds or until the limit.

Python's threads hold one lock, so `--threads` uses hashes of large blocks, which are computed without it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import threading
import time

BLOCK = b"x" * (256 << 10)


def spin(duty: float, period: float, until: float) -> None:
    start = time.monotonic()
    while (now := time.monotonic()) < until:
        into = (now - start) % period
        if into < duty * period:
            hashlib.sha256(BLOCK).digest()
        else:
            time.sleep(min(period - into, max(0.0, until - now)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--duty", type=float, default=1.0)
    parser.add_argument("--period", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="of load; then it sleeps until the limit")
    parser.add_argument("--limit", type=float, default=120.0)
    options = parser.parse_args()
    end = time.monotonic() + options.limit
    until = min(end, time.monotonic() + options.seconds) if options.seconds else end
    for _ in range(options.processes - 1):
        if os.fork() == 0:
            break
    arguments = (options.duty, options.period, until)
    workers = [threading.Thread(target=spin, args=arguments, daemon=True) for _ in range(options.threads - 1)]
    for worker in workers:
        worker.start()
    spin(*arguments)
    time.sleep(max(0.0, end - time.monotonic()))


if __name__ == "__main__":
    main()
