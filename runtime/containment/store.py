"""Leases as files of the run directory: one small JSON file each, written aside and renamed, so never half of one.

The run directory is a memory file system (/run) where there is one, so nothing is synced: what ends with the machine's
boot is to end with it. Names of files begin with `PREFIX`; those that were not renamed are removed after a while.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from runtime.containment.document import lease_from_json, lease_to_json
from runtime.containment.lease import Lease
from runtime.errors import KernelError
from runtime.kernel import run_directory

PREFIX: Final = "lease-"
UNFINISHED: Final = f".{PREFIX}"
UNFINISHED_MAX_AGE_S: Final = 60.0
ENDED_KEPT_S: Final = 60.0
"""For which a lease that has ended stays readable, so that who had taken it learns what came of it."""
MAX_LEASE_BYTES: Final = 256 * 1024
MAX_LEASES: Final = 4096

T = TypeVar("T")


def now_ns() -> int:
    """CLOCK_BOOTTIME in ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def new_id() -> str:
    """An id that no other lease has."""
    return os.urandom(6).hex()


def write(lease: Lease) -> None:
    """Write a lease, in place of an earlier state of it. Raises `KernelError`: the earlier state is left as it was."""
    try:
        with _directory() as directory:
            _replace(directory, f"{PREFIX}{lease.id}", json.dumps(lease_to_json(lease)).encode())
    except OSError as error:
        raise KernelError.from_os(f"note the lease of {lease.name}", error) from error


def _replace(directory: int, name: str, data: bytes) -> None:
    aside = f".{name}.{os.getpid()}"
    descriptor = run_directory.open_file(directory, aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        try:
            left = data
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)
        os.rename(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(aside, dir_fd=directory)
        raise


def remove(lease_id: str) -> None:
    """Remove a lease; one that is not there is no error. Raises `KernelError`."""
    try:
        with _directory(make=False) as directory:
            os.unlink(f"{PREFIX}{lease_id}", dir_fd=directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelError.from_os("remove the note of a lease", error) from error


def read(lease_id: str) -> Lease | None:
    """A lease, also one that has ended a moment ago; None when there is none."""
    return _in_directory(lambda directory: _read(directory, f"{PREFIX}{lease_id}"), None)


def read_all() -> tuple[Lease, ...]:
    """Every lease in order of time, with those that have ended in the last `ENDED_KEPT_S` seconds. Blocking, cheap."""
    found: list[Lease] = []
    return tuple(sorted(_in_directory(_read_all, found), key=lambda lease: (lease.created_ns, lease.id)))


def _read_all(directory: int) -> list[Lease]:
    names = [name for name in os.listdir(directory) if name.startswith(PREFIX)]
    return [lease for name in names[:MAX_LEASES] if (lease := _read(directory, name)) is not None]


def _read(directory: int, name: str) -> Lease | None:
    try:
        descriptor = run_directory.open_file(directory, name, os.O_RDONLY)
        with open(descriptor, "rb") as file:
            return lease_from_json(json.loads(file.read(MAX_LEASE_BYTES)))
    except (OSError, ValueError):  # removed meanwhile; or of another version, or damaged
        return None


def sweep() -> None:
    """Remove what is of no use: ended leases after their time, and files that were not renamed."""
    _in_directory(_sweep, None)


def _sweep(directory: int) -> None:
    limit_ns = now_ns() - int(ENDED_KEPT_S * 1e9)
    for name in os.listdir(directory):
        with suppress(OSError):
            if name.startswith(PREFIX):
                lease = _read(directory, name)
                if lease is not None and lease.ended_ns and lease.ended_ns < limit_ns:
                    os.unlink(name, dir_fd=directory)
            elif name.startswith(UNFINISHED):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if time.time() - status.st_mtime > UNFINISHED_MAX_AGE_S:
                    os.unlink(name, dir_fd=directory)


def _in_directory(call: Callable[[int], T], otherwise: T) -> T:
    try:
        with _directory(make=False) as directory:
            return call(directory)
    except OSError:
        return otherwise


@contextmanager
def _directory(*, make: bool = True) -> Iterator[int]:
    directory = run_directory.open_directory(make=make)
    try:
        yield directory
    finally:
        os.close(directory)
