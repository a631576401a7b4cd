"""Start short processes, as a build or a broken script does: each of some workers forks and waits, over and over.

At most `--workers` times two processes exist at any moment.
"""

from __future__ import annotations

import argparse
import os
import time


def churn(rate: float, until: float) -> None:
    due = time.monotonic()
    while time.monotonic() < until:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        if rate:
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.0, help="per second and worker; 0 is as fast as it goes")
    parser.add_argument("--limit", type=float, default=120.0)
    options = parser.parse_args()
    until = time.monotonic() + options.limit
    for _ in range(options.workers - 1):
        if os.fork() == 0:
            break
    churn(options.rate, until)


if __name__ == "__main__":
    main()
