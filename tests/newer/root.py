"""A Debian of another release as a directory, made once by debootstrap in a cache directory; nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.guest import kernel
from tests.guest.kernel import NotHereError

RELEASE: Final = "trixie"
PACKAGES: Final = (
    *("podman", "conmon", "crun", "runc", "netavark", "aardvark-dns", "uidmap", "slirp4netns", "passt"),
    *("docker.io", "docker-cli", "containerd", "iptables", "nftables"),
    *("busybox-static", "curl", "iproute2", "procps", "python3"),
    *("libseccomp2", "libexpat1", "libffi8", "libsqlite3-0"),
)
"""Podman, Docker and containerd, programs of their tests, and libraries of this machine's Python."""
NEEDED: Final = {"debootstrap": "debootstrap", "apt-get": "apt", "unshare": "util-linux"}
SYSTEM: Final = Path("/usr")


def have(release: str = RELEASE) -> Path:
    """The directory of that release; the first time some 250 MB are downloaded, and 1.3 GB written.

    Raises `NotHereError` when it cannot be made.
    """
    kernel.require(NEEDED)
    home = kernel.cache().with_name("newer") / release
    with_all = home / "packages"  # as it was made; another list makes it anew
    if with_all.is_file() and with_all.read_text() == "\n".join(PACKAGES):
        return home
    making = home.with_name(f"{release}.making")
    for old in (making, home):
        remove(old)
    making.mkdir(parents=True)
    print(f"making a Debian {release} in {home}", flush=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", release, str(making), mirror()]
    environment = {**os.environ, "PATH": kernel.search_path()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=environment)
    if done.returncode:
        raise NotHereError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    making.rename(home)
    with_all.write_text("\n".join(PACKAGES))
    return home


def remove(old: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Delete what was made; raises `NotHereError` while something of this machine is mounted in there."""
    held = [line.split()[4] for line in mounts.read_text().splitlines() if line.split()[4].startswith(f"{old}")]
    if held:
        raise NotHereError(f"delete {old}: {', '.join(held)} is mounted there. Unmount it (umount -l), then try again.")
    shutil.rmtree(old, ignore_errors=True)


def mirror() -> str:
    """The archive from which this machine's own Debian comes."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(LABEL)", "Identifier: Packages"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    for line in answer.stdout.splitlines():
        site, _, whose = line.partition(" ")
        if whose == "Debian Debian":
            return site
    raise NotHereError("apt knows no archive of Debian. Run `apt-get update`; on another distribution this cannot run.")


def borrowed(project: Path) -> list[Path]:
    """What of this machine is seen in there too: the kernel's file systems, the project, and its Python."""
    base = Path(sys.base_prefix)
    library = Path(os.__file__).parent
    python = [Path(os.path.realpath(sys.executable)), library] if base == SYSTEM else [base]
    return [*map(Path, ("/proc", "/sys", "/dev", "/run", "/tmp")), project, *python]
