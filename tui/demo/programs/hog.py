"""Burn CPU in a number of processes until killed: a batch job without a limit.

Run as: python hog.py [processes]
"""

from __future__ import annotations

import os
import signal
import sys


def burn() -> None:
    """Never returns."""
    number = 1
    while True:
        number = (number * 1103515245 + 12345) & 0x7FFFFFFF


def main() -> None:
    """Run until killed."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for _ in range(processes - 1):
        if os.fork() == 0:
            burn()
    burn()


if __name__ == "__main__":
    main()
