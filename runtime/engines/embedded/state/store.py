"""Records on disk, their locks, and the search for a container by name or id.

A record is written to a temporary file and renamed, so a reader sees all of it and needs no lock. Locks are flock(2) on
files: the kernel releases them when their holder ends, however it ends.

- the store's lock: held to assign names and ids and to remove orphans;
- a container's operation lock: held for one verb;
- its record lock: held for one read-modify-write, also by the shim;
- its shim lock: held by its shim while it lives, so that whether there is a shim is known without races.

What is synced to the disk: a record when it is made, changed at rest or limited, and when its container ends. Nothing
is synced between the request to start a container and its program's exec. What a start changes is kept in the run
directory (`run_files.keep_unsaved`), which is believed before the record, and is written to the record afterwards: a
power cut in between loses the state of a run that it has ended itself.

Where the state directory's file system is full or read-only, a container's state is kept there too until it can be
written; a change of its spec is not.

A record that is empty, damaged or of a later version is read as what is known without it (`damage.without_record`), and
is never written to, only removed.
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

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.state import damage, run_files, storage
from runtime.engines.embedded.state.record import ContainerRecord, dumps, loads, state_from_json, state_to_json
from runtime.errors import (
    ConflictError,
    DeniedError,
    EngineError,
    InvalidError,
    KernelError,
    NotFoundError,
    PytopError,
)
from runtime.kernel import filesystems, regular_file

_HEX = frozenset("0123456789abcdef")
_POLL_INTERVAL_S = 0.005
_MAX_RECORD_BYTES = 16 << 20


def write_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Replace a file atomically: write a temporary file, fsync it, rename it.

    `durable` also syncs the directory, so that the new file survives a power cut. Raises `OSError`; then the old file
    is as it was and the temporary one is removed.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            while data:  # a nearly full file system writes a part
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
    """Fsync a directory: renames in it survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock(path: Path, *, wait: float | None = None) -> int | None:
    """Lock a file until its descriptor is closed; None when it was locked for `wait` seconds (None: wait for ever).

    Polls where `wait` is given, since flock(2) has no timeout. Works on a read-only file system too.
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
                time.sleep(_POLL_INTERVAL_S)
            else:
                return fd
    except OSError:
        os.close(fd)
        raise


class RecordStore:
    """The records of one instance."""

    def __init__(self, config: EmbeddedConfig) -> None:
        self.config = config

    def prepare(self) -> None:
        """Make the instance's directories. Raises `DeniedError` without the right to."""
        config = self.config
        try:
            for path in (config.state, config.records, config.state / "data", config.run):
                run_files.make_private(path)
        except PermissionError as error:
            raise DeniedError.from_os(
                "keep containers of the embedded engine", error, hint="It needs root: run it with sudo"
            ) from error
        except OSError as error:
            raise _refused("keep containers of the embedded engine", error, _place(error, config.state)) from error

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
        found = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return [name for name in found if is_id(name)]

    def read(self, container_id: str) -> ContainerRecord:
        return self._read_with_state(container_id)[0]

    def unsaved(self, container_id: str) -> bool:
        """Whether the container's state is kept in the run directory only, since its record could not take it."""
        return self._read_with_state(container_id)[2]

    def _read_with_state(self, container_id: str) -> tuple[ContainerRecord, bytes, bool]:
        """The record, what its file holds, and whether the record's state is newer than that."""
        path = self.config.record(container_id)
        noted = run_files.unsaved(self.config.live(container_id))
        data = b""
        try:
            data = regular_file.read(path, limit=_MAX_RECORD_BYTES)
            record = loads(data)
            if record.id != container_id:
                raise EngineError("read a container's record", detail=f"it is that of container {record.id[:12]}")
            if noted is not None and noted.newer_than(data):
                return state_from_json(record, noted.fields), data, True
        except (PytopError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, PytopError):
                _raise_unless_damaged(error, container_id)
            why = error.detail if isinstance(error, PytopError) else str(error)
            return damage.without_record(self.config, container_id, data, why), data, False
        return record, data, False

    def all(self) -> list[ContainerRecord]:
        """Every record, oldest first, the damaged ones too; those removed meanwhile are left out."""
        found = []
        for container_id in self.ids():
            with suppress(NotFoundError):
                found.append(self.read(container_id))
        return sorted(found, key=lambda record: record.created_ns)

    def find(self, key: str) -> ContainerRecord:
        """A container by full id, name, or the beginning of its id, in this order.

        Raises `NotFoundError`, or `ConflictError` when the beginning fits several.
        """
        if is_id(key):
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

    def add(self, make: Callable[[str], ContainerRecord]) -> ContainerRecord:
        """Make an id and write the record that `make` returns for it. Raises `ConflictError` when its name is taken."""
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
                self._unmake(record.id)
                where = _place(error, self.config.data(record.id))
                raise _refused(f"create container {record.spec.name}", error, where) from error
            except PytopError:
                self._unmake(record.id)
                raise
        return record

    def _unmake(self, container_id: str) -> None:
        with suppress(OSError):  # it may be there already: the directory is synced last
            self.config.record(container_id).unlink(missing_ok=True)
        storage.free(self.config, container_id)
        for path in (self.config.data(container_id), self.config.live(container_id)):
            shutil.rmtree(path, ignore_errors=True)

    def _make(self, record: ContainerRecord) -> None:
        data = self.config.data(record.id)
        data.mkdir(mode=0o700, parents=True)
        storage.make_layer(self.config, record)
        run_files.prepare(self.config.live(record.id))
        self.config.log(record.id).touch(mode=0o600)
        damage.note_name(self.config.name(record.id), record.spec.name)
        write_file(self.config.record(record.id), dumps(record), durable=True)

    def change(
        self,
        container_id: str,
        how: Callable[[ContainerRecord], ContainerRecord],
        *,
        durable: bool = False,
        unsynced: bool = False,
    ) -> ContainerRecord:
        """Replace a record by what `how` returns for it, under its record lock; returns the new one.

        `unsynced` keeps a change of the state in the run directory; the next change without it writes it to the record.
        Where the file system is full or read-only, the state is kept there too. Raises `KernelError` when that fails as
        well, or when the spec is changed; then the record is what it was before. A state that `how` gives to a damaged
        record is returned and not written; its spec cannot be changed.
        """
        with self._locked(self.config.live(container_id) / "record.lock", container_id):
            before, base, behind = self._read_with_state(container_id)
            after = how(before)
            if before.damage:
                if after.spec != before.spec:
                    raise damage.refusal(f"change the record of container {before.spec.name}", before)
                return after
            if unsynced and after.spec == before.spec:
                with suppress(OSError):  # no room in the run directory: it is written to the record
                    run_files.keep_unsaved(self.config.live(container_id), base, state_to_json(after))
                    return after
            if after != before or behind:
                saved = self._write(before, after, base, durable=durable)
                if saved and behind:
                    run_files.drop_unsaved(self.config.live(container_id))
            return after

    def _write(self, before: ContainerRecord, after: ContainerRecord, base: bytes, *, durable: bool) -> bool:
        """Write the record; False when only its state was kept, in the run directory."""
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
        """Remove the record's file, as the last step of a removal. A damaged one may be a directory."""
        path = self.config.record(container_id)
        try:
            path.unlink(missing_ok=True)
        except IsADirectoryError:
            shutil.rmtree(path)

    def sweep_temporaries(self) -> None:
        """Remove temporary files of writers that died; call it with the store's lock, so that no record is being added.

        A file whose record is locked is being written, and stays.
        """
        for path in self.config.records.glob(".*.json.*"):
            container_id = path.name[1:].partition(".json.")[0]
            try:
                held = lock(self.config.live(container_id) / "record.lock", wait=0)
            except FileNotFoundError:  # a writer would have made this directory
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
        with self._locked(self.config.run / "store.lock", ""):
            yield

    def operation(self, container_id: str, *, wait: float | None = None) -> int | None:
        """Take a container's operation lock; closing the descriptor releases it. None after `wait` seconds."""
        live = self.config.live(container_id)
        self._directory(live, container_id)
        return lock(live / "lock", wait=wait)

    def shim_lock(self, container_id: str, *, wait: float | None = None) -> int | None:
        """Take a container's shim lock: getting it means that there is no shim."""
        live = self.config.live(container_id)
        self._directory(live, container_id)
        return lock(live / "shim.lock", wait=wait)

    def _directory(self, live: Path, container_id: str) -> None:
        """Make the container's run directory again after a reboot has emptied /run. Raises `NotFoundError`."""
        if not live.is_dir():
            self.read(container_id)
            try:
                run_files.prepare(live)
            except OSError as error:
                raise _refused("lock a container", error, _place(error, live)) from error

    @contextmanager
    def _locked(self, path: Path, container_id: str) -> Iterator[None]:
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


def is_id(name: str) -> bool:
    """Whether it is a container's whole id."""
    return len(name) == 64 and set(name) <= _HEX


def _raise_unless_damaged(error: PytopError, container_id: str) -> None:
    """Raise what says nothing about the record: it is gone, or this process may not or cannot open it."""
    if error.errno == errno.ENOENT:
        raise NotFoundError(f"There is no container {container_id[:12]} (any more)") from error
    if error.errno in (errno.EACCES, errno.EPERM):
        title, hint = "read a container's record", "It needs root"
        raise DeniedError(title, detail=error.detail, path=error.path, hint=hint) from error
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR):
        raise error


def _place(error: OSError, otherwise: Path) -> Path:
    """The path that the kernel refused."""
    return Path(os.fsdecode(error.filename)) if error.filename is not None else otherwise


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
