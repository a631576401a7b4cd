"""What is read from /proc, by the text of its files and by this process."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
from pathlib import Path

from runtime.kernel import procfs
from runtime.kernel.procfs import IdRange, MountInfo


def test_the_status_of_this_process() -> None:
    status = procfs.status("self")
    assert status["Pid"] == str(os.getpid())
    assert procfs.parent(os.getpid()) == os.getppid()
    assert procfs.namespace_pids(status)[0] == os.getpid()
    assert procfs.effective_capabilities() == int(status["CapEff"], 16)
    assert procfs.pid_namespace("self") == f"pid:[{procfs.namespaces('self')['pid']}]"


def test_a_process_that_is_gone_has_no_status(tmp_path: Path) -> None:
    assert procfs.status(4, proc=tmp_path) == {}
    assert (procfs.parent(4, proc=tmp_path), procfs.namespace_pids({}), procfs.pid_namespace(4, proc=tmp_path)) == (
        0,
        (),
        None,
    )
    assert procfs.effective_capabilities(4, proc=tmp_path) == 0


def test_a_status_that_lies_about_numbers(tmp_path: Path) -> None:
    (tmp_path / "4").mkdir()
    (tmp_path / "4/status").write_text("Name:\ta:b c\nPPid:\tx\nNSpid:\t4 x 1\nCapEff:\tzz\nbroken\n")
    assert procfs.status(4, proc=tmp_path)["Name"] == "a:b c"
    assert procfs.parent(4, proc=tmp_path) == 0
    assert procfs.namespace_pids(procfs.status(4, proc=tmp_path)) == (4, 1)
    assert procfs.effective_capabilities(4, proc=tmp_path) == 0


def test_mountinfo() -> None:
    text = (
        "36 35 98:0 /a\\040b /mnt\\134x rw,noatime master:1 shared:2 - ext4 /dev/root\\040x rw,errors=continue\n"
        "37 35 98:0 / /cut ro\n"
        "37 35 98:0 / - ext4 /dev/sda rw\n"
        "38 35 0:21 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw\n"
    )
    assert list(procfs.parse_mountinfo(text)) == [
        MountInfo("/a b", "/mnt\\x", "rw,noatime", "ext4", "/dev/root x", "rw,errors=continue"),
        MountInfo("/", "/sys/fs/cgroup", "ro,nosuid", "cgroup2", "cgroup2", "rw"),
    ]


def test_maps_of_ids() -> None:
    assert procfs.parse_id_map("         0     100000      65536\n1 2\nx y z\n70000 5 1\n") == (
        IdRange(0, 100_000, 65_536),
        IdRange(70_000, 5, 1),
    )


def test_the_end_of_a_process_is_awaited_by_any_descriptor() -> None:
    """Also above 1023. Looked for in every select(2): the others have a descriptor of 0 to 2, or the only one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    child = subprocess.Popen(["sleep", "100"])
    low = os.pidfd_open(child.pid)
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 2000)
    try:
        assert not procfs.await_end(high, 0.01)
        child.kill()
        assert procfs.await_end(high, 10)
    finally:
        os.close(low)
        os.close(high)
        child.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
