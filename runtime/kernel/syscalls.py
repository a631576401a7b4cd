"""System calls without a function in Python 3.11, by ctypes: namespaces, mounts by descriptor, clone3, capabilities.

This is the one module that calls the C library by ctypes (`libseccomp` calls that library). Every function raises
`OSError` with the call's name. Numbers are those of asm-generic (the same on every machine since Linux 5.1) but for the
few older ones in `_BY_MACHINE`. All of them exist since Linux 5.12 (mount_setattr).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Mapping, Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_CLONE_INTO_CGROUP = 0x200000000

MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

OPEN_TREE_CLONE = 1
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

ATTR_RDONLY = 0x01
ATTR_NOSUID = 0x02
ATTR_NODEV = 0x04
ATTR_NOEXEC = 0x08

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

SECBIT_NO_SETUID_FIXUP = 1 << 2
CLOSE_RANGE_CLOEXEC = 1 << 2

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR, _QUOTACTL_FD = 435, 436, 437, 442, 443
_BY_MACHINE = {
    "x86_64": (155, 250, 321, 251, 252),
    "aarch64": (41, 219, 280, 30, 31),
    "riscv64": (41, 219, 280, 30, 31),
}
_PIVOT_ROOT, _KEYCTL, _BPF, _IOPRIO_SET, _IOPRIO_GET = _BY_MACHINE.get(platform.machine(), (-1,) * 5)  # -1: ENOSYS

_MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CLONE_ARGS_BYTES = 88
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_MODE_FILTER = 2
_SOCK_FILTER_BYTES = 8  # one instruction of classic BPF
_BPF_INSTRUCTION_BYTES = 8
_BPF_PROG_LOAD, _BPF_PROG_ATTACH = 5, 8
_BPF_ATTRIBUTES_BYTES = 128
_IOPRIO_WHO_PROCESS = 1
_SPAWN_SETSIGDEF, _SPAWN_SETSIGMASK, _SPAWN_SETSID = 0x04, 0x08, 0x80
_SIGSET_BYTES = 128
_SPAWN_BYTES = 512  # more than posix_spawnattr_t and posix_spawn_file_actions_t have in any C library


def _checked(result: int, call: str, path: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        error = OSError(number, f"{call}: {os.strerror(number)}")
        error.filename = path
        raise error
    return result


def _call(name: str, number: int, *arguments: object, path: str | None = None) -> int:
    numbered = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    return _checked(_LIBC.syscall(ctypes.c_long(number), *numbered), name, path)


def quotactl(fd: int, command: int, identity: int, buffer: bytearray) -> None:
    """A command of quotactl_fd(2) for the file system that `fd` is on; `buffer` is read and written in place."""
    data = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    _call("quotactl_fd", _QUOTACTL_FD, fd, command, identity, ctypes.byref(data))


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _checked(_LIBC.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move this thread into a namespace."""
    _checked(_LIBC.setns(fd, kind), "setns")


def prctl(option: int, second: int = 0, third: int = 0) -> int:
    """Get or set an attribute of this process; unused arguments must be 0."""
    number = ctypes.c_ulong
    return _checked(_LIBC.prctl(option, number(second), number(third), number(0), number(0)), "prctl")


def set_name(name: str) -> None:
    """Name this process for ps and top (15 bytes)."""
    _checked(_LIBC.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0), "prctl")


def clone(flags: int, cgroup_fd: int | None = None) -> int:
    """Fork this single-threaded process into new namespaces and, if given, straight into a v2 cgroup: 0 in the child.

    Cloning into the cgroup avoids a later move by cgroup.procs, which waits for an RCU grace period (6 to 14 ms).
    """
    if cgroup_fd is not None:
        flags |= _CLONE_INTO_CGROUP
    arguments = struct.pack("=11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup_fd or 0)
    buffer = ctypes.create_string_buffer(arguments, _CLONE_ARGS_BYTES)
    api = ctypes.pythonapi
    api.PyOS_BeforeFork()
    pid: int = _LIBC_LOCKED.syscall(ctypes.c_long(_CLONE3), buffer, ctypes.c_size_t(_CLONE_ARGS_BYTES))
    if pid == 0:
        api.PyOS_AfterFork_Child()
        return 0
    api.PyOS_AfterFork_Parent()
    return _checked(pid, "clone3")


# PyDLL holds the GIL during the call, as os.fork() does.
_LIBC_LOCKED = ctypes.PyDLL(None, use_errno=True)
_LIBC_LOCKED.syscall.restype = ctypes.c_long


def spawn(program: str, arguments: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]) -> int:
    """Start a program by vfork and exec in a new session; returns its pid once it has been exec'ed.

    `descriptors` become its 0, 1, 2 and so on. It is searched in this process's own PATH. All 64 signals are at their
    default and unblocked in it. `os.posix_spawnp` cannot do that: it takes no set with 32 and 33, which the C library
    keeps to itself, and posix_spawn(3) has those ignored in the program unless they are in the set.
    """
    actions, attributes = ctypes.create_string_buffer(_SPAWN_BYTES), ctypes.create_string_buffer(_SPAWN_BYTES)
    _spawned(_LIBC.posix_spawn_file_actions_init(actions), program)
    _spawned(_LIBC.posix_spawnattr_init(attributes), program)
    try:
        for number, descriptor in enumerate(descriptors):
            _spawned(_LIBC.posix_spawn_file_actions_adddup2(actions, descriptor, number), program)
        _LIBC.posix_spawnattr_setsigdefault(attributes, b"\xff" * _SIGSET_BYTES)
        _LIBC.posix_spawnattr_setsigmask(attributes, bytes(_SIGSET_BYTES))
        flags = ctypes.c_short(_SPAWN_SETSIGDEF | _SPAWN_SETSIGMASK | _SPAWN_SETSID)
        _spawned(_LIBC.posix_spawnattr_setflags(attributes, flags), program)
        words = [os.fsencode(word) for word in arguments]
        variables = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
        argv, envp = (ctypes.c_char_p * (len(words) + 1))(*words), (ctypes.c_char_p * (len(variables) + 1))(*variables)
        pid = ctypes.c_int()
        path = os.fsencode(program)
        _spawned(_LIBC.posix_spawnp(ctypes.byref(pid), path, actions, attributes, argv, envp), program)
        return pid.value
    finally:
        _LIBC.posix_spawnattr_destroy(attributes)
        _LIBC.posix_spawn_file_actions_destroy(actions)


def _spawned(number: int, program: str) -> None:
    """Raise the error that a function of the posix_spawn family has returned."""
    if number:
        raise OSError(number, os.strerror(number), program)


def ioprio_get(pid: int = 0) -> int:
    """The I/O priority of a process, this one by default: class << 13 | level; 0 for none of its own."""
    return _call("ioprio_get", _IOPRIO_GET, _IOPRIO_WHO_PROCESS, pid)


def ioprio_set(priority: int, pid: int = 0) -> None:
    """Set the I/O priority of a process, this one by default, in the form of `ioprio_get`."""
    _call("ioprio_set", _IOPRIO_SET, _IOPRIO_WHO_PROCESS, pid, priority)


def mount_flags(target: str, flags: int) -> None:
    """Change the propagation of a mount (MS_PRIVATE and so on)."""
    _checked(_LIBC.mount(None, target.encode(), None, ctypes.c_ulong(flags), None), "mount", target)


def unmount(target: str, flags: int = 0) -> None:
    """Unmount a file system (umount2(2))."""
    _checked(_LIBC.umount2(os.fsencode(target), flags), "umount2", target)


def pivot_root(new: str, old: str) -> None:
    """Change the root mount of this mount namespace; the old root is mounted at `old`."""
    _call("pivot_root", _PIVOT_ROOT, new.encode(), old.encode(), path=new)


def openat2(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open a path below a directory with the restrictions RESOLVE_*; the descriptor is close-on-exec."""
    how = ctypes.create_string_buffer(struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve), 24)
    return _call("openat2", _OPENAT2, directory, os.fsencode(path), how, 24, path=path)


def open_tree(path: str, *, directory: int = AT_FDCWD, recursive: bool = False) -> int:
    """A detached copy of a mount (an unattached bind mount); an empty path means `directory` itself."""
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return _call("open_tree", _OPEN_TREE, directory, os.fsencode(path), flags, path=path or None)


def move_mount(mount: int, target: int) -> None:
    """Attach a detached mount at the directory or file open as `target`."""
    _call("move_mount", _MOVE_MOUNT, mount, b"", target, b"", _MOVE_MOUNT_EMPTY_PATHS)


def new_mount(kind: str, options: dict[str, str], attributes: int = 0) -> int:
    """A new detached mount of a file system; an option with an empty value is a flag. Errors name the file system."""
    context = _call("fsopen", _FSOPEN, kind.encode(), 1, path=kind)
    try:
        for name, value in options.items():
            command = _FSCONFIG_SET_STRING if value else _FSCONFIG_SET_FLAG
            text = os.fsencode(value) if value else None
            _call(f"fsconfig {name}", _FSCONFIG, context, command, name.encode(), text, 0, path=kind)
        _call("fsconfig create", _FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0, path=kind)
        return _call("fsmount", _FSMOUNT, context, 1, attributes, path=kind)
    finally:
        os.close(context)


def set_mount_attributes(mount: int, attributes: int, *, recursive: bool = False) -> None:
    """Add attributes (ATTR_RDONLY and so on) to an open mount."""
    attr = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, 0), 32)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _call("mount_setattr", _MOUNT_SETATTR, mount, b"", flags, attr, 32)


def close_range(first: int, last: int = 0xFFFFFFFF, *, flags: int = 0) -> None:
    """Close descriptors from `first` to `last`; the range may be empty."""
    if first <= last:
        _call("close_range", _CLOSE_RANGE, first, last, flags)


def new_session_keyring() -> None:
    """Join a new session keyring, so that the parent's keys are not inherited; ignored by a kernel without keyrings."""
    result = _LIBC.syscall(ctypes.c_long(_KEYCTL), ctypes.c_long(_KEYCTL_JOIN_SESSION_KEYRING), None)
    if result < 0 and ctypes.get_errno() not in (1, 38):  # EPERM under a foreign seccomp filter, ENOSYS
        _checked(-1, "keyctl")


def tee(source: int, target: int, size: int) -> int:
    """Copy data from one pipe into another without consuming it (tee(2)); 0 at the end of the data."""
    result: int = _checked(_LIBC.tee(source, target, ctypes.c_size_t(size), 2), "tee")  # 2: SPLICE_F_NONBLOCK
    return result


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    """32 of the 64 bits of each set."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def capget() -> tuple[int, int, int]:
    """This thread's effective, permitted and inheritable capabilities as masks."""
    header, data = _CapabilityHeader(_CAPABILITY_VERSION_3, 0), (_CapabilityData * 2)()
    _checked(_LIBC.capget(ctypes.byref(header), data), "capget")
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capabilities; only ones that are permitted now can be kept."""
    masks = (effective, permitted, inheritable)
    low = _CapabilityData(*(mask & 0xFFFFFFFF for mask in masks))
    high = _CapabilityData(*(mask >> 32 for mask in masks))
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    _checked(_LIBC.capset(ctypes.byref(header), (_CapabilityData * 2)(low, high)), "capset")


class _SocketFilterProgram(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def set_seccomp_filter(code: bytes) -> None:
    """Install a seccomp filter (an array of struct sock_filter) permanently. Needs no_new_privs or CAP_SYS_ADMIN."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _SocketFilterProgram(len(code) // _SOCK_FILTER_BYTES, ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def bpf_load(program_type: int, code: bytes) -> int:
    """Load a BPF program, declared as GPL; its descriptor."""
    buffer, license_text = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    length, start = len(code) // _BPF_INSTRUCTION_BYTES, ctypes.addressof(buffer)
    return _bpf(_BPF_PROG_LOAD, struct.pack("=IIQQ", program_type, length, start, ctypes.addressof(license_text)))


def bpf_attach(target: int, program: int, attach_type: int, flags: int) -> None:
    """Attach a loaded program to the object open as `target`, such as a cgroup's directory."""
    _bpf(_BPF_PROG_ATTACH, struct.pack("=IIII", target, program, attach_type, flags))


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(_BPF_ATTRIBUTES_BYTES, b"\0"), _BPF_ATTRIBUTES_BYTES)
    return _call("bpf", _BPF, command, buffer, _BPF_ATTRIBUTES_BYTES)


def inotify_init() -> int:
    """A new inotify instance: non-blocking, close-on-exec."""
    return _checked(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")


def inotify_add_watch(fd: int, path: bytes, mask: int) -> int:
    """Watch a path for the events of `mask`; returns the watch descriptor that events carry."""
    return _checked(_LIBC.inotify_add_watch(fd, path, mask), "inotify")


def inotify_rm_watch(fd: int, watch: int) -> None:
    """End a watch; the kernel does so itself when what is watched is removed."""
    _checked(_LIBC.inotify_rm_watch(fd, watch), "inotify")
