"""Start children as fast as a bound allows; each lives for a moment. It takes every task that it can get.

Bounded: never more than `--most` children at once, whatever the container's and its parent's limits are, and a
pause after each.

Run as: python fork_bomb.py [--most 200] [--life 0.5]
"""

from __future__ import annotations

import argparse
import os
import time

PAUSE_S = 0.0005


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--life", type=float, default=0.5)
    options = parser.parse_args()
    alive = 0
    while True:
        time.sleep(PAUSE_S)
        while alive and os.waitpid(-1, os.WNOHANG)[0]:
            alive -= 1
        if alive >= options.most:
            continue
        try:
            child = os.fork()
        except BlockingIOError:  # a limit of tasks
            continue
        if child == 0:
            time.sleep(options.life)
            os._exit(0)
        alive += 1


if __name__ == "__main__":
    main()
