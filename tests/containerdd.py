"""A private containerd for tests."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from tests.daemon import Daemon, running

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


class Containerdd(Daemon):
    """The daemon; its containers run on when it is killed.

    Its `name` is meant as the containerd namespace of tests too: containers of a namespace have their cgroups below one
    of its name.
    """

    ENGINE = "containerd"
    PREFIX = "ptc"
    NEEDS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc")
    LEAVES = ("containerd", "python")  # what writes the logs is Python

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.socket = folder / "containerd.sock"
        self._notes = set(NOTES.glob("*"))

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "config.toml").write_text(CONFIG.format(folder=self.folder))

    def server(self) -> list[str]:
        return self.in_netns("containerd", "--config", str(self.folder / "config.toml"))

    def answers(self) -> bool:
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

    def run(
        self,
        image: str,
        identity: str,
        *command: str,
        namespace: str = "",
        more: tuple[str, ...] = (),
        output: tuple[str, ...] = ("--null-io",),
    ) -> None:
        """A container as another program would start it; its cgroup is below ours, whatever its namespace."""
        cgroup = f"/{self.name}/{namespace or 'own'}-{identity}"
        self.ctr(
            *("run", "--detach", *output, "--cgroup", cgroup, *more, image, identity, *command), namespace=namespace
        )

    def kill(self) -> None:
        """End the daemon at once; shims and containers go on."""
        super().kill()
        self.socket.unlink(missing_ok=True)

    def clean(self) -> None:
        """The sockets of shims and the notes of runc too, which are outside of its directory."""
        self.stop()
        bundles = list(self.folder.glob("state/io.containerd.runtime.v2.task/*/*"))
        sockets = [(path / "address").read_text() for path in bundles if (path / "address").exists()]
        super().clean()
        for address in sockets:
            Path(address.removeprefix("unix://")).unlink(missing_ok=True)
        for path in bundles:
            shutil.rmtree(NOTES / path.parent.name / path.name, ignore_errors=True)
        for left in set(NOTES.glob("*")) - self._notes:
            with contextlib.suppress(OSError):  # it is not empty: somebody else's
                left.rmdir()


def containerdd(folder: Path) -> AbstractContextManager[Containerdd]:
    """Run a private daemon in `folder`, which must not exist or be empty."""
    return running(Containerdd(folder))
