"""Use a disk or the page cache: reads or writes a file of its own over and over, in threads.

`--direct` goes past the page cache. `--cached` writes and cuts the file off again before the kernel writes it to the
disk, so that the page cache grows and shrinks and the disk has little to do.
"""

from __future__ import annotations

import argparse
import mmap
import os
import threading
import time
from pathlib import Path

BLOCK_BYTES = 1 << 20


def fill(path: Path, size: int) -> None:
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb") as file:
            for _ in range(size // BLOCK_BYTES):
                file.write(os.urandom(4096) * (BLOCK_BYTES // 4096))
            file.flush()
            os.fsync(file.fileno())


def use(path: Path, size: int, options: argparse.Namespace, until: float) -> None:
    flags = (os.O_RDWR if options.write else os.O_RDONLY) | (os.O_DIRECT if options.direct else 0)
    descriptor = os.open(path, flags)
    block = mmap.mmap(-1, options.block_kb << 10)
    blocks = size // len(block)
    number = 0
    while time.monotonic() < until:
        at = (number % blocks) * len(block)
        if options.write:
            os.pwritev(descriptor, [block], at)
        else:
            os.preadv(descriptor, [block], at)
        number += 1
        if options.cached and number % blocks == 0:
            os.ftruncate(descriptor, 0)
        if options.rate_mb:
            time.sleep(len(block) / (1 << 20) / options.rate_mb)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", type=Path, default=Path("/var/tmp/load"))
    parser.add_argument("--size-mb", type=int, default=64)
    parser.add_argument("--block-kb", type=int, default=1024)
    parser.add_argument("--rate-mb", type=float, default=0.0, help="per second and thread; 0 is as fast as it goes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--cached", action="store_true")
    parser.add_argument("--limit", type=float, default=120.0)
    options = parser.parse_args()
    until = time.monotonic() + options.limit
    size = options.size_mb << 20
    fill(options.path, size)
    workers = [
        threading.Thread(target=use, args=(options.path, size, options, until), daemon=True)
        for _ in range(options.threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
