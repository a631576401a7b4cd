"""A container's first process: it builds the sandbox, starts the program, forwards signals, writes the exit status.

It is cloned from the shim into the new namespaces and the container's v2 cgroup. The shim sends "enter" when the v1
cgroups exist and "go" when limits, network and record are in place; end of file means that the shim is dead, and init
gives up. Init sends one JSON message: {"ready"} when the program has been exec'ed, {"exec"} with the errno of an exec
that failed, or {"error"}.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from runtime.engines.embedded.process import messages
from runtime.engines.embedded.process.log_writer import STREAMS
from runtime.engines.embedded.sandbox import rootfs
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.errors import InvalidError, KernelError, PytopError
from runtime.kernel import filesystems, safe_open, syscalls
from runtime.oci import users

NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
"""Namespaces that init is cloned into. Its network namespace exists already; its cgroup namespace it makes later."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND, NOT_EXECUTABLE = 127, 126
ENTER, GO = b"enter", b"go"
EXIT_BYTES: Final = 64
"""Bytes that the exit file has until it gets its one line, with the status and the time in nanoseconds."""
_WORD_BYTES: Final = 16
_POLL_INTERVAL_S: Final = 0.002
_MESSAGE_BYTES: Final = 65536
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


@dataclass(frozen=True, slots=True)
class InitPlan:
    """What init needs to know. `tasks` are the v1 files by which it enters its cgroups."""

    record: ContainerRecord
    layout: rootfs.RootLayout
    live: Path
    tasks: tuple[Path, ...]
    cgroups: rootfs.CgroupView
    confine: Callable[[], None]  # capabilities, no_new_privs, seccomp


@dataclass(frozen=True, slots=True)
class _HostFiles:
    """Descriptors of the host that init keeps: of the pipes, of its own files, of the shim's lock; no directory."""

    hold: dict[str, int]
    write: dict[str, int]
    rest: dict[str, int]
    exit: int
    lock: int


def main(plan: InitPlan, net: int, channel: socket.socket) -> NoReturn:
    """Run as pid 1 of the container."""
    code = 1
    try:
        code = _main(plan, net, channel)
    except PytopError as error:
        _send(channel, error=messages.error_to_json(error))
    except OSError as error:
        said = KernelError.from_os("set up the container", error)
        said.detail = str(error)
        _send(channel, error=messages.error_to_json(said))
    os._exit(code & 0xFF)


def _main(plan: InitPlan, net: int, channel: socket.socket) -> int:
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name("pytop-init")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.umask(0o022)
    syscalls.setns(net, syscalls.CLONE_NEWNET)
    _close_others(channel.fileno())
    host_files = _open_host_files(plan)
    os.setsid()
    root = rootfs.mount_root(plan.layout)
    if channel.recv(_WORD_BYTES) != ENTER:
        return 1
    for path in plan.tasks:
        _enter_cgroup(path)
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    rootfs.mount_cgroups(root, plan.cgroups)
    rootfs.mask(root)
    spec = plan.record.spec
    if spec.workdir:
        os.close(safe_open.make_directories(root, spec.workdir))
    rootfs.enter(root)
    _loopback_up()
    socket.sethostname(spec.hostname or plan.record.id[:12])
    user = users.resolve(spec.user)
    for fd in host_files.write.values():
        os.fchown(fd, user.uid, user.gid)
    syscalls.new_session_keyring()
    _change_directory(spec.workdir or "/")
    _become(user)
    plan.confine()
    if channel.recv(_WORD_BYTES) != GO:
        return 1
    try:
        child = _spawn(plan, user, host_files)
    except OSError as error:
        code = NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
        _send(channel, exec=error.errno, code=code)
        return code
    _send(channel, ready=child)
    channel.close()
    for fd in host_files.write.values():
        os.close(fd)
    return _look_after(child, host_files)


def _close_others(keep: int) -> None:
    """Close the shim's descriptors, above all its lock: a copy here would keep it locked after the shim's end."""
    syscalls.close_range(3, keep - 1)
    syscalls.close_range(keep + 1)


def _open_host_files(plan: InitPlan) -> _HostFiles:
    live = plan.live
    fresh = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    status = os.open(live / "exit", fresh, 0o600)
    with filesystems.naming(live / "exit"):
        os.posix_fallocate(status, 0, EXIT_BYTES)  # so that a disk that is full by then takes it
    hold = {s: os.open(live / s, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) for s in STREAMS}
    return _HostFiles(
        hold=hold,
        write={s: os.open(live / s, os.O_WRONLY | os.O_CLOEXEC) for s in STREAMS},
        rest={s: os.open(live / f"{s}.rest", fresh, 0o600) for s in STREAMS},
        exit=status,
        lock=os.open(live / "shim.lock", os.O_RDWR | os.O_CLOEXEC),
    )


def _loopback_up() -> None:
    """Bring up `lo` (netdevice(7)): for network "none"; a bridge's attachment does it too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP | _IFF_RUNNING))


def _enter_cgroup(tasks: Path) -> None:
    """Move this one thread by the file `tasks`: a write to cgroup.procs would wait for an RCU grace period."""
    fd = os.open(tasks, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


# -- the program


def _become(user: users.User) -> None:
    """Take the program's user and groups, and keep what init needs: its capabilities are cut down after this.

    Without the securebit, leaving uid 0 would drop them all. The bit is cleared before the program runs; its exec as
    another user than root then leaves it without capabilities.
    """
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    if user.uid:
        syscalls.prctl(syscalls.PR_SET_SECUREBITS, syscalls.SECBIT_NO_SETUID_FIXUP)
        os.setresuid(user.uid, user.uid, user.uid)
        syscalls.prctl(syscalls.PR_SET_SECUREBITS, 0)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # setresuid may have set it


def _spawn(plan: InitPlan, user: users.User, host_files: _HostFiles) -> int:
    """Start the program by vfork: a fork would first copy what it does not need. Returns when it has been exec'ed."""
    spec = plan.record.spec
    env = {"PATH": PATH, "HOSTNAME": spec.hostname or plan.record.id[:12], "HOME": user.home, **spec.env}
    os.environ["PATH"] = env["PATH"]  # where it is searched
    null = safe_open.open_in_root("/dev/null", os.O_RDONLY)
    syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)
    try:
        descriptors = (null, host_files.write["stdout"], host_files.write["stderr"])
        return syscalls.spawn(spec.command[0], spec.command, env, descriptors)
    except BlockingIOError as error:
        raise InvalidError.from_os(
            "start the program", error, hint="Its pids limit may leave no room for it"
        ) from error
    finally:
        os.close(null)


def _change_directory(path: str) -> None:
    """Into the working directory, by descriptor, and checked to be inside (CVE-2024-21626)."""
    fd = safe_open.open_in_root(path, os.O_PATH | os.O_DIRECTORY)
    os.fchdir(fd)
    os.close(fd)
    if not os.getcwd().startswith("/"):
        raise OSError(errno.EPERM, "the working directory is outside the container")


# -- the program's end


def _look_after(child: int, host_files: _HostFiles) -> int:
    """Forward signals and reap until the program has ended; then record it and see the output off."""
    watched = signal.valid_signals()
    while True:
        number = signal.sigwaitinfo(watched).si_signo
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, number)
            continue
        code = _reap(child)
        if code is not None:
            break
    line = f"{code} {time.time_ns()}\n".encode()
    with suppress(OSError):  # the shim has it from wait(2) too
        os.pwrite(host_files.exit, line, 0)
        os.ftruncate(host_files.exit, len(line))  # readers of earlier versions want nothing behind the line
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.wait()
    _linger(host_files)
    return code


def _reap(child: int) -> int | None:
    """Reap whatever has ended; the exit status of `child` if it is among it."""
    code = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
    return code if code is None or code >= 0 else 128 - code


def _linger(host_files: _HostFiles) -> None:
    """Wait until the output is in the log; save it where no shim is there to log it. Our end would discard it."""
    while any(_waiting(fd) for fd in host_files.hold.values()):
        try:
            fcntl.flock(host_files.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_INTERVAL_S)
            continue
        for stream, fd in host_files.hold.items():
            size = _waiting(fd)
            if size:
                data = os.read(fd, size)
                with suppress(OSError):  # a full disk does not stop the end
                    os.write(host_files.rest[stream], data)


def _waiting(fd: int) -> int:
    """Bytes in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])


# -- messages to the shim


def _send(channel: socket.socket, **message: Any) -> None:
    with suppress(OSError):
        channel.send(json.dumps(message).encode()[:_MESSAGE_BYTES])
