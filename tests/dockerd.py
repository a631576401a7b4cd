"""A private dockerd for tests, and the root file system of their images."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
from contextlib import AbstractContextManager
from pathlib import Path

from tests.conftest import missing
from tests.daemon import Daemon, pinged, running


def busybox_rootfs() -> bytes:
    """A tar archive of a root file system whose every program is busybox."""
    busybox = shutil.which("busybox") or "/bin/busybox"
    if not Path(busybox).exists():
        missing("docker", "busybox-static is not installed")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "var"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.add(busybox, "bin/busybox")
        for name in listed:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
        passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(passwd)
        archive.addfile(entry, io.BytesIO(passwd))
    return buffer.getvalue()


class Dockerd(Daemon):
    """The daemon with a containerd of its own; containers are below its cgroup."""

    ENGINE = "docker"
    PREFIX = "pytopd"
    NEEDS = ("dockerd", "containerd", "runc", "curl")
    LEAVES = ("containerd", "docker", "runc")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.socket = folder / "docker.sock"
        self.url = f"unix://{self.socket}"

    def server(self) -> list[str]:
        return self.in_netns(
            *("dockerd", "--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("-H", self.url, "--pidfile", str(self.folder / "pid"), "--cgroup-parent", f"/{self.name}"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--log-level", "error"),
        )

    def answers(self) -> bool:
        return pinged(self.socket)

    def kill(self) -> None:
        """End the daemon and its containerd at once."""
        super().kill()
        mark = self.folder / "exec/containerd/containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(mark.read_text()), signal.SIGKILL)
        mark.unlink(missing_ok=True)  # a zombie that nobody waits for would count as a running containerd


def dockerd(folder: Path) -> AbstractContextManager[Dockerd]:
    """Run a private daemon in `folder`, which must not exist or be empty."""
    return running(Dockerd(folder))
