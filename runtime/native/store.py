"""Records on disk, their locks, and the search for a container by name or id.

A record is written to a temporary file and renamed, so a reader never sees half of it and never needs a lock. Locks are
flock(2) on files: they vanish with their holder, however it dies.

- the store's lock: names and ids are given out, and leftovers removed, by one process at a time;
- the operation lock of a container: one verb at a time;
- its record lock: held for one read-modify-write, also by the shim;
- its shim lock: held by its shim for life, so that "is there a shim" has an answer without races.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import ConflictError, DeniedError, InvalidError, KernelError, NotFoundError, PytopError
from runtime.native.config import NativeConfig
from runtime.native.journal import make_pipes
from runtime.native.record import Record, dumps, loads

LAYER = ("upper", "work", "root")
"""What a container's overlay needs beside its image; `root` is where it is mounted, in its own namespace."""
_HEX = frozenset("0123456789abcdef")


def write_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Replace a file as a whole. `durable` waits until it would survive a power cut; kill -9 it always survives."""
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until a rename in this directory would survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock(path: Path, *, wait: float | None = None) -> int | None:
    """Lock a file until its descriptor is closed; None when `wait` seconds (None: for ever) were not enough.

    Polls when there is an end to the waiting, since flock(2) knows none.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if wait is None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            return fd
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    return None
                time.sleep(0.005)
            else:
                return fd
    except OSError:
        os.close(fd)
        raise


class Store:
    """The records of one instance."""

    def __init__(self, config: NativeConfig) -> None:
        self.config = config

    def prepare(self) -> None:
        """Make the instance's directories. Raises `DeniedError` without the right to."""
        config = self.config
        try:
            for path in (config.state, config.records, config.state / "data", config.run):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except PermissionError as error:
            raise DeniedError.from_os(
                "keep containers of the embedded engine", error, hint="It needs root: run it with sudo"
            ) from error
        except OSError as error:
            raise KernelError.from_os("keep containers of the embedded engine", error) from error

    # -- reading

    def ids(self) -> list[str]:
        """Every container's id; none when there is no such instance (yet)."""
        try:
            names = os.listdir(self.config.records)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise DeniedError.from_os(
                "list the containers of the embedded engine", error, hint="Run as root"
            ) from error
        return [name.removesuffix(".json") for name in names if name.endswith(".json") and name[0] != "."]

    def read(self, container_id: str) -> Record:
        path = self.config.record(container_id)
        try:
            return loads(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"There is no container {container_id[:12]} (any more)") from error
        except OSError as error:
            raise DeniedError.from_os("read a container's record", error) from error

    def all(self) -> list[Record]:
        """Every record that can be read, oldest first; one that vanishes or is damaged meanwhile is left out."""
        found = []
        for container_id in self.ids():
            try:
                found.append(self.read(container_id))
            except (NotFoundError, PytopError):
                continue
        return sorted(found, key=lambda record: record.created_ns)

    def find(self, key: str) -> Record:
        """A container by full id, name, or the beginning of its id, in this order.

        Raises `NotFoundError`, or `ConflictError` when the beginning fits several.
        """
        if len(key) == 64 and set(key) <= _HEX:
            return self.read(key)
        records = self.all()
        for record in records:
            if record.spec.name == key:
                return record
        fitting = [record for record in records if key and record.id.startswith(key)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise ConflictError(f"{key} is the beginning of {len(fitting)} containers' ids", hint="give more of it")
        raise NotFoundError(f"There is no container {key!r}", hint="list them with: pytop-containers ps -a")

    # -- writing

    def add(self, make: Callable[[str], Record]) -> Record:
        """Give a new id and write the record that `make` gives for it, unless its name is taken."""
        with self.locked():
            record = make(secrets.token_hex(32))
            taken = {other.spec.name: other.id for other in self.all()}
            if record.spec.name in taken:
                raise ConflictError(
                    f"The name {record.spec.name!r} is taken by container {taken[record.spec.name][:12]}",
                    hint="remove or rename that one, or choose another name",
                )
            data = self.config.data(record.id)
            data.mkdir(mode=0o700, parents=True)
            for name in LAYER:
                (data / name).mkdir(mode=0o755)
                (data / name).chmod(0o755)
            live = self.config.live(record.id)
            live.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_pipes(live)
            self.config.log(record.id).touch(mode=0o600)
            write_file(self.config.record(record.id), dumps(record), durable=True)
        return record

    def change(self, container_id: str, how: Callable[[Record], Record], *, durable: bool = False) -> Record:
        """Replace a record by what `how` makes of it; nobody else changes it in between."""
        with self._held(self.config.live(container_id) / "record.lock", container_id):
            before = self.read(container_id)
            after = how(before)
            if after != before:
                write_file(self.config.record(container_id), dumps(after), durable=durable)
            return after

    def forget(self, container_id: str) -> None:
        """Remove the record itself, the last thing of a container to go."""
        self.config.record(container_id).unlink(missing_ok=True)

    def sweep_temporaries(self) -> None:
        """Remove what writers of records have left when they died; what somebody is writing at this moment stays.

        The store's lock keeps out those who write new records, and each record's lock all others.
        """
        for path in self.config.records.glob(".*.json.*"):
            container_id = path.name[1:].partition(".json.")[0]
            try:
                held = lock(self.config.live(container_id) / "record.lock", wait=0)
            except FileNotFoundError:  # nobody could be writing it without this directory
                path.unlink(missing_ok=True)
                continue
            if held is not None:
                path.unlink(missing_ok=True)
                os.close(held)

    # -- locks

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock."""
        self.prepare()
        with self._held(self.config.run / "store.lock", ""):
            yield

    def operation(self, container_id: str, *, wait: float | None = None) -> int | None:
        """Take a container's operation lock; close the descriptor to let go. None when `wait` seconds are over."""
        live = self.config.live(container_id)
        self._directory(live, container_id)
        return lock(live / "lock", wait=wait)

    def shim_lock(self, container_id: str, *, wait: float | None = None) -> int | None:
        """Take a container's shim lock: whoever gets it knows that there is no shim."""
        live = self.config.live(container_id)
        self._directory(live, container_id)
        return lock(live / "shim.lock", wait=wait)

    def _directory(self, live: Path, container_id: str) -> None:
        """After a reboot /run is empty: make the container's directory there again, if there is such a container."""
        if not live.is_dir():
            self.read(container_id)
            try:
                live.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise DeniedError.from_os("lock a container", error, hint="It needs root") from error

    @contextmanager
    def _held(self, path: Path, container_id: str) -> Iterator[None]:
        if container_id:
            self._directory(path.parent, container_id)
        try:
            fd = lock(path)
        except OSError as error:
            raise DeniedError.from_os("lock a container's record", error, hint="It needs root") from error
        assert fd is not None
        try:
            yield
        finally:
            os.close(fd)


def check_name(name: str) -> str:
    """A usable name, else `InvalidError`; the rules are Docker's."""
    plain = name.replace("_", "").replace("-", "").replace(".", "")
    if 1 < len(name) <= 128 and name[0].isalnum() and plain.isalnum() and name.isascii():
        return name
    raise InvalidError(
        f"{name!r} cannot be the name of a container",
        hint="2 to 128 of a-z, A-Z, 0-9, _, . and -, beginning with a letter or digit",
    )
