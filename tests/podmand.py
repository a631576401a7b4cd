"""A private Podman service for tests, with a store and a configuration of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from runtime.kernel import cgroupfs
from tests.conftest import missing
from tests.daemon import Daemon, pinged, running, unmount_below
from tests.dockerd import busybox_rootfs

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


class Podmand(Daemon):
    """The service and its store, which has the image `IMAGE`; its containers run on when the service is killed.

    A rootless one is nobody's, and its socket is where it would be below /run.
    """

    ENGINE = "podman"
    PREFIX = "pytopp"
    NEEDS = ("podman", "conmon", "setpriv", "curl")
    LEAVES = ("conmon", "podman", *RUNTIMES)

    def __init__(self, folder: Path, *, rootless: bool = False) -> None:
        super().__init__(folder)
        self.rootless = rootless
        self.runtime = folder / "x"  # short: Podman makes long socket paths below it
        self.socket = folder / f"run/user/{NOBODY}/podman/podman.sock"
        self.url = f"unix://{self.socket}"
        self._before = {path for parent in _cgroups(PARENT) for path in parent.glob("*/")}

    def prepare(self) -> None:
        """Choose the first OCI runtime with which a container really runs; crun 1.8 refuses hybrid cgroups."""
        super().prepare()
        archive, reasons = busybox_rootfs(), []
        for runtime in RUNTIMES:
            if shutil.which(runtime) is None:
                reasons.append(f"{runtime} is not installed")
                continue
            self.configure(runtime)
            try:
                self.cli("import", "-", IMAGE, stdin=archive)
                self.cli("run", "--rm", "--network", "none", IMAGE, "true")
            except AssertionError as error:
                reasons.append(str(error))
                continue
            return
        missing("podman-rootless" if self.rootless else "podman", "no container runs: " + "; ".join(reasons))

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
            *self.in_netns("podman"),
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

    def server(self) -> list[str]:
        return self.command("system", "service", "-t", "0", self.url)

    def answers(self) -> bool:
        return pinged(self.socket)

    def kill(self) -> None:
        """End the service at once."""
        super().kill()
        self.socket.unlink(missing_ok=True)

    def clean(self) -> None:
        """Containers and pods by Podman itself first; then also network namespaces and empty cgroups of pods."""
        there = self.cli("ps", "-aq", "--no-trunc", check=False).split()
        asked = ("inspect", "--format", "{{.NetworkSettings.SandboxKey}}", *there)
        keys = self.cli(*asked, check=False).split() if there else []
        self.cli("pod", "rm", "--force", "--all", "--time", "0", check=False)
        self.cli("rm", "--force", "--all", "--time", "0", check=False)
        self.stop()
        with contextlib.suppress(OSError, ValueError):  # the process that keeps a rootless Podman's user namespace
            os.kill(int((self.runtime / "libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
        super().clean()
        unmount_below(*keys)
        for key in keys:
            Path(key).unlink(missing_ok=True)
        # Podman leaves a pod's cgroups in hierarchies without controllers. Only what is empty can be removed.
        for parent in _cgroups(PARENT):
            made = [path for path in parent.glob("*/") if path not in self._before]
            for path in (*(path / "conmon" for path in made), *made, parent / "conmon", parent):
                with contextlib.suppress(OSError):
                    path.rmdir()


def podmand(folder: Path, *, rootless: bool = False) -> AbstractContextManager[Podmand]:
    """Run a private service in `folder`, which must not exist or be empty."""
    return running(Podmand(folder, rootless=rootless))


def _cgroups(name: str) -> list[Path]:
    """A cgroup's directories in every hierarchy, named ones too."""
    found = cgroupfs.detect()
    roots = {mount.path for mount in (*found.v1.values(), found.unified) if mount is not None}
    roots |= {path for path in Path("/sys/fs/cgroup").glob("*") if (path / "cgroup.procs").exists()}
    return sorted(root / name for root in roots)
