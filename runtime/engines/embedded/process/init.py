"""The first process of a container: it builds the sandbox, starts the program, forwards signals, records the end.

It is a clone of the shim, born in the new namespaces and in the container's v2 cgroup. Messages to the shim are JSON on
one socket. The shim's "enter" comes when the v1 cgroups are there, its "go" when limits, network and record are in
place; its end of file means that the shim is dead, and then there is nothing to start. Init answers once: {"ready"}
when the program has been exec'ed, {"exec"} with the number of an exec that failed, or {"error"}.
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
from typing import Any, NoReturn

from runtime.engines.embedded.process import messages
from runtime.engines.embedded.process.log_writer import STREAMS
from runtime.engines.embedded.sandbox import rootfs
from runtime.engines.embedded.state.record import Record
from runtime.errors import InvalidError, KernelError, PytopError
from runtime.kernel import safe_open, syscalls
from runtime.oci import users

NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
"""What init is born in. It enters its network namespace, which was ready before, and its cgroup namespace by itself."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND, NOT_EXECUTABLE = 127, 126
ENTER, GO = b"enter", b"go"
EXIT_SIZE = 64
"""Bytes that the exit file has until it gets its one line, with the status and the time in nanoseconds."""
_WORD = 16
_LINGER_STEP = 0.002
_MESSAGE = 65536
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that init needs to know. `tasks` are the v1 files by which it enters its cgroups."""

    record: Record
    layout: rootfs.Layout
    live: Path
    tasks: tuple[Path, ...]
    cgroups: rootfs.CgroupView
    confine: Callable[[], None]  # capabilities, no_new_privs, seccomp


@dataclass(frozen=True, slots=True)
class _Ends:
    """What init keeps of the host: its ends of the pipes, files of its own, the shim's lock. No directory."""

    hold: dict[str, int]
    write: dict[str, int]
    rest: dict[str, int]
    exit: int
    lock: int


def main(plan: Plan, net: int, channel: socket.socket) -> NoReturn:
    """Run as pid 1 of the container."""
    code = 1
    try:
        code = _main(plan, net, channel)
    except PytopError as error:
        _tell(channel, error=messages.describe(error))
    except OSError as error:
        said = KernelError.from_os("set up the container", error)
        said.detail = str(error)
        _tell(channel, error=messages.describe(said))
    os._exit(code & 0xFF)


def _main(plan: Plan, net: int, channel: socket.socket) -> int:
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name("pytop-init")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.umask(0o022)
    syscalls.setns(net, syscalls.CLONE_NEWNET)
    _close_others(channel.fileno())
    ends = _open_ends(plan)
    os.setsid()
    root = rootfs.mount_root(plan.layout)
    if channel.recv(_WORD) != ENTER:
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
    for fd in ends.write.values():
        os.fchown(fd, user.uid, user.gid)
    syscalls.new_session_keyring()
    _change_directory(spec.workdir or "/")
    _become(user)
    plan.confine()
    if channel.recv(_WORD) != GO:
        return 1
    try:
        child = _spawn(plan, user, ends)
    except OSError as error:
        code = NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
        _tell(channel, exec=error.errno, code=code)
        return code
    _tell(channel, ready=child)
    channel.close()
    for fd in ends.write.values():
        os.close(fd)
    return _look_after(child, ends)


def _close_others(keep: int) -> None:
    """Let go of everything of the shim's, above all its lock, which would outlive it here."""
    syscalls.close_range(3, keep - 1)
    syscalls.close_range(keep + 1)


def _open_ends(plan: Plan) -> _Ends:
    live = plan.live
    fresh = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    status = os.open(live / "exit", fresh, 0o600)
    os.posix_fallocate(status, 0, EXIT_SIZE)  # on a disk that is full at the end there is room for it
    hold = {s: os.open(live / s, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) for s in STREAMS}
    return _Ends(
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
    """Move this process by itself and alone: unlike cgroup.procs, that waits for no RCU grace period."""
    fd = os.open(tasks, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


# -- the program


def _become(user: users.User) -> None:
    """Take the program's user and groups, and keep what init needs: its capabilities are cut down after this.

    Without the securebit, leaving uid 0 would drop them all. It is taken back, so the program knows nothing of it; an
    exec as another user than root then leaves it with none.
    """
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    if user.uid:
        syscalls.prctl(syscalls.PR_SET_SECUREBITS, syscalls.SECBIT_NO_SETUID_FIXUP)
        os.setresuid(user.uid, user.uid, user.uid)
        syscalls.prctl(syscalls.PR_SET_SECUREBITS, 0)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # a change of user may have set it


def _spawn(plan: Plan, user: users.User, ends: _Ends) -> int:
    """Start the program by vfork: a fork would first copy what it does not need. Returns when it has been exec'ed."""
    spec = plan.record.spec
    env = {"PATH": PATH, "HOSTNAME": spec.hostname or plan.record.id[:12], "HOME": user.home, **spec.env}
    os.environ["PATH"] = env["PATH"]  # where posix_spawnp looks
    null = safe_open.open_in_root("/dev/null", os.O_RDONLY)
    syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)
    try:
        return os.posix_spawnp(
            spec.command[0],
            list(spec.command),
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, number)
                for number, fd in enumerate((null, ends.write["stdout"], ends.write["stderr"]))
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
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


# -- its end


def _look_after(child: int, ends: _Ends) -> int:
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
    with suppress(OSError):  # our own status says it to the shim
        os.pwrite(ends.exit, line, 0)
        os.ftruncate(ends.exit, len(line))  # readers of earlier versions want nothing behind the line
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.wait()
    _linger(ends)
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


def _linger(ends: _Ends) -> None:
    """Stay until the output is in the log; save it when no shim is there to log it. Our end would empty the pipes."""
    while any(_waiting(fd) for fd in ends.hold.values()):
        try:
            fcntl.flock(ends.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LINGER_STEP)
            continue
        for stream, fd in ends.hold.items():
            size = _waiting(fd)
            if size:
                data = os.read(fd, size)
                with suppress(OSError):  # a full disk: the end comes all the same
                    os.write(ends.rest[stream], data)


def _waiting(fd: int) -> int:
    """Bytes in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])


# -- words for the shim


def _tell(channel: socket.socket, **message: Any) -> None:
    with suppress(OSError):
        channel.send(json.dumps(message).encode()[:_MESSAGE])
