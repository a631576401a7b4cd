"""Read a file through again and again, as a backup or a scan does: it fills the page cache that it shares with others.

Each block is read twice, so that the kernel takes it for one that is used. Bounded: the file's size, in the container's
own layer.

Run as: python cache_reader.py [--file-mb 384]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

FOLDER = "/pytop-demo-data"
BLOCK_BYTES = 1024 * 1024


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--file-mb", type=int, default=384)
    options = parser.parse_args()
    Path(FOLDER).mkdir(exist_ok=True)
    fd = os.open(os.path.join(FOLDER, "scanned"), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    block = bytes(BLOCK_BYTES)
    for _ in range(options.file_mb):
        os.write(fd, block)
    os.fsync(fd)
    while True:
        for number in range(options.file_mb):
            os.pread(fd, BLOCK_BYTES, number * BLOCK_BYTES)
            os.pread(fd, BLOCK_BYTES, number * BLOCK_BYTES)


if __name__ == "__main__":
    main()
