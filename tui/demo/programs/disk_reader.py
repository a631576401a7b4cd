"""Read from the disk past the page cache with several processes, as a backup does: the disk's queue is always full.

It reads, since that wears no disk out. Bounded: the file's size in the container's own layer, which is read over and
over.

Run as: python disk_reader.py [--readers 8] [--file-mb 64]
"""

from __future__ import annotations

import argparse
import mmap
import os
from pathlib import Path

FOLDER = "/pytop-demo-data"
BLOCK_BYTES = 1024 * 1024


def read(fd: int, first: int, blocks: int) -> None:
    """Never returns."""
    buffer = mmap.mmap(-1, BLOCK_BYTES)  # O_DIRECT wants an aligned buffer
    number = first
    while True:
        os.preadv(fd, [buffer], number % blocks * BLOCK_BYTES)
        number += 1


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--file-mb", type=int, default=64)
    options = parser.parse_args()
    Path(FOLDER).mkdir(exist_ok=True)
    fd = os.open(os.path.join(FOLDER, "archive"), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_DIRECT, 0o600)
    block = mmap.mmap(-1, BLOCK_BYTES)
    for number in range(options.file_mb):
        os.pwrite(fd, block, number * BLOCK_BYTES)
    for number in range(1, options.readers):
        if os.fork() == 0:
            read(fd, number * options.file_mb // options.readers, options.file_mb)
    read(fd, 0, options.file_mb)


if __name__ == "__main__":
    main()
