"""Hold memory: grows to a size at a rate and goes on writing to all of it."""

from __future__ import annotations

import argparse
import mmap
import time

STEP_BYTES = 1 << 20
PAGE_BYTES = 4096
ROUND_S = 1.0  # in which everything is written to once


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size-mb", type=int, required=True)
    parser.add_argument("--rate-mb", type=float, default=200.0, help="per second, while it grows")
    parser.add_argument("--limit", type=float, default=120.0)
    options = parser.parse_args()
    until = time.monotonic() + options.limit
    held = mmap.mmap(-1, options.size_mb << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for megabyte in range(options.size_mb):
        touch(held, megabyte)
        time.sleep(1 / options.rate_mb)
    while time.monotonic() < until:
        for megabyte in range(options.size_mb):
            touch(held, megabyte)
            time.sleep(ROUND_S / options.size_mb)


def touch(held: mmap.mmap, megabyte: int) -> None:
    start = megabyte * STEP_BYTES
    for page in range(start, start + STEP_BYTES, PAGE_BYTES):
        held[page] = 1


if __name__ == "__main__":
    main()
