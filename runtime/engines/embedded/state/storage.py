"""A bound for what a container may write: its writable layer has a size. Without one it can fill the host's disk.

It is held in one of two ways, whichever the file system of the state directory offers, in this order:

- a project quota, where it is mounted with `prjquota`: the layer's directories are a project with a limit;
- a loop image: the layer is an ext4 file system in a sparse file in the container's directory, made at creation and
  mounted while the container runs. On the host the file takes what is written, up to the size.

Inside, df(1) shows the size, and a write beyond it is ENOSPC (with a quota of ext4 EDQUOT).

The image is mounted on `EmbeddedConfig.layer`, before init is cloned, and unmounted when the container's cgroup is
removed. A mount that a killed shim has left is used by the next start, or removed with the container; the loop device
goes with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.errors import InvalidError, KernelError, UnsupportedError
from runtime.kernel import loop, project_quota, syscalls
from runtime.kernel.filesystems import naming

QUOTA: Final = "project quota"
IMAGE: Final = "loop image"
MIN_BYTES: Final = 4 << 20
"""The smallest size: below it the tables of the file system leave next to nothing."""
LAYER: Final = ("upper", "work", "root")
"""Directories of a container's overlay beside its image; `root` is its mount point, in its mount namespace."""
_MKFS: Final = "mkfs.ext4"
_OPTIONS: Final = ("-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0")
_BLOCK_BYTES: Final = 512  # of st_blocks (stat(2))
_MKFS_TIMEOUT_S: Final = 60.0
_SEARCHED: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def check(state: Path, size_bytes: int) -> None:
    """Raise `InvalidError` for a size that cannot be, `UnsupportedError` where this host offers no way to hold it."""
    if size_bytes == 0:
        return
    title = f"bound the container's writable layer to {size_bytes} bytes"
    if size_bytes < MIN_BYTES:
        raise InvalidError(
            title, detail="that is less than a file system takes for itself", hint=f"Give at least {MIN_BYTES >> 20}m"
        )
    if project_quota.enforced(state):
        return
    if shutil.which(_MKFS, path=_SEARCHED) is None:
        raise UnsupportedError(title, detail=f"{_MKFS} is not installed", hint="Install e2fsprogs")
    if not loop.CONTROL.exists():
        raise UnsupportedError(title, detail=f"there is no {loop.CONTROL}", hint="Load the module: modprobe loop")


def make_layer(config: EmbeddedConfig, record: ContainerRecord) -> None:
    """Make the container's layer. Raises `OSError` or `PytopError`."""
    data = config.data(record.id)
    size = record.spec.storage_bytes
    if size and not project_quota.enforced(data):
        config.layer(record.id).mkdir(mode=0o700)
        _make_open(data / "root")
        _make_image(config.layer_image(record.id), size)
        return
    for name in LAYER:
        _make_open(data / name)
    if size:
        project_quota.bound((data / "upper", data / "work"), size, int(record.id[:8], 16))


def _make_open(directory: Path) -> None:
    """A directory that the container's users may enter, whatever the umask is."""
    directory.mkdir(mode=0o755, exist_ok=True)
    directory.chmod(0o755)


def _make_image(path: Path, size_bytes: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with naming(path):
            os.ftruncate(fd, size_bytes)
    finally:
        os.close(fd)
    program = shutil.which(_MKFS, path=_SEARCHED) or _MKFS
    try:
        subprocess.run(
            [program, *_OPTIONS, str(path)],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_MKFS_TIMEOUT_S,
        )
    except subprocess.SubprocessError as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        title = "make a file system for the container's writable layer"
        raise KernelError(title, detail=said, path=str(path)) from error


def directory(config: EmbeddedConfig, container_id: str) -> Path:
    """The directory that `upper` and `work` are in, while the container runs."""
    return config.layer(container_id) if config.layer_image(container_id).exists() else config.data(container_id)


def attach(config: EmbeddedConfig, record: ContainerRecord) -> Path:
    """Mount the layer, if it is a file system of its own; the directory that `upper` and `work` are in.

    Raises `KernelError`.
    """
    layer = directory(config, record.id)
    if not record.spec.storage_bytes or layer == config.data(record.id):
        return layer
    if not os.path.ismount(layer):
        with loop.attached(config.layer_image(record.id)) as device, ExitStack() as opened:
            try:
                mount = syscalls.new_mount("ext4", {"source": str(device)}, syscalls.ATTR_NODEV | syscalls.ATTR_NOSUID)
                opened.callback(os.close, mount)
                target = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, target)
                syscalls.move_mount(mount, target)
            except OSError as error:
                title = "mount the container's writable layer"
                raise KernelError.from_os(title, error, path=str(config.layer_image(record.id))) from error
    for name in ("upper", "work"):
        _make_open(layer / name)
    return layer


def detach(config: EmbeddedConfig, container_id: str) -> None:
    """Unmount the layer if it is mounted; the loop device is freed with the last mount namespace that has it."""
    layer = config.layer(container_id)
    while os.path.ismount(layer):
        try:
            syscalls.unmount(str(layer), syscalls.MNT_DETACH)
        except OSError as error:
            raise KernelError.from_os("unmount the container's writable layer", error, path=str(layer)) from error


def free(config: EmbeddedConfig, container_id: str) -> None:
    """Let go of what holds the size, before the container's directory is removed. Idempotent."""
    detach(config, container_id)
    with suppress(OSError):  # no such directory, or a file system without projects
        project_quota.lift(config.data(container_id) / "upper")


def usage(config: EmbeddedConfig, record: ContainerRecord) -> dict[str, Any] | None:
    """For `inspect`: the size, how it is held, and what is used of it; None for a layer without a bound.

    Bytes used are those of the project or of the mounted file system, else what its file takes on the disk; None
    where that cannot be read.
    """
    if not record.spec.storage_bytes:
        return None
    image, layer = config.layer_image(record.id), config.layer(record.id)
    way = IMAGE if image.exists() else QUOTA
    used: int | None = None
    with suppress(OSError):
        if way == QUOTA:
            used = project_quota.use(config.data(record.id) / "upper").used
        elif os.path.ismount(layer):
            found = os.statvfs(layer)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
        else:
            used = image.stat().st_blocks * _BLOCK_BYTES
    return {"limit_bytes": record.spec.storage_bytes, "way": way, "used_bytes": used}
