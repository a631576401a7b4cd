"""Loop devices: a file as a block device, which the kernel frees by itself when it is unmounted.

Source: loop(4); linux/loop.h (LOOP_CONFIGURE, kernel 5.8).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.errors import KernelError

CONTROL: Final = Path("/dev/loop-control")
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LO_FLAGS_AUTOCLEAR: Final = 4
_FLAGS_OFFSET_BYTES: Final = 8 + 5 * 8 + 3 * 4  # in struct loop_config: fd, block size, then struct loop_info64
_CONFIG_BYTES: Final = 304
_MAX_ATTEMPTS: Final = 64


@contextmanager
def attached(image: Path) -> Iterator[Path]:
    """The path of a loop device of the file; mount it inside the block: afterwards only the mount holds it.

    Raises `KernelError` where there is no loop device.
    """
    title = f"use {image.name} as a disk"
    try:
        backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        try:
            path, device = _configured(backing)
        finally:
            os.close(backing)
    except OSError as error:
        hint = (
            "It needs loop devices: modprobe loop" if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO) else ""
        )
        raise KernelError.from_os(title, error, hint=hint) from error
    try:
        yield path
    finally:
        os.close(device)


def _configured(backing: int) -> tuple[Path, int]:
    """A free loop device of the file. Another process may be faster with it: then the next one is tried."""
    config = bytearray(_CONFIG_BYTES)
    struct.pack_into("=I", config, 0, backing)
    struct.pack_into("=I", config, _FLAGS_OFFSET_BYTES, _LO_FLAGS_AUTOCLEAR)
    for _ in range(_MAX_ATTEMPTS):
        control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            path = Path(f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}")
        finally:
            os.close(control)
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(config))
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:
                raise
        else:
            return path, device
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(CONTROL))
