"""A private sshd on loopback for tests: own keys, own port, gone with the block."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import missing, need_root
from tests.waiting import wait_until

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
AcceptEnv *
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[list[str]]:
    """Run a server; the words of an ssh command that logs in with a terminal, to which the remote command is added."""
    need_root("sshd")
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).exists() or shutil.which("ssh") is None:
        missing("sshd", "openssh-server and openssh-client are not installed")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=20
        )
    port = _free_port()
    config = folder / "config"
    config.write_text(CONFIG.format(port=port, folder=folder))
    privsep = Path("/run/sshd")
    made = not privsep.exists()
    privsep.mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen([server, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or _listening(port), 10, "sshd listens")
        assert process.poll() is None, "sshd ended at once"
        yield [
            *("ssh", "-tt", "-p", str(port), "-i", str(folder / "user")),
            *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder / 'known'}", "-o", "LogLevel=ERROR"),
            f"{getpass.getuser()}@127.0.0.1",
        ]
    finally:
        process.terminate()
        process.wait(timeout=10)
        if made:
            with contextlib.suppress(OSError):
                privsep.rmdir()
