"""Take memory step by step until the kernel ends it, or until a bound.

Run as: python filler.py [--most-mb 256] [--step-mb 2] [--pause 0.1]
"""

from __future__ import annotations

import argparse
import time

MIB_BYTES = 1024 * 1024


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most-mb", type=int, default=256)
    parser.add_argument("--step-mb", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.1)
    options = parser.parse_args()
    held: list[bytearray] = []
    while True:
        if len(held) * options.step_mb < options.most_mb:
            held.append(bytearray(b"x") * (options.step_mb * MIB_BYTES))  # written, so that it is really there
        time.sleep(options.pause)


if __name__ == "__main__":
    main()
