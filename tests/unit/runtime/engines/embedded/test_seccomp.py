"""The system call filter: loaded for real in a process of its own, and the built-in one also by interpretation."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import subprocess
import sys
from typing import Any

import pytest

from runtime.engines.embedded.sandbox import seccomp
from runtime.errors import UnsupportedError
from runtime.oci.syscalls_allowed import ALLOWED
from tests.conftest import missing

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000

PRELUDE = """
import ctypes, errno, os, platform, socket, subprocess, sys, threading
from runtime.engines.embedded.sandbox import seccomp
library = ctypes.CDLL("libseccomp.so.2") if {which!r} == "libseccomp" else None
program = seccomp.compile_filter() if library else seccomp.Program(seccomp.fallback(platform.machine()), "built-in")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def call(number, *arguments):
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0 else 0

seccomp.apply(program)
"""


def confined(which: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code behind a filter; `which` is "libseccomp" or "built-in"."""
    if platform.machine() != "x86_64":
        missing("embedded", "the numbers of these tests are those of x86_64")
    if which == "libseccomp":
        need_library()
    return subprocess.run(
        [sys.executable, "-c", PRELUDE.format(which=which) + code], capture_output=True, text=True, timeout=30
    )


def need_library() -> Any:
    try:
        return ctypes.CDLL("libseccomp.so.2")
    except OSError:
        missing("embedded", "libseccomp.so.2 is not installed")


both = pytest.mark.parametrize("which", ["libseccomp", "built-in"])

# Arguments without a meaning: what the filter lets through fails with another error than EPERM, also for root.
REFUSED = {
    "mount": "165, 0, 0, 0, 0, 0",
    "umount2": "166, 0, 0",
    "pivot_root": "155, 0, 0",
    "keyctl": "250, 99",
    "add_key": "248, 0, 0",
    "bpf": "321, 999",
    "perf_event_open": "298, 0, 0",
    "io_uring_setup": "425, 0, 0",
    "userfaultfd": "323, -1",
    "unshare a user namespace": "272, 0x10000000",
    "unshare mounts": "272, 0x00020000",
    "setns": "308, -1, 0",
    "clone into a user namespace": "56, 0x10000011, 0, 0, 0, 0",
    "clone into a mount namespace": "56, 0x00020011, 0, 0, 0, 0",
    "socket of AF_VSOCK": "41, 40, 1, 0",
    "socket of AF_ALG": "41, 38, 5, 0",
    "open_by_handle_at": "304, -1, 0, 0",
    "kexec_load": "246, 0, 0, 0, -1",
    "init_module": "175, 0, 0, 0",
    "open_tree": "428, -1, 0, 0",
    "fsopen": "430, 0, 0",
}


@both
def test_what_leads_out_of_a_container_is_refused(which: str) -> None:
    calls = ", ".join(f"({name!r}, call({arguments}))" for name, arguments in REFUSED.items())
    done = confined(which, f"print([name for name, number in ({calls}) if number != errno.EPERM])")
    assert done.stdout == "[]\n", done


def test_without_a_filter_these_calls_are_not_refused() -> None:
    """Else the test above would show nothing but a lack of rights."""
    if os.geteuid() != 0:
        missing("embedded", "needs root")
    harmless = [v for k, v in REFUSED.items() if k in ("mount", "keyctl", "bpf", "setns", "open_tree", "fsopen")]
    calls = ", ".join(f"call({arguments})" for arguments in harmless)
    code = PRELUDE.format(which="built-in").replace("seccomp.apply(program)", "") + f"print([{calls}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert str(errno.EPERM) not in done.stdout.strip("[]\n").split(", "), done


@both
def test_clone3_is_not_there_so_that_libc_falls_back_to_clone(which: str) -> None:
    assert confined(which, "print(call(435, 0, 0) == errno.ENOSYS)").stdout == "True\n"


@both
def test_an_ordinary_program_runs(which: str) -> None:
    code = """
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
print(subprocess.run(["/bin/sh", "-c", "echo shell"], capture_output=True, text=True).stdout.strip())
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()[:2]):
    print("socket")
socket.socketpair()[0].close()
import multiprocessing.shared_memory, tempfile, select, time
with tempfile.TemporaryFile() as file: file.write(b"x")
select.epoll().close(); time.sleep(0.001); os.getrandom(4); os.sched_yield(); print(call(135, 0xFFFFFFFF))
"""
    done = confined(which, code)
    assert done.stdout.split() == ["thread", "shell", "socket", "0"], done


def test_only_harmless_personalities() -> None:
    """READ_IMPLIES_EXEC and ADDR_NO_RANDOMIZE weaken a program's own defences."""
    code = "print([call(135, p) for p in (0x20000, 0x0008, 0x0, 0x0400000, 0x0040000)])"
    assert confined("libseccomp", code).stdout == f"[0, 0, 0, {errno.EPERM}, {errno.EPERM}]\n"


@both
def test_x32_calls_end_the_program(which: str) -> None:
    assert confined(which, "call(0x40000000 + 39)").returncode == -signal.SIGSYS


@both
def test_32_bit_calls_end_the_program(which: str) -> None:
    """mov $20, %eax (getpid); int $0x80; ret."""
    code = """
import mmap
def legacy():
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
    whole = PRELUDE.format(which="built-in").replace("seccomp.apply(program)", "") + code + "assert legacy() > 0"
    if subprocess.run([sys.executable, "-c", whole], timeout=30, capture_output=True).returncode != 0:
        missing("ia32", "this kernel runs no 32-bit system calls")
    assert confined(which, code + "legacy()").returncode == -signal.SIGSYS


@both
def test_it_is_for_good_and_for_children(which: str) -> None:
    code = """
print([l.split()[1] for l in open("/proc/self/status") if l.startswith(("NoNewPrivs", "Seccomp:"))])
inside = "import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.unshare(0x10000000), ctypes.get_errno())"
print(subprocess.run([sys.executable, "-c", inside], capture_output=True, text=True).stdout.strip())
"""
    assert confined(which, code).stdout.splitlines() == ["['1', '2']", f"-1 {errno.EPERM}"]


def test_the_allow_list_holds_nothing_that_docker_refuses() -> None:
    refused = """
        acct add_key bpf clone3 delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick
        get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp
        kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount move_pages
        migrate_pages nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root
        process_madvise quotactl quotactl_fd reboot request_key set_mempolicy setdomainname sethostname setns
        settimeofday clock_settime clock_settime64 stime swapoff swapon sysfs syslog umount umount2 unshare
        uselib userfaultfd ustat vhangup vm86 vm86old
    """
    assert not ALLOWED & set(refused.split())
    assert not ALLOWED & {"clone", "socket", "personality"}  # these are allowed on conditions


def test_the_numbers_of_the_built_in_filter_are_right() -> None:
    resolve = need_library().seccomp_syscall_resolve_name_arch
    table = {
        **seccomp._DENIED,
        "clone": seccomp._CLONE,
        "clone3": (seccomp._CLONE3,) * 2,
        "socket": seccomp._SOCKET,
    }
    for name, numbers in table.items():
        for (machine, token), number in zip(MACHINES.items(), numbers, strict=True):
            known = resolve(ctypes.c_uint32(token), name.encode())
            assert known in (number, -1), f"{name} on {machine}"  # -1: newer than this libseccomp


def interpret(code: bytes, number: int, arch: int, first: int = 0) -> int:
    """Run a classic BPF program on one struct seccomp_data; the action that it returns."""
    data = struct.pack("=iIQ6Q", ctypes.c_int32(number).value, arch, 0, first, 0, 0, 0, 0, 0)
    lines = list(struct.iter_unpack("=HBBI", code))
    at = accumulator = 0
    while True:
        operation, if_true, if_false, value = lines[at]
        at += 1
        if operation == 0x06:
            return int(value)
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[operation]
            at += if_true if holds else if_false


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_the_built_in_filter_by_interpretation(machine: str, column: int) -> None:
    code, arch = seccomp.fallback(machine), MACHINES[machine]
    refused = 0x00050000 | errno.EPERM
    for name, numbers in seccomp._DENIED.items():
        assert interpret(code, numbers[column], arch) == refused, name
        assert interpret(code, numbers[column], 0x40000003) == KILL
    clone, socket_call = seccomp._CLONE[column], seccomp._SOCKET[column]
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert interpret(code, clone, arch, flag | signal.SIGCHLD) == refused
    assert interpret(code, clone, arch, 0x003D0F00) == ALLOW  # a thread
    assert [interpret(code, socket_call, arch, family) for family in (1, 2, 10, 16, 38, 40)] == [
        *[ALLOW] * 4,
        refused,
        refused,
    ]
    denied = {numbers[column] for numbers in seccomp._DENIED.values()} | {435}
    assert all(interpret(code, number, arch, 0) == ALLOW for number in range(460) if number not in denied)


def test_without_the_library_the_built_in_filter_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise OSError(errno.ENOENT, "libseccomp.so.2: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    program = seccomp.compile_filter()
    assert program.code == seccomp.fallback("aarch64")
    assert "libseccomp" in program.source
    monkeypatch.setattr(platform, "machine", lambda: "sparc64")
    with pytest.raises(UnsupportedError, match="sparc64"):
        seccomp.compile_filter()
