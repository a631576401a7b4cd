"""A private Podman service for tests: own network namespace, store, configuration and socket; gone with the block."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from runtime.kernel import cgroupfs
from tests.conftest import missing, need_root
from tests.dockerd import busybox_rootfs

START_WITHIN = 30.0
RUNTIMES = ("runc", "crun")
NOBODY = 65534
IMAGE = "localhost/busybox:latest"
PARENT = "libpod_parent"  # where Podman puts containers, with cgroupfs as its manager
# The file of events is small, so that it is full and begun anew while tests follow it.
CONF = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
events_logfile_max_size = 8000
lock_type = "file"
[network]
network_config_dir = "{folder}/networks"
"""


class Podmand:
    """The service and its store; the service can be killed and started again, its containers run on meanwhile.

    A rootless one is nobody's, and its socket is where it would be below /run.
    """

    def __init__(self, folder: Path, *, rootless: bool = False) -> None:
        self.folder = folder
        self.rootless = rootless
        self.name = f"pytopp{uuid.uuid4().hex[:6]}"
        self.runtime = folder / "x"  # short: Podman makes long socket paths below it
        self.socket = folder / f"run/user/{NOBODY}/podman/podman.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, runtime: str) -> None:
        for made in (self.folder / "networks", self.folder / "home", self.runtime, self.socket.parent):
            made.mkdir(exist_ok=True, parents=True)
        (self.folder / "networks/87-podman.conflist").write_text(json.dumps(self._network()))
        (self.folder / "containers.conf").write_text(CONF.format(runtime=runtime, folder=self.folder))
        if self.rootless:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)

    def _network(self) -> dict[str, object]:
        """For Podmans with CNI; one with netavark makes its own in the same folder."""
        ipam = {
            "type": "host-local",
            "dataDir": str(self.folder / "leases"),
            "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": "10.233.0.0/24", "gateway": "10.233.0.1"}]],
        }
        bridge = {"type": "bridge", "bridge": "podman0", "isGateway": True, "ipMasq": False, "ipam": ipam}
        return {"cniVersion": "0.4.0", "name": "podman", "plugins": [bridge]}

    def command(self, *words: str) -> list[str]:
        """Podman's own client on this store."""
        if self.rootless:
            who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
            return [*who, "podman", "--storage-driver", "vfs", *words]
        return [
            *("nsenter", f"--net=/run/netns/{self.name}", "podman"),
            *("--root", str(self.folder / "root"), "--runroot", str(self.folder / "runroot")),
            *("--tmpdir", str(self.folder / "tmp"), "--storage-driver", "vfs", *words),
        ]

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONTAINER")}
        kept |= {"CONTAINERS_CONF": str(self.folder / "containers.conf")}
        if self.rootless:
            kept |= {"HOME": str(self.folder / "home"), "XDG_RUNTIME_DIR": str(self.runtime), "USER": "nobody"}
        return kept

    def cli(self, *words: str, stdin: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run(
            self.command(*words), env=self.environ, input=stdin, capture_output=True, timeout=60, check=False, cwd="/"
        )
        said = done.stderr.decode(errors="replace")[-2000:]
        assert done.returncode == 0 or not check, f"podman {' '.join(words)} ended with {done.returncode}:\n{said}"
        return done.stdout.decode().strip()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command("system", "service", "-t", "0", self.url),
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + START_WITHIN
        while not self._answers():
            log_text = (self.folder / "log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"podman system service ended:\n{log_text}"
            assert time.monotonic() < deadline, f"podman system service does not answer:\n{log_text}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        asked = subprocess.run(
            ["curl", "-s", "--max-time", "2", "--unix-socket", str(self.socket), "http://podman/_ping"],
            capture_output=True,
            check=False,
        )
        return asked.stdout == b"OK"

    def kill(self) -> None:
        """End the service at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextlib.contextmanager
def podmand(folder: Path, *, rootless: bool = False) -> Iterator[Podmand]:
    """Run a private service in `folder`, which must not exist or be empty. It has the image `IMAGE`."""
    need_root("podman")
    for program in ("podman", "conmon", "nsenter", "setpriv", "ip", "curl"):
        if shutil.which(program) is None:
            missing("podman", f"{program} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Podmand(folder, rootless=rootless)
    before = {path for parent in _cgroups(PARENT) for path in parent.glob("*/")}
    subprocess.run(["ip", "netns", "add", daemon.name], check=True, timeout=10)
    try:
        subprocess.run(["nsenter", f"--net=/run/netns/{daemon.name}", "ip", "link", "set", "lo", "up"], check=True)
        _choose_runtime(daemon)
        daemon.start()
        yield daemon
    finally:
        _sweep(daemon, before)


def _choose_runtime(daemon: Podmand) -> None:
    """The first OCI runtime with which a container really runs; crun 1.8, for one, refuses hybrid cgroups."""
    archive, reasons = busybox_rootfs(), []
    for runtime in RUNTIMES:
        if shutil.which(runtime) is None:
            reasons.append(f"{runtime} is not installed")
            continue
        daemon.configure(runtime)
        try:
            daemon.cli("import", "-", IMAGE, stdin=archive)
            daemon.cli("run", "--rm", "--network", "none", IMAGE, "true")
        except AssertionError as error:
            reasons.append(str(error))
            continue
        return
    missing("podman-rootless" if daemon.rootless else "podman", "no container runs: " + "; ".join(reasons))


def _cgroups(name: str) -> list[Path]:
    """A cgroup's directories in every hierarchy, named ones too."""
    found = cgroupfs.detect()
    roots = {mount.path for mount in (*found.v1.values(), found.unified) if mount is not None}
    roots |= {path for path in Path("/sys/fs/cgroup").glob("*") if (path / "cgroup.procs").exists()}
    return sorted(root / name for root in roots)


def _sweep(daemon: Podmand, before: set[Path]) -> None:
    """Containers and pods by Podman itself; then whatever is left: processes, mounts, namespaces, empty cgroups."""
    there = daemon.cli("ps", "-aq", "--no-trunc", check=False).split()
    keys = daemon.cli("inspect", "--format", "{{.NetworkSettings.SandboxKey}}", *there, check=False) if there else ""
    daemon.cli("pod", "rm", "--force", "--all", "--time", "0", check=False)
    daemon.cli("rm", "--force", "--all", "--time", "0", check=False)
    daemon.stop()
    with contextlib.suppress(OSError, ValueError):  # the process that keeps a rootless Podman's user namespace
        os.kill(int((daemon.runtime / "libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
    marker = str(daemon.folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if Path(os.fsdecode(words[0])).name in ("conmon", "podman", *RUNTIMES) and any(
                marker in word for word in words
            ):
                os.kill(int(entry.name), signal.SIGKILL)
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if point.startswith(str(daemon.folder)) or point in keys.split():
            subprocess.run(["umount", "-l", point], capture_output=True, check=False)
    for key in filter(None, keys.split()):
        Path(key).unlink(missing_ok=True)
    # Podman leaves a pod's cgroups in hierarchies without controllers. Only what is empty can be removed.
    for parent in _cgroups(PARENT):
        made = [path for path in parent.glob("*/") if path not in before]
        for path in (*(path / "conmon" for path in made), *made, parent / "conmon", parent):
            with contextlib.suppress(OSError):
                path.rmdir()
    subprocess.run(["ip", "netns", "delete", daemon.name], capture_output=True, check=False)
    shutil.rmtree(daemon.folder, ignore_errors=True)
