"""A container's root file system, mounted by its init in a new mount namespace.

No path is followed that the image could have changed: every target is opened with openat2(RESOLVE_IN_ROOT,
NO_MAGICLINKS), the engine's own mount points also with NO_SYMLINKS, and mounts are attached by descriptor. Masks come
from a /dev/null whose device number was checked by descriptor. This prevents CVE-2024-21626, 2025-31133, 2025-52565,
2025-52881 and 2026-41579, each of which has a test.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.engines.embedded.sandbox import bind_targets
from runtime.errors import InvalidError, KernelError
from runtime.kernel import syscalls
from runtime.kernel.safe_open import BarredDeviceError, make_directories, open_inside, open_without_symlinks
from runtime.kernel.syscalls import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY
from runtime.model import Bind
from runtime.oci.defaults import MASKED_PATHS, READ_ONLY_PATHS

_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_SAFE = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC
_SYSTEM = (*bind_targets.SYSTEM, "dev/pts", "dev/shm", "dev/mqueue")
_NULL = os.makedev(1, 3)


@dataclass(frozen=True, slots=True)
class CgroupView:
    """The mounts of /sys/fs/cgroup: v1 hierarchies as (directory name, controllers), and the unified tree."""

    v1: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unified: str | None = None  # below /sys/fs/cgroup; "" for a pure v2 host


@dataclass(frozen=True, slots=True)
class RootLayout:
    """An overlay root and its binds. `upper` and `work` are on one file system; `point` is the mount point."""

    lower: Path
    upper: Path
    work: Path
    point: Path
    binds: tuple[Bind, ...]
    read_only: bool = False


def mount_root(layout: RootLayout) -> int:
    """Mount the overlay with /proc, /sys, /dev and the binds; returns a descriptor of the root, before pivot_root."""
    syscalls.mount_flags("/", syscalls.MS_REC | syscalls.MS_PRIVATE)
    options = {"lowerdir": str(layout.lower), "upperdir": str(layout.upper), "workdir": str(layout.work)}
    try:
        mount = syscalls.new_mount("overlay", options)
    except OSError as error:
        hint = f"The file system of {layout.upper} may not be able to hold a writable layer (overlay, NFS); use another"
        raise KernelError.from_os("mount the container's writable layer", error, hint=hint) from error
    point = os.open(layout.point, os.O_PATH | os.O_CLOEXEC)
    syscalls.move_mount(mount, point)
    os.close(point)
    os.close(mount)
    root = os.open(layout.point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _system(root)
    forbidden = _devices(root)
    for bind in layout.binds:
        _bind(root, bind, forbidden)
    if layout.read_only:
        syscalls.set_mount_attributes(root, ATTR_RDONLY)
    return root


def _system(root: int) -> None:
    """Mount new /proc, /sys and /dev."""
    _attach(root, "proc", syscalls.new_mount("proc", {}, _SAFE))
    _attach(root, "sys", syscalls.new_mount("sysfs", {}, _SAFE | ATTR_RDONLY))
    dev = syscalls.new_mount("tmpfs", {"mode": "755", "size": "65536k"}, ATTR_NOSUID | ATTR_NOEXEC)
    previous = os.umask(0)
    try:
        for name, (major, minor) in _NODES.items():
            os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), dir_fd=dev)
        for name, target in _LINKS.items():
            os.symlink(target, name, dir_fd=dev)
        os.symlink("pts/ptmx", "ptmx", dir_fd=dev)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=dev)
    finally:
        os.umask(previous)
    _attach(root, "dev", dev)
    pts = {"newinstance": "", "ptmxmode": "0666", "mode": "0620", "gid": "5"}
    _attach(root, "dev/pts", syscalls.new_mount("devpts", pts, ATTR_NOSUID | ATTR_NOEXEC))
    _attach(root, "dev/shm", syscalls.new_mount("tmpfs", {"mode": "1777", "size": "65536k"}, _SAFE))
    try:
        queue = syscalls.new_mount("mqueue", {}, _SAFE)
    except OSError as error:
        if error.errno != errno.ENODEV:  # a kernel without POSIX message queues
            raise
    else:
        _attach(root, "dev/mqueue", queue)


def _devices(root: int) -> frozenset[int]:
    """The device numbers of the file systems that `_system` has mounted; no bind target may be on one of them."""
    devices = set()
    for path in _SYSTEM:
        fd = _existing(root, path)
        if fd is not None:
            devices.add(os.fstat(fd).st_dev)
            os.close(fd)
    return frozenset(devices)


def _check_target(root: int, target: int, path: str, forbidden: frozenset[int]) -> None:
    """Raise `InvalidError` for a target that is the root or is in one of the engine's own file systems."""
    status = os.fstat(target)
    if status.st_dev in forbidden or os.path.samestat(status, os.fstat(root)):
        raise bind_targets.refusal(path)


def mount_cgroups(root: int, view: CgroupView) -> None:
    """Mount /sys/fs/cgroup read-only, as seen from the container's cgroup namespace."""
    attributes = _SAFE | ATTR_RDONLY
    if view.unified == "":
        _attach(root, "sys/fs/cgroup", syscalls.new_mount("cgroup2", {}, attributes))
        return
    base = syscalls.new_mount("tmpfs", {"mode": "755", "size": "64k"}, _SAFE)
    for name, _ in view.v1:
        os.mkdir(name, 0o755, dir_fd=base)
    if view.unified:
        os.mkdir(view.unified, 0o755, dir_fd=base)
    _attach(root, "sys/fs/cgroup", base, keep=True)
    for name, controllers in view.v1:
        mount = syscalls.new_mount("cgroup", dict.fromkeys(controllers, ""), attributes)
        _attach(root, f"sys/fs/cgroup/{name}", mount)
    if view.unified:
        _attach(root, f"sys/fs/cgroup/{view.unified}", syscalls.new_mount("cgroup2", {}, attributes))
    syscalls.set_mount_attributes(base, ATTR_RDONLY)
    os.close(base)


def mask(root: int, *, masked: Sequence[str] = MASKED_PATHS, read_only: Sequence[str] = READ_ONLY_PATHS) -> None:
    """Mask paths that reveal or control the host; those that this kernel does not have are skipped."""
    null = open_without_symlinks(root, "dev/null", os.O_PATH)
    check_null(null)
    for path in masked:
        target = _existing(root, path)
        if target is None:
            continue
        if stat.S_ISDIR(os.fstat(target).st_mode):
            cover = syscalls.new_mount("tmpfs", {"mode": "555", "size": "4k"}, _SAFE | ATTR_RDONLY)
        else:
            cover = syscalls.open_tree("", directory=null)
        syscalls.move_mount(cover, target)
        os.close(cover)
        os.close(target)
    for path in read_only:
        target = _existing(root, path)
        if target is not None:
            cover = syscalls.open_tree("", directory=target, recursive=True)
            syscalls.set_mount_attributes(cover, ATTR_RDONLY | _SAFE, recursive=True)
            syscalls.move_mount(cover, target)
            os.close(cover)
            os.close(target)
    os.close(null)


def check_null(fd: int) -> None:
    """Raise `KernelError` unless it is the null device (CVE-2025-31133: another file would not mask anything)."""
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL:
        raise KernelError("mask the host's files", detail="the container's /dev/null is not the null device")


def enter(root: int) -> None:
    """Make `root` the root of this mount namespace and unmount the old one."""
    os.fchdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.unmount(".", syscalls.MNT_DETACH)
    os.chdir("/")
    os.close(root)


def _attach(root: int, path: str, mount: int, *, keep: bool = False) -> None:
    """Attach one of the engine's own mounts; its mount point may not be a symlink of the image."""
    try:
        target = open_without_symlinks(root, path, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise InvalidError(
                f"The image's /{path} is not a plain directory", detail="its container is unsafe"
            ) from error
        if error.errno != errno.ENOENT:
            raise
        target = make_directories(root, path)
    syscalls.move_mount(mount, target)
    os.close(target)
    if not keep:
        os.close(mount)


def _bind(root: int, bind: Bind, forbidden: frozenset[int]) -> None:
    try:
        mount = syscalls.open_tree(bind.source, recursive=True)
    except OSError as error:
        raise InvalidError.from_os(
            f"{bind.source} cannot be shown in the container", error, path=bind.source
        ) from error
    # no_new_privs forbids set-uid; nosuid lets a program with file capabilities (ping) start without them
    attributes = ATTR_NOSUID | (ATTR_RDONLY if bind.read_only else 0)
    syscalls.set_mount_attributes(mount, attributes, recursive=True)
    try:
        target = open_inside(root, bind.target, os.O_PATH)
    except FileNotFoundError:
        target = _make_target(root, bind.target, forbidden, directory=stat.S_ISDIR(os.fstat(mount).st_mode))
    _check_target(root, target, bind.target, forbidden)
    syscalls.move_mount(mount, target)
    os.close(target)
    os.close(mount)


def _make_directories(root: int, path: str, forbidden: frozenset[int]) -> int:
    try:
        return make_directories(root, path, forbidden)
    except BarredDeviceError as error:
        raise bind_targets.refusal(path) from error


def _make_target(root: int, path: str, forbidden: frozenset[int], *, directory: bool) -> int:
    """Create a bind target and open it. Nothing is created in the engine's own file systems."""
    if directory:
        return _make_directories(root, path, forbidden)
    above, _, name = path.rstrip("/").rpartition("/")
    parent = _make_directories(root, above, forbidden)
    if os.fstat(parent).st_dev in forbidden:
        raise bind_targets.refusal(path)
    real = open_inside(parent, ".", os.O_RDONLY | os.O_DIRECTORY)
    os.close(parent)
    with suppress(FileExistsError):
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=real))
    os.close(real)
    return open_inside(root, path, os.O_PATH)


def _existing(root: int, path: str) -> int | None:
    try:
        return open_without_symlinks(root, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return None
