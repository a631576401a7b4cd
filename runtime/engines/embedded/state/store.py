"""Records on disk, their locks, and the search for a container by name or id.

A record is written to a temporary file and renamed, so a reader never sees half of it and never needs a lock. Locks are
flock(2) on files: they vanish with their holder, however it dies.

- the store's lock: names and ids are given out, and leftovers removed, by one process at a time;
- the operation lock of a container: one verb at a time;
- its record lock: held for one read-modify-write, also by the shim;
- its shim lock: held by its shim for life, so that "is there a shim" has an answer without races.

Where the state directory's file system takes no more writes (full, read-only), a container's state is kept in its run
directory until it can be saved (`rundir.keep_unsaved`); a change of its spec is not.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.engines.embedded.config import NativeConfig
from runtime.engines.embedded.state import run_files
from runtime.engines.embedded.state.record import Record, dumps, loads, state_from_json, state_to_json
from runtime.errors import ConflictError, DeniedError, InvalidError, KernelError, NotFoundError, PytopError
from runtime.kernel import filesystems

LAYER = ("upper", "work", "root")
"""What a container's overlay needs beside its image; `root` is where it is mounted, in its own namespace."""
_HEX = frozenset("0123456789abcdef")


def write_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Replace a file as a whole: written whole, synced, then renamed, so that it is never a stump.

    `durable` also waits until the new one, and not the old one, would be there after a power cut. Raises `OSError`, and
    leaves the old file and no other.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            while data:  # a file system with little room takes a part
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
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

    Polls when there is an end to the waiting, since flock(2) knows none. A read-only file system takes locks too.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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
            raise _refused("keep containers of the embedded engine", error, config.state) from error

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
        return self._look(container_id)[0]

    def unsaved(self, container_id: str) -> bool:
        """Whether the container's state is kept in the run directory only, since its record could not take it."""
        return self._look(container_id)[2]

    def _look(self, container_id: str) -> tuple[Record, bytes, bool]:
        """The record, what its file holds, and whether the record's state is newer than that."""
        path = self.config.record(container_id)
        noted = run_files.unsaved(self.config.live(container_id))
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"There is no container {container_id[:12]} (any more)") from error
        except OSError as error:
            raise DeniedError.from_os("read a container's record", error) from error
        record = loads(data)
        if noted is not None and noted.newer_than(data):
            return state_from_json(record, noted.fields), data, True
        return record, data, False

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
            try:
                self._make(record)
            except OSError as error:
                for path in (self.config.data(record.id), self.config.live(record.id)):
                    shutil.rmtree(path, ignore_errors=True)
                where = Path(os.fsdecode(error.filename)) if error.filename is not None else self.config.data(record.id)
                raise _refused(f"create container {record.spec.name}", error, where) from error
        return record

    def _make(self, record: Record) -> None:
        data = self.config.data(record.id)
        data.mkdir(mode=0o700, parents=True)
        for name in LAYER:
            (data / name).mkdir(mode=0o755)
            (data / name).chmod(0o755)
        run_files.prepare(self.config.live(record.id))
        self.config.log(record.id).touch(mode=0o600)
        write_file(self.config.record(record.id), dumps(record), durable=True)

    def change(self, container_id: str, how: Callable[[Record], Record], *, durable: bool = False) -> Record:
        """Replace a record by what `how` makes of it; nobody else changes it in between.

        Where the file system takes no more writes, the state is kept in the run directory. Raises `KernelError` when
        that has no room for it either, or when the spec is changed; then the record is what it was before.
        """
        with self._held(self.config.live(container_id) / "record.lock", container_id):
            before, base, behind = self._look(container_id)
            after = how(before)
            if after != before or behind:
                saved = self._write(before, after, base, durable=durable)
                if saved and behind:
                    run_files.drop_unsaved(self.config.live(container_id))
            return after

    def _write(self, before: Record, after: Record, base: bytes, *, durable: bool) -> bool:
        """False when the state is in the run directory only."""
        path = self.config.record(after.id)
        try:
            write_file(path, dumps(after), durable=durable)
        except OSError as error:
            if not filesystems.refuses(error):
                raise
            said = filesystems.refused(f"write the record of container {after.spec.name}", error, path)
            if after.spec != before.spec:
                raise said from error
            try:
                run_files.keep_unsaved(self.config.live(after.id), base, state_to_json(after))
            except OSError:
                raise said from error
            return False
        return True

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
                try:
                    path.unlink(missing_ok=True)
                finally:
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
                run_files.prepare(live)
            except OSError as error:
                raise _refused("lock a container", error, live) from error

    @contextmanager
    def _held(self, path: Path, container_id: str) -> Iterator[None]:
        if container_id:
            self._directory(path.parent, container_id)
        try:
            fd = lock(path)
        except OSError as error:
            raise _refused("lock a container's record", error, path) from error
        assert fd is not None
        try:
            yield
        finally:
            os.close(fd)


def _refused(title: str, error: OSError, path: Path) -> PytopError:
    if isinstance(error, PermissionError):
        return DeniedError.from_os(title, error, hint="It needs root")
    return filesystems.refused(title, error, path) if filesystems.refuses(error) else KernelError.from_os(title, error)


def check_name(name: str) -> str:
    """A usable name, else `InvalidError`; the rules are Docker's."""
    plain = name.replace("_", "").replace("-", "").replace(".", "")
    if 1 < len(name) <= 128 and name[0].isalnum() and plain.isalnum() and name.isascii():
        return name
    raise InvalidError(
        f"{name!r} cannot be the name of a container",
        hint="2 to 128 of a-z, A-Z, 0-9, _, . and -, beginning with a letter or digit",
    )
