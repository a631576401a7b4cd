"""Finds a container's log, depending on what started it; containerd itself stores no output.

- Started here: `logger` writes it to the container's directory (CRI format, rotated).
- By Kubernetes: kubelet links every log as /var/log/containers/<pod>_<namespace>_<container>-<id>.log (CRI format).
- By nerdctl, or with a log URI of file://: in a file that a label or the task names (`foreign_logs`).
- By any other program: that program received the output, and it is not available.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from runtime.engines.containerd import foreign_logs, logger
from runtime.engines.containerd.foreign_logs import ForeignLog, ForeignReader
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.errors import InvalidError, PytopError, UnsupportedError
from runtime.kernel import command_line, procfs, threads
from runtime.model import LogLine
from runtime.oci import cri_log as cri

TOP: Final = Path("/var/lib/pytop-containers")
"""The parent of one directory for each containerd, named by its key: an id is unique in a namespace of one daemon."""
KUBELET_LOGS: Final = Path("/var/log/containers")
LOGGER: Final = Path(logger.__file__)
LAST_OUTPUT_TIMEOUT_S: Final = 3.0
POLL_INTERVAL_S: Final = 0.1
LOG_URI_LABELS: Final = ("containerd.io/restart.loguri", "nerdctl/log-uri")
"""Labels by which other programs name the destination of a container's output."""


def folder(top: Path, namespace: str, identity: str) -> Path:
    """The directory with the log of a container that was started here. Raises `InvalidError` for a ".." or "/"."""
    if any("/" in name or name in ("", ".", "..") for name in (namespace, identity)):
        raise InvalidError(f"find the log of container '{identity}'", detail="that is no name")
    return top / namespace / identity


def uri(directory: Path) -> str:
    """The log URI that makes the shim run `logger`. It has one key only: the order of several is not defined."""
    return f"binary://{quote(sys.executable)}?{quote(str(LOGGER), safe='')}={quote(str(directory), safe='')}"


def for_start(container: pb.Container, top: Path, namespace: str) -> str:
    """The log URI for a task that is started now."""
    given = next((container.labels[name] for name in LOG_URI_LABELS if container.labels.get(name)), "")
    return given or uri(folder(top, namespace, container.id))


def find(
    container: pb.Container,
    process: pb.Process | None,
    top: Path,
    namespace: str,
    owners: frozenset[int] = frozenset(),
) -> Path | ForeignLog:
    """The log file, a path in CRI format. Blocking. Raises `UnsupportedError` when there is none.

    `owners` are the users whose files the daemon may name.
    """
    own = folder(top, namespace, container.id) / "log"
    if process is not None and process.stdout.startswith("binary://"):
        arguments = [word for pair in parse_qsl(urlsplit(process.stdout).query) for word in pair]
        if str(own.parent) in arguments:
            return own
    linked = next(KUBELET_LOGS.glob(f"*-{container.id}.log"), None) if namespace == "k8s.io" else None
    if linked is not None:
        return linked
    if process is None and own.exists():
        return own
    uris = {label: container.labels[label] for label in LOG_URI_LABELS if label in container.labels}
    foreign = foreign_logs.find(container, process, uris, owners)
    if foreign is not None:
        return foreign
    raise UnsupportedError(
        f"read the log of container {container.id}",
        detail="containerd keeps no output: it went to whoever has started this container",
        hint="The output of a container that is started from here is kept",
    )


async def lines(
    log: Path | ForeignLog, *, follow: bool, tail: int | None, ended: Callable[[], bool]
) -> AsyncIterator[LogLine]:
    """The lines so far; with `follow` also new ones, until `ended` returns that the container has ended."""
    if ended():
        await _settled(log)
    reader = await threads.acquiring(lambda: _opened(log, tail), _close, threads.Kind.WAIT)
    if reader is None:
        return
    try:
        last = not follow
        while True:
            new_lines = await threads.completing(reader.read)
            for line in new_lines:
                yield line
            if new_lines:
                continue
            if last:
                return
            last = ended()
            await (_settled(log) if last else asyncio.sleep(POLL_INTERVAL_S))
    finally:
        reader.close()


def _opened(log: Path | ForeignLog, tail: int | None) -> cri.Reader | ForeignReader | None:
    if not os.path.lexists(log.path if isinstance(log, ForeignLog) else log):  # nothing was written yet
        return None
    try:
        return ForeignReader(log, tail=tail) if isinstance(log, ForeignLog) else cri.Reader(log, tail=tail)
    except OSError as error:
        raise PytopError.from_os("read the log", error) from error


def _close(reader: cri.Reader | ForeignReader | None) -> None:
    if reader is not None:
        reader.close()


async def _settled(log: Path | ForeignLog) -> None:
    """Wait until our logger has written everything that an ended container left in its pipes."""
    if not isinstance(log, ForeignLog):
        await threads.waiting(_settle, log.parent)


def _settle(directory: Path) -> None:
    deadline = time.monotonic() + LAST_OUTPUT_TIMEOUT_S
    while not (_is_drained(directory) and _is_free(directory)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_drained(directory: Path) -> bool:
    """Whether the logger's pipes are empty, or there is no logger."""
    try:
        pid = int((directory / "pid").read_text())
    except (OSError, ValueError):
        return True
    if os.fsencode(directory) not in (command_line.read(pid) or b"").split(b"\0"):
        return True
    process = procfs.PROC / str(pid)
    return all(_waiting(process / "fd" / str(number)) == 0 for number in (logger.STDOUT_FD, logger.STDERR_FD))


def _waiting(pipe: Path) -> int:
    """The number of bytes in a pipe of another process, without reading them."""
    try:
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
        return int.from_bytes(answer, sys.byteorder)
    finally:
        os.close(descriptor)


def _is_free(directory: Path) -> bool:
    """Whether the logger has written all bytes that it has read from its pipes."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
