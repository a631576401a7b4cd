"""A quiet neighbour: holds a little memory, wakes ten times a second and does next to nothing."""

from __future__ import annotations

import time


def main() -> None:
    """Run until killed."""
    held = bytearray(16 * 1024 * 1024)
    turn = 0
    while True:
        held[turn % len(held)] = turn & 0xFF
        turn += 4096
        time.sleep(0.1)


if __name__ == "__main__":
    main()
