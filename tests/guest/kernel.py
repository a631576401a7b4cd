"""A Debian kernel with its modules, fetched once by apt into a cache directory; nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

META: Final = "linux-image-amd64"  # the cloud kernel has no 9p
NEEDED: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "mkfs.ext4": "e2fsprogs",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
"""Programs, and the Debian packages that have them."""


class NotHereError(Exception):
    """Something that the guests need is missing; the text says how to get it."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel package: `image` to boot, `modules` with a modules.dep."""

    version: str
    image: Path
    modules: Path


def search_path() -> str:
    """Where programs are looked for: the places of root's programs too, which not every shell has."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def require(programs: Mapping[str, str] = NEEDED) -> None:
    """Raise `NotHereError` with all programs that are missing at once, and how to get them."""
    missing = {program: of for program, of in programs.items() if not shutil.which(program, path=search_path())}
    if missing:
        raise NotHereError(
            f"this needs {', '.join(missing)}, and this machine has none. "
            f"On Debian or Ubuntu: apt-get install --no-install-recommends {' '.join(dict.fromkeys(missing.values()))}"
        )


def cache() -> Path:
    """Where the kernel is kept from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pytop-containers" / "guest"


def have() -> Kernel:
    """The kernel of the cache; the first time it is downloaded (some 70 MB) and unpacked.

    Raises `NotHereError` when apt cannot give one.
    """
    require()
    for ready in sorted(cache().glob("*/modules.ready"), reverse=True):
        return _kernel(ready.parent)
    package = _package()
    home = cache() / package
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    print(f"fetching {package} into {home}", flush=True)
    _run("apt-get", "-o", "Acquire::Retries=3", "download", package, cwd=home)
    deb = next(home.glob("*.deb"))
    _run("dpkg-deb", "-x", deb.name, ".", cwd=home)
    deb.unlink()
    kernel = _kernel(home)
    _run("depmod", "-b", str(home), kernel.version, cwd=home)
    (home / "modules.ready").touch()
    return kernel


def _kernel(home: Path) -> Kernel:
    image = next((home / "boot").glob("vmlinuz-*"))
    version = image.name.removeprefix("vmlinuz-")
    return Kernel(version, image, home / "lib" / "modules" / version)


def _package() -> str:
    """The package that the newest `linux-image-amd64` stands for."""
    answer = subprocess.run(["apt-cache", "depends", META], capture_output=True, text=True, timeout=60, check=False)
    for line in answer.stdout.splitlines():
        name = line.partition("Depends: ")[2].strip()
        if name.startswith("linux-image-"):
            return name
    raise NotHereError(f"apt knows no {META}. Run `apt-get update`; on another distribution the guests cannot be made.")


def _run(*command: str, cwd: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={**os.environ, "PATH": search_path()},
        )
    except subprocess.TimeoutExpired as error:
        raise NotHereError(f"{' '.join(command)} took more than ten minutes") from error
    if done.returncode:
        raise NotHereError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
