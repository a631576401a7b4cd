# ruff: noqa: ASYNC240  (the tests look at the engine from outside)
"""What a container may do and see, looked at from inside a running one and in the kernel's own words."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.sandbox import capabilities, devices
from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Bind
from runtime.oci.defaults import DEFAULT_CAPABILITIES
from tests.conftest import missing, need_root
from tests.integration.embedded import instance, output, run, sh

pytestmark = pytest.mark.root

PYTHON = (Bind(sys.base_prefix, sys.base_prefix, True), Bind(sys.prefix, sys.prefix, True))
CAP_NET_RAW_EP = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # struct vfs_cap_data, effective
CALLS = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    print(name, errno.errorcode[ctypes.get_errno()] if result < 0 else "done")
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


async def test_rights_are_the_default_ones_for_good(engine: EmbeddedEngine) -> None:
    status = dict(
        line.split(":\t") for line in await output(engine, await sh(engine, "cat /proc/self/status")) if ":\t" in line
    )
    wanted = f"{capabilities.bits(DEFAULT_CAPABILITIES):016x}"
    assert {name: status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {
        **dict.fromkeys(("CapEff", "CapPrm", "CapBnd"), wanted),
        **dict.fromkeys(("CapInh", "CapAmb"), "0" * 16),
    }
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


async def test_another_user_than_root_has_no_capabilities(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "id -u; grep Cap /proc/self/status; cat /etc/passwd >/dev/null && ls /root", user="nobody")
    lines = await output(engine, ref)
    assert lines[0] == "65534"
    held = dict(line.split(":\t") for line in lines[1:6])
    assert {held[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
    assert lines[6:] == []


async def test_system_calls_that_lead_out_are_refused(engine: EmbeddedEngine) -> None:
    if os.uname().machine != "x86_64":
        missing("embedded", "the numbers of this test are those of x86_64")
    code = CALLS + (
        "call('mount', 165, 0, 0, 0, 0, 0)\ncall('bpf', 321, 999)\ncall('keyctl', 250, 99)\n"
        "call('setns', 308, -1, 0)\n"
        "call('userns', 272, 0x10000000)\ncall('mntns', 272, 0x20000)\n"
        "call('clone userns', 56, 0x10000011, 0, 0, 0, 0)\n"
        "call('io_uring', 425, 0, 0)\ncall('vsock', 41, 40, 1, 0)\n"
        "call('handle', 304, -1, 0, 0)\ncall('fsopen', 430, 0, 0)\n"
        "call('clone3', 435, 0, 0)\ncall('getpid', 39)"
    )
    lines = await output(engine, await run(engine, sys.executable, "-c", code, binds=PYTHON))
    said = dict(line.rsplit(" ", 1) for line in lines)
    assert (said.pop("clone3"), said.pop("getpid")) == ("ENOSYS", "done")
    assert set(said.values()) == {"EPERM"}
    assert len(said) == 11


async def test_unprivileged_namespaces_are_refused_to_ordinary_programs(engine: EmbeddedEngine) -> None:
    script = "unshare -Ur true 2>&1; unshare -n true 2>&1; nsenter -t 1 -m true 2>&1"
    for user in ("", "nobody"):
        lines = await output(engine, await sh(engine, script, user=user))
        assert len(lines) == 3
        assert all(re.search("not permitted|denied", line) for line in lines), lines


async def test_no_raw_packets(engine: EmbeddedEngine) -> None:
    code = (
        "import socket\nfor family, kind in ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW)):\n"
        " try:\n  socket.socket(family, kind, 1)\n except PermissionError:\n  print('refused')"
    )
    assert await output(engine, await run(engine, sys.executable, "-c", code, binds=PYTHON)) == ["refused"] * 2


async def test_ping_needs_no_raw_packets(engine: EmbeddedEngine, tmp_path: Path) -> None:
    """A program with file capabilities, as ping is, starts without them; and every user may send an ICMP echo."""
    code = (
        "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)\n"
        "s.settimeout(5)\ns.sendto(bytes((8, 0, 0, 0, 0, 0, 0, 1)), ('127.0.0.1', 0))\nprint(s.recv(99)[0])"
    )
    ref = await run(engine, sys.executable, "-c", code, binds=PYTHON, user="nobody", network="bridge")
    assert await output(engine, ref) == ["0"]
    program = tmp_path / "capable"
    shutil.copy("/bin/true", program)
    os.setxattr(program, "security.capability", CAP_NET_RAW_EP)
    ref = await run(engine, "/srv/capable", binds=(Bind(str(program), "/srv/capable", True),))
    assert await engine.wait(ref.id) == 0


async def test_no_secret_of_the_host_is_inside(engine: EmbeddedEngine) -> None:
    script = (
        "ls /etc/shadow /etc/gshadow /etc/machine-id /etc/ssh /etc/ssl/private 2>/dev/null;"
        "find /root /home /tmp /var /run /srv /opt /mnt /media /usr/local/etc /usr/etc -type f 2>/dev/null;"
        "find / -xdev -name 'id_rsa*' -o -xdev -name .netrc -o -xdev -name .ssh"
    )
    assert await output(engine, await sh(engine, script)) == []


async def test_nothing_of_the_host_can_be_written(engine: EmbeddedEngine) -> None:
    script = (
        "for f in /usr/x /bin/x /etc/ssl/certs/x /etc/ld.so.cache /etc/alternatives/x; do"
        " (echo x >> $f) 2>/dev/null && echo wrote $f; done;"
        "echo x > /etc/mine && echo x > /tmp/mine && echo x > /var/mine && echo ok"
    )
    assert await output(engine, await sh(engine, script)) == ["ok"]
    assert not any(Path(path).exists() for path in ("/usr/x", "/etc/mine", "/tmp/mine", "/var/mine"))


async def test_two_containers_share_no_layer(engine: EmbeddedEngine) -> None:
    await output(engine, await sh(engine, "echo mine > /root/mine; echo x >> /etc/passwd"))
    assert await output(engine, await sh(engine, "ls /root; grep -c x$ /etc/passwd")) == ["0"]


async def test_only_its_own_devices(engine: EmbeddedEngine) -> None:
    lines = await output(
        engine, await sh(engine, "ls /dev; head -c 3 /dev/zero | wc -c; echo x > /dev/null && echo ok")
    )
    assert lines[-2:] == ["3", "ok"]
    assert set(lines[:-2]) <= {
        *("core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout"),
        *("tty", "urandom", "zero", "console"),
    }


async def test_programs_run_and_find_their_libraries_and_certificates(engine: EmbeddedEngine) -> None:
    code = (
        "import ssl, ctypes, socket, zoneinfo, pwd, tempfile\n"
        "print(pwd.getpwuid(0).pw_dir, socket.gethostbyname('localhost'))\n"
        "print(bool(ssl.create_default_context()), tempfile.mkstemp()[1][:5])"
    )
    lines = await output(engine, await run(engine, sys.executable, "-c", code, binds=PYTHON))
    assert lines == ["/root 127.0.0.1", "True /tmp/"]


# -- the device lists, against the kernel, without an engine

OPEN = """
import os, sys
sys.stdin.readline()
for name in sys.argv[1:]:
    try:
        os.close(os.open(name, os.O_RDONLY | os.O_NONBLOCK))
        print("0")
    except OSError as error:
        print(error.errno)
"""


@pytest.fixture
def cell() -> Iterator[Cgroup]:
    need_root("embedded")
    made = cgroups.create(cgroupfs.detect(), f"pytop-test-{secrets.token_hex(4)}")
    try:
        yield made
    finally:
        cgroups.remove(made)


def opened(cgroup: Cgroup, *names: str | Path) -> list[int]:
    """The error number of each open(2) by a process of the cgroup; 0 where it succeeds."""
    command = [sys.executable, "-c", OPEN, *map(str, names)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        cgroups.attach(cgroup, process.pid)
        answer, _ = process.communicate("go\n", timeout=30)
    return [int(line) for line in answer.split()]


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """Device nodes: harmless ones, and ones that show memory, the kernel's log or a disk (of no number in use)."""
    need_root("embedded")
    made = []
    for name, kind, major, minor in (
        ("null", 0o020000, 1, 3),
        ("random", 0o020000, 1, 8),
        ("kmsg", 0o020000, 1, 11),
        ("mem", 0o020000, 1, 1),
        ("disk", 0o060000, 240, 77),
    ):
        try:
            os.mknod(tmp_path / name, kind | 0o666, os.makedev(major, minor))
        except PermissionError:
            missing("embedded", "no device nodes can be made here")
        made.append(tmp_path / name)
    return made[:2], made[2:]


@pytest.mark.parametrize("version", [1, 2])
def test_the_device_list_in_the_kernel(cell: Cgroup, nodes: tuple[list[Path], list[Path]], version: int) -> None:
    harmless, harmful = nodes
    if version == 1:
        if "devices" not in cell.v1:
            missing("cgroup v1", "no devices controller of version 1 is mounted")
        where = Cgroup(v1={"devices": cell.v1["devices"]})
    else:
        if cell.unified is None:
            missing("cgroup v2", "no unified tree is mounted")
        where = Cgroup(unified=cell.unified)
    before = opened(cell, *harmless, *harmful)
    assert before[:2] == [0, 0]
    assert errno.EPERM not in before
    devices.apply(where)
    assert opened(cell, *harmless, *harmful) == [0, 0, errno.EPERM, errno.EPERM, errno.EPERM]
    devices.apply(where)  # a second time changes nothing
    assert opened(cell, *harmless, *harmful) == [0, 0, errno.EPERM, errno.EPERM, errno.EPERM]
