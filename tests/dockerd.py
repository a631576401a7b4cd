"""A private dockerd for tests: own network namespace, directories, socket and cgroup parent; gone with the block."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups
from tests.conftest import missing, need_root

START_WITHIN = 30.0


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


class Dockerd:
    """The daemon; it can be killed and started again while its containers are stopped or running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"pytopd{uuid.uuid4().hex[:6]}"
        self.socket = folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *("nsenter", f"--net=/run/netns/{self.name}"),
            *("dockerd", "--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("-H", self.url, "--pidfile", str(self.folder / "pid"), "--cgroup-parent", f"/{self.name}"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--log-level", "error"),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_WITHIN
        while not self._answers():
            log_text = (self.folder / "log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"dockerd ended:\n{log_text}"
            assert time.monotonic() < deadline, f"dockerd does not answer:\n{log_text}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        asked = subprocess.run(
            ["curl", "-s", "--max-time", "2", "--unix-socket", str(self.socket), "http://docker/_ping"],
            capture_output=True,
            check=False,
        )
        return asked.stdout == b"OK"

    def kill(self) -> None:
        """End the daemon and its containerd at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        mark = self.folder / "exec/containerd/containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(mark.read_text()), signal.SIGKILL)
        mark.unlink(missing_ok=True)  # a zombie that nobody waits for would count as a running containerd

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextlib.contextmanager
def dockerd(folder: Path) -> Iterator[Dockerd]:
    """Run a private daemon in `folder`, which must not exist or be empty."""
    need_root("docker")
    for program in ("dockerd", "containerd", "runc", "nsenter", "ip", "curl"):
        if shutil.which(program) is None:
            missing("docker", f"{program} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Dockerd(folder)
    subprocess.run(["ip", "netns", "add", daemon.name], check=True, timeout=10)
    try:
        subprocess.run(["nsenter", f"--net=/run/netns/{daemon.name}", "ip", "link", "set", "lo", "up"], check=True)
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        _sweep(daemon)


def _sweep(daemon: Dockerd) -> None:
    """Whatever the daemon has left: its containerd and shims, its containers' cgroups, mounts, the namespace."""
    marker = str(daemon.folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if Path(os.fsdecode(words[0])).name.startswith(("containerd", "docker", "runc")) and any(
                marker in word for word in words
            ):
                os.kill(int(entry.name), signal.SIGKILL)
    hierarchies = cgroupfs.detect()
    with contextlib.suppress(PytopError):
        top = cgroups.create(hierarchies, daemon.name)
        cgroups.kill_all(top)
        cgroups.remove(top)
    for left in Path("/sys/fs/cgroup").glob(f"*/{daemon.name}"):  # named hierarchies, which have no controller
        for directory, _, _ in os.walk(left, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if point.startswith(str(daemon.folder)):
            subprocess.run(["umount", "-l", point], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", daemon.name], capture_output=True, check=False)
    shutil.rmtree(daemon.folder, ignore_errors=True)
