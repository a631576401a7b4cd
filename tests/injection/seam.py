"""Wraps every call by which this process asks the kernel for something, and has one of them fail.

It is laid over `os`, `io`, `socket`, `fcntl`, `mmap`, `signal`, the C library of `runtime.kernel.syscalls`, and the
sockets of `runtime.kernel.netlink`. Forks inherit it: zygote, shim and init are forks of the process that laid it. A
*site* is a call in one place of the program's code as it was reached, in one kind of process. What a process has met,
and whether the fault was made already, is in memory that all of them share.
"""

from __future__ import annotations

import builtins
import ctypes
import fcntl
import io
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runtime.kernel import netlink, syscalls
from tests.injection import faults

RUNTIME: Final = str(Path(syscalls.__file__).parents[1]) + "/"
CLIENT, ZYGOTE, SHIM, INIT = "client", "zygote", "shim", "init"
DEPTH: Final = 3
"""How many frames of the program's own code tell one site from another."""
_BETWEEN: Final = ("kernel/threads.py", "kernel/syscalls.py")
"""Modules that only pass calls on."""
_REGION_BYTES: Final = 256 * 1024
_REGIONS: Final = 48
_LENGTH: Final = struct.Struct("=I")
_REAL: Final = {name: getattr(os, name) for name in ("getpid", "kill", "_exit", "readlink", "write", "pwrite")}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a call is made: the process's role, the call, its kind in the table of faults, its frames from inside."""

    role: str
    call: str
    kind: str
    where: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.role}: {self.kind} at {' < '.join(self.where)}"


class Shared:
    """Memory of all processes of a run: one byte for "the fault was made", and a region for each process's sites."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE + _REGIONS * _REGION_BYTES)

    def clear(self) -> None:
        self._memory[0] = 0
        for region in range(_REGIONS):
            _LENGTH.pack_into(self._memory, self._start(region), 0)

    @property
    def made(self) -> bool:
        return bool(self._memory[0])

    @made.setter
    def made(self, value: bool) -> None:
        self._memory[0] = value

    def _start(self, region: int) -> int:
        return mmap.PAGESIZE + region * _REGION_BYTES

    def note(self, region: int, line: bytes) -> None:
        start = self._start(region)
        (length,) = _LENGTH.unpack_from(self._memory, start)
        begin = start + _LENGTH.size + length
        if begin + len(line) > start + _REGION_BYTES:
            raise AssertionError("the memory for sites is full")
        self._memory[begin : begin + len(line)] = line
        _LENGTH.pack_into(self._memory, start, length + len(line))

    def lines(self) -> Iterator[bytes]:
        for region in range(_REGIONS):
            start = self._start(region)
            (length,) = _LENGTH.unpack_from(self._memory, start)
            yield from self._memory[start + _LENGTH.size : start + _LENGTH.size + length].splitlines()


class Seam:
    """What is laid over the calls. It does nothing in a process until `enter`."""

    def __init__(self) -> None:
        self.shared = Shared()
        self.plan: tuple[Site, str] | None = None  # the site that fails and how; None: sites are recorded
        self.role: str | None = None
        self._region = 0
        self._forks = 0
        self._met: set[Site] = set()
        self._noting = threading.Lock()  # a client has threads

    def enter(self, role: str) -> None:
        """From here on this process has a role, and its calls are sites."""
        self.role = role
        self._region = 0 if role == CLIENT else 1
        self._forks = 0
        self._met.clear()

    def sites(self) -> list[Site]:
        """What was recorded, each once, in the order in which it was met."""
        found = (json.loads(line) for line in self.shared.lines())
        return list(dict.fromkeys(Site(role, call, kind, tuple(where)) for role, call, kind, where in found))

    def forked(self) -> None:
        """In the child of a fork: a zygote forks itself once, then shims; a shim forks inits."""
        if self.role is None:
            return
        self._met, self._noting = set(), threading.Lock()
        if self.role == SHIM:
            self.role, self._region = INIT, self._region + 16
        elif self.role == ZYGOTE and "fork_into" not in _functions(sys._getframe()):
            self._region, self.role = 2 + self._forks % 16, SHIM

    def forking(self) -> None:
        self._forks += 1

    def around(self, call: str, path: str | None, flags: int, real: Callable[[], Any], raised: Callable[[int], Any],
               shortened: Callable[[], Any] | None = None) -> Any:  # fmt: skip
        """Make a call, or the fault that is planned for it. `raised` gives the error with a number."""
        fault = self._fault(call, path, flags) if self.role is not None else None
        if fault is None:
            return real()
        if fault == faults.BEFORE:
            _die()
        if fault == faults.AFTER:
            pid = _REAL["getpid"]()
            try:
                return real()
            finally:
                if _REAL["getpid"]() == pid:  # not in the child of a fork
                    _die()
        if fault == faults.SHORT:
            assert shortened is not None
            return shortened()
        return raised(faults.number_of(fault))

    def _fault(self, call: str, path: str | None, flags: int) -> str | None:
        where = _where()
        if not where:
            return None
        assert self.role is not None
        site = Site(self.role, call, faults.kind_of(call, path, flags), where)
        if self.plan is None:
            if site not in self._met:
                self._met.add(site)
                with self._noting:
                    self.shared.note(self._region, json.dumps([site.role, call, site.kind, where]).encode() + b"\n")
            return None
        if site != self.plan[0] or self.shared.made:
            return None
        self.shared.made = True
        return self.plan[1]


def _die() -> None:
    _REAL["kill"](_REAL["getpid"](), signal.SIGKILL)
    _REAL["_exit"](128 + signal.SIGKILL)  # the first process of a PID namespace gets no SIGKILL from itself


def _functions(frame: Any) -> set[str]:
    found = set()
    while frame is not None:
        found.add(frame.f_code.co_name)
        frame = frame.f_back
    return found


def _where() -> tuple[str, ...]:
    """The places in the program's code that lead here, the innermost first; of a module of the kernel's seam one."""
    found: list[str] = []
    last = ""
    frame: Any = sys._getframe(2)
    while frame is not None and len(found) < DEPTH:
        name = frame.f_code.co_filename
        if name.startswith(RUNTIME) and not name.endswith(_BETWEEN):
            if name != last or not name.startswith(f"{RUNTIME}kernel/"):
                found.append(f"{name.removeprefix(RUNTIME)}:{frame.f_lineno}")
            last = name
        elif name.startswith("<frozen importlib"):
            return ()  # a module is read
        frame = frame.f_back
    return tuple(found)


def _path_of(first: Any) -> str | None:
    if isinstance(first, int):
        try:
            return str(_REAL["readlink"](f"/proc/self/fd/{first}"))
        except OSError:
            return None
    if isinstance(first, str | bytes | os.PathLike):
        return os.fsdecode(first)
    return None


# -- laying it over


_OS: Final = (
    "open read pread write pwrite stat listdir scandir fsync rename replace mkdir mkfifo unlink rmdir chmod fchmod "
    "fchown truncate ftruncate posix_fallocate pipe2 fork pidfd_open memfd_create sendfile setxattr kill"
).split()
_C_LIBRARY: Final = "unshare setns mount umount2 prctl tee posix_spawnp inotify_init1 inotify_add_watch capset".split()
_NUMBERS: Final = {
    getattr(syscalls, f"_{name.upper()}"): name
    for name in (
        "open_tree move_mount fsopen fsconfig fsmount clone3 close_range openat2 mount_setattr pivot_root keyctl bpf"
    ).split()
}


def _fails(path: object) -> Callable[[int], Any]:
    def fail(number: int) -> Any:
        if isinstance(path, str | bytes | os.PathLike):
            raise OSError(number, os.strerror(number), os.fspath(path))
        raise OSError(number, os.strerror(number))

    return fail


def lay() -> Seam:
    """Lay a seam over this process's calls; it cannot be taken off."""
    seam = Seam()
    for name in _OS:
        _wrap_function(seam, os, name)
    _wrap_function(seam, fcntl, "flock")
    _wrap_function(seam, signal, "pidfd_send_signal")
    _wrap_function(seam, mmap, "mmap")
    _wrap_byte_locks(seam)
    _wrap_files(seam)
    _wrap_subprocess(seam)
    _wrap_sockets(seam)
    _wrap_library(seam)
    _wrap_netlink(seam)
    os.register_at_fork(before=seam.forking, after_in_child=seam.forked)
    return seam


def _wrap_function(seam: Seam, module: Any, name: str) -> None:
    real = getattr(module, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        if seam.role is None:
            return real(*given, **named)
        first = given[0] if given and name not in ("kill", "pidfd_open", "pidfd_send_signal", "memfd_create") else None
        flags = given[1] if name == "open" and len(given) > 1 else named.get("flags", 0)
        shortened = None
        if name in ("write", "pwrite"):

            def shortened() -> Any:
                return real(given[0], bytes(given[1])[: max(1, len(given[1]) // 2)], *given[2:])

        path = _path_of(first)
        return seam.around(name, path, flags, lambda: real(*given, **named), _fails(first), shortened)

    setattr(module, name, wrapped)


def _wrap_byte_locks(seam: Seam) -> None:
    real = fcntl.fcntl

    def wrapped(fd: Any, command: int, *given: Any) -> Any:
        if command != fcntl.F_OFD_SETLK:
            return real(fd, command, *given)
        return seam.around("lock of a byte", None, 0, lambda: real(fd, command, *given), _fails(None))

    fcntl.fcntl = wrapped  # type: ignore[assignment]


def _wrap_files(seam: Seam) -> None:
    real = io.open

    def wrapped(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        flags = os.O_RDONLY if set(mode) <= set("rbt") else os.O_WRONLY
        return seam.around("open", _path_of(file), flags, lambda: real(file, mode, *given, **named), _fails(file))

    io.open = builtins.open = wrapped  # type: ignore[assignment]


def _wrap_subprocess(seam: Seam) -> None:
    real = subprocess._fork_exec  # type: ignore[attr-defined]

    def wrapped(*given: Any) -> Any:
        return seam.around("fork_exec", None, 0, lambda: real(*given), _fails(None))

    subprocess._fork_exec = wrapped  # type: ignore[attr-defined]


def _wrap_sockets(seam: Seam) -> None:
    real_socket, real_pair = socket.socket, socket.socketpair

    class Socket(real_socket):  # type: ignore[valid-type, misc]
        """A socket whose calls are sites."""

        def __init__(self, *given: Any, **named: Any) -> None:
            if named.get("fileno") is not None or len(given) > 3:
                super().__init__(*given, **named)
            else:
                seam.around("socket", None, 0, lambda: real_socket.__init__(self, *given, **named), _fails(None))

    def method(name: str) -> Callable[..., Any]:
        real = getattr(real_socket, name)

        def wrapped(self: Any, *given: Any) -> Any:
            return seam.around(name, None, 0, lambda: real(self, *given), _fails(None))

        return wrapped

    for name in ("accept", "bind", "listen", "connect", "send", "recv"):
        setattr(Socket, name, method(name))

    def socketpair(*given: Any, **named: Any) -> Any:
        return seam.around("socketpair", None, 0, lambda: real_pair(*given, **named), _fails(None))

    socket.socket, socket.socketpair = Socket, socketpair  # type: ignore[misc, assignment]


class _Library:
    """The C library, with its calls as sites: a failed one gives -1 and the errno, or (posix_spawn) the errno."""

    def __init__(self, seam: Seam, library: Any) -> None:
        self._seam, self._library = seam, library

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._library, name)
        if name != "syscall" and name not in _C_LIBRARY:
            return real

        def raised(number: int) -> int:
            ctypes.set_errno(number)
            return number if name == "posix_spawnp" else -1

        def wrapped(*given: Any) -> Any:
            call = name if name != "syscall" else _NUMBERS.get(given[0].value)
            if call is None:
                return real(*given)
            return self._seam.around(call, None, 0, lambda: real(*given), raised)

        return wrapped


def _wrap_library(seam: Seam) -> None:
    syscalls._LIBC = _Library(seam, syscalls._LIBC)
    syscalls._LIBC_LOCKED = _Library(seam, syscalls._LIBC_LOCKED)


class _Requests:
    """pyroute2's IPRoute, with each request as a site."""

    def __init__(self, seam: Seam, ip: Any) -> None:
        self._seam, self._ip = seam, ip

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._ip, name)
        if not callable(real) or name == "close":
            return real

        def raised(number: int) -> Any:
            from pyroute2.netlink.exceptions import NetlinkError

            raise NetlinkError(number, os.strerror(number))

        return lambda *given, **named: self._seam.around(
            "netlink request", None, 0, lambda: real(*given, **named), raised
        )


def _wrap_netlink(seam: Seam) -> None:
    real = netlink.connect

    @contextmanager
    def connect(what: str, netns_fd: int | None = None, *, lacks: str = "") -> Iterator[Any]:
        from runtime.kernel.netlink import _refusal

        def refused(number: int) -> Any:
            raise _refusal(what, OSError(number, os.strerror(number)), lacks)

        opened = seam.around("netlink", None, 0, lambda: real(what, netns_fd, lacks=lacks), refused)
        with opened as ip:
            yield _Requests(seam, ip)

    netlink.connect = connect  # type: ignore[assignment]
