"""A private containerd for tests: own directories, socket, network namespace and cgroups; gone with the block."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups
from tests.conftest import missing, need_root

START_WITHIN = 30.0
NOTES = Path("/run/containerd/runc")
"""Where runc keeps its own notes by namespace, whatever the daemon's state directory is."""
CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{folder}/containerd.sock"
[ttrpc]
  address = "{folder}/containerd.sock.ttrpc"
[debug]
  level = "warn"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.internal.v1.restart"]
  interval = "300ms"
"""


class Containerdd:
    """The daemon; it can be killed and started again while its containers run on.

    `name` is that of its network namespace, and is meant as the containerd namespace of tests: containers of a
    namespace have their cgroups below one of its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"ptc{uuid.uuid4().hex[:5]}"
        self.socket = folder / "containerd.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.folder / "config.toml"
        config.write_text(CONFIG.format(folder=self.folder))
        command = ["nsenter", f"--net=/run/netns/{self.name}", "containerd", "--config", str(config)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_WITHIN
        while not self._answers():
            log_text = (self.folder / "log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"containerd ended:\n{log_text}"
            assert time.monotonic() < deadline, f"containerd does not answer:\n{log_text}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        return subprocess.run(self._ctr("version"), capture_output=True, check=False, timeout=10).returncode == 0

    def _ctr(self, *words: str) -> list[str]:
        return ["ctr", "--address", str(self.socket), *words]

    def ctr(self, *words: str, namespace: str = "", check: bool = True) -> str:
        """containerd's own client."""
        chosen = ("--namespace", namespace or self.name)
        done = subprocess.run(self._ctr(*chosen, *words), capture_output=True, timeout=30, check=False)
        said = done.stderr.decode(errors="replace")[-2000:]
        assert done.returncode == 0 or not check, f"ctr {' '.join(words)} ended with {done.returncode}:\n{said}"
        return done.stdout.decode().strip()

    def run(self, image: str, identity: str, *command: str, namespace: str = "", more: tuple[str, ...] = ()) -> None:
        """A container as another program would start it; its cgroup is below ours, whatever its namespace."""
        cgroup = f"/{self.name}/{namespace or 'own'}-{identity}"
        self.ctr(
            *("run", "--detach", "--null-io", "--cgroup", cgroup, *more, image, identity, *command), namespace=namespace
        )

    def kill(self) -> None:
        """End the daemon at once; shims and containers go on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextlib.contextmanager
def containerdd(folder: Path) -> Iterator[Containerdd]:
    """Run a private daemon in `folder`, which must not exist or be empty."""
    need_root("containerd")
    for program in ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "nsenter", "ip"):
        if shutil.which(program) is None:
            missing("containerd", f"{program} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Containerdd(folder)
    before = set(NOTES.glob("*"))
    subprocess.run(["ip", "netns", "add", daemon.name], check=True, timeout=10)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        _sweep(daemon)
        for left in set(NOTES.glob("*")) - before:
            with contextlib.suppress(OSError):  # it is not empty: somebody else's
                left.rmdir()


def _sweep(daemon: Containerdd) -> None:
    """Whatever the daemon has left: shims and their sockets, containers' cgroups, mounts, the namespace."""
    bundles = list(daemon.folder.glob("state/io.containerd.runtime.v2.task/*/*"))
    sockets = [(path / "address").read_text() for path in bundles if (path / "address").exists()]
    marker = str(daemon.folder).encode()
    hierarchies = cgroupfs.detect()
    with contextlib.suppress(PytopError):
        top = cgroups.create(hierarchies, daemon.name)
        cgroups.kill_all(top)
        cgroups.remove(top)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = Path(os.fsdecode(words[0])).name.startswith(("containerd", "python")) and words[1:2] != [b"-m"]
            if ours and any(word.startswith(marker) for word in words):
                os.kill(int(entry.name), signal.SIGKILL)
    for top_left in Path("/sys/fs/cgroup").glob(f"*/{daemon.name}"):  # named hierarchies, which have no controller
        for left in (*sorted(top_left.glob("*/"), reverse=True), top_left):
            with contextlib.suppress(OSError):
                left.rmdir()
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if point.startswith(str(daemon.folder)):
            subprocess.run(["umount", "-l", point], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", daemon.name], capture_output=True, check=False)
    for address in sockets:
        Path(address.removeprefix("unix://")).unlink(missing_ok=True)
    for path in bundles:
        shutil.rmtree(NOTES / path.parent.name / path.name, ignore_errors=True)
    shutil.rmtree(daemon.folder, ignore_errors=True)
