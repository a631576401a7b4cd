"""The first file system of a guest: busybox, the modules that mount the host's root, and a script; written as cpio.

Format: "newc" of Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.guest.kernel import Kernel

MODULES: Final = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio-rng", "virtio_blk", "crc32c_generic", "ext4")
INIT: Final = Path(__file__).with_name("init.sh")


def write(target: Path, kernel: Kernel) -> None:
    """Write an uncompressed archive; the kernel takes that too, and it costs a slow guest nothing to unpack."""
    order = load_order(kernel.modules / "modules.dep", MODULES)
    listing = "".join(f"/modules/{Path(path).name}\n" for path in order)
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    with target.open("wb") as out:
        number = 0
        for name in ("bin", "dev", "proc", "sys", "modules", "lower", "memory", "new"):
            number += 1
            out.write(_entry(name, b"", stat.S_IFDIR | 0o755, number))
        files = {
            "init": INIT.read_bytes(),
            "bin/busybox": busybox.read_bytes(),
            "modules/order": listing.encode(),
            **{f"modules/{Path(path).name}": (kernel.modules / path).read_bytes() for path in order},
        }
        for name, data in files.items():
            number += 1
            out.write(_entry(name, data, stat.S_IFREG | 0o755, number))
        out.write(_entry("TRAILER!!!", b"", 0, 0))


def load_order(modules_dep: Path, wanted: Iterable[str]) -> list[str]:
    """Paths of modules, each after those that it needs. A module that is built in is left out."""
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in modules_dep.read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[Path(path).name.partition(".")[0].replace("-", "_")] = path
    order: list[str] = []

    def add(path: str) -> None:
        if path not in order:
            for other in needs[path]:
                add(other)
            order.append(path)

    for name in wanted:
        path = by_name.get(name.replace("-", "_"))
        if path is not None:
            add(path)
    return order


def _entry(name: str, data: bytes, mode: int, inode: int) -> bytes:
    head = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(head), 0)
    return b"".join(_aligned((b"070701" + b"".join(b"%08X" % number for number in numbers) + head, data)))


def _aligned(parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield part
        yield b"\0" * (-len(part) % 4)
