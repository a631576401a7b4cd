"""Which system calls a container may make: an allow-list equivalent to Docker's default profile.

Compiled once by libseccomp to a BPF program, which each container loads after it has dropped its
capabilities. Other ABIs of the processor (32-bit, x32) are refused completely. Without libseccomp a small built-in
deny-list is used. Source: seccomp(2), seccomp_rule_add_array(3), linux/seccomp.h.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

from runtime.errors import UnsupportedError
from runtime.kernel import libseccomp, syscalls
from runtime.kernel.libseccomp import Comparison, Operator
from runtime.oci.syscalls_allowed import ALLOWED

_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000

_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_ALG, _AF_VSOCK = 38, 40


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled filter: `code` is an array of struct sock_filter; `source` is "libseccomp" or "built-in"."""

    code: bytes
    source: str


def _error(number: int) -> int:
    return 0x00050000 | number


def compile_filter() -> Program:
    """The filter for this machine; some milliseconds, so once per zygote."""
    library = libseccomp.load()
    if library is None:
        return Program(fallback(platform.machine()), "built-in deny-list, since libseccomp.so.2 is not installed")
    return Program(_by_library(library), "libseccomp")


def apply(program: Program) -> None:
    """Load the filter permanently for this process and its children. Sets no_new_privs first."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.set_seccomp_filter(program.code)


def _by_library(library: libseccomp.Library) -> bytes:
    flags = 1 if platform.machine().startswith("s390") else 0  # index of clone(2)'s flags: s390 has the stack first
    comparisons = [("personality", Comparison(0, Operator.EQ, value)) for value in _PERSONALITIES]
    comparisons.append(("clone", Comparison(flags, Operator.MASKED_EQ, _NEW_NAMESPACES)))
    comparisons += [
        ("socket", Comparison(0, Operator.LT, _AF_ALG)),
        ("socket", Comparison(0, Operator.EQ, _AF_ALG + 1)),
        ("socket", Comparison(0, Operator.GT, _AF_VSOCK)),
    ]
    with library.filter(_error(errno.EPERM), bad_architecture=_KILL_PROCESS) as rules:
        for name in ALLOWED:
            rules.add(_ALLOW, name)
        for name, comparison in comparisons:
            rules.add(_ALLOW, name, comparison)
        # clone3 passes its flags in memory, which a filter cannot read: ENOSYS makes libc fall back to clone.
        rules.add(_error(errno.ENOSYS), "clone3")
        return rules.export()


# -- without libseccomp

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED = {
    # name: (x86_64, aarch64)
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "perf_event_open": (298, 241),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "kcmp": (312, 272),
    "lookup_dcookie": (212, 18),
}
_CLONE, _CLONE3, _SOCKET = (56, 220), 435, (41, 198)
_X32_BIT = 0x40000000
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def fallback(machine: str) -> bytes:
    """A classic BPF program: kills another architecture and x32, answers EPERM to denied calls, allows the rest."""
    if machine not in _ARCHITECTURE:
        raise UnsupportedError(
            "make the system call filter",
            detail=f"libseccomp.so.2 is missing, and there is no built-in filter for {machine}",
            hint="Install libseccomp2",
        )
    column = list(_ARCHITECTURE).index(machine)

    def line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    deny, kill = line(_RETURN, _error(errno.EPERM)), line(_RETURN, _KILL_PROCESS)
    parts = [line(_LOAD, 4), line(_JUMP_EQ, _ARCHITECTURE[machine], 1, 0), kill, line(_LOAD, 0)]
    if machine == "x86_64":
        parts += [line(_JUMP_GE, _X32_BIT, 0, 1), kill]
    parts += [line(_JUMP_EQ, _CLONE3, 0, 1), line(_RETURN, _error(errno.ENOSYS))]
    for numbers in _DENIED.values():
        parts += [line(_JUMP_EQ, numbers[column], 0, 1), deny]
    parts += [line(_JUMP_EQ, _CLONE[column], 0, 3), line(_LOAD, 16), line(_JUMP_SET, _NEW_NAMESPACES, 0, 1), deny]
    parts += [line(_LOAD, 0), line(_JUMP_EQ, _SOCKET[column], 0, 5), line(_LOAD, 16)]
    for family in (_AF_ALG, _AF_VSOCK):
        parts += [line(_JUMP_EQ, family, 0, 1), deny]
    parts.append(line(_RETURN, _ALLOW))
    return b"".join(parts)
