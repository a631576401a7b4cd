"""The image `host`: the machine's own programs and no other files of it.

/usr is bound read-only, with the links to libraries, the linker's cache, certificates and alternatives. /etc is
generated; /root, /home, /var and /tmp are empty. No password or key of the host is inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.errors import KernelError, NotFoundError
from runtime.model import Bind, Image

if TYPE_CHECKING:
    from runtime.engines.embedded.state.record import ContainerRecord

NAME: Final = "host"
_UNFINISHED: Final = ".new-"
_DAMAGED: Final = ".damaged-"
_UNFINISHED_MAX_AGE_S: Final = 600.0

_DIRECTORIES: Final[tuple[tuple[str, int], ...]] = (
    *(
        (name, 0o755)
        for name in ("dev", "etc", "home", "media", "mnt", "opt", "proc", "run", "srv", "sys", "usr", "var")
    ),
    *((f"var/{name}", 0o755) for name in ("cache", "lib", "log", "spool")),
    ("root", 0o700),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
)
_SHARED: Final = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "ssl/certs",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
)
_LIBRARIES: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PRIVATE: Final = ("usr/local/etc", "usr/etc")  # settings below /usr

_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = """\
root:x:0:
daemon:x:1:
bin:x:2:
adm:x:4:
tty:x:5:
mail:x:8:
www-data:x:33:
users:x:100:
nogroup:x:65534:
"""
_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_NSSWITCH = """\
passwd: files
group: files
hosts: files dns
networks: files
protocols: files
services: files
"""
_PROFILE = 'export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"\n'


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """A generated file."""

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """The image's content; paths are relative to the container's root, those of binds are absolute."""

    directories: tuple[tuple[str, int], ...]
    symlinks: tuple[tuple[str, str], ...]
    files: tuple[GeneratedFile, ...]
    binds: tuple[Bind, ...]
    hidden: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Names the content: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """The image on disk: the lower layer, and the binds over it, in order."""

    lower: Path
    binds: tuple[Bind, ...]


def layout(root: Path = Path("/")) -> ImageLayout:
    """Read the layout from the machine; `root` is where its file system is mounted."""
    symlinks: list[tuple[str, str]] = [("var/run", "/run"), ("etc/mtab", "/proc/self/mounts")]
    binds = [Bind(str(root / "usr"), "/usr", read_only=True)]
    for name in _LIBRARIES:
        path = root / name
        if path.is_symlink():
            symlinks.append((name, os.readlink(path)))
        elif path.is_dir():
            binds.append(Bind(str(path), f"/{name}", read_only=True))
    for name in _SHARED:
        path = root / "etc" / name
        if path.exists():
            binds.append(Bind(str(path), f"/etc/{name}", read_only=True))
    zone = root / "etc/localtime"
    if zone.is_symlink() and (target := os.path.normpath(os.path.join("/etc", os.readlink(zone)))).startswith("/usr/"):
        symlinks.append(("etc/localtime", target))
    # Empty ones too, since files may be added later. A symlink leads into the generated /etc.
    hidden = tuple(name for name in _PRIVATE if (root / name).is_dir() and not (root / name).is_symlink())
    return ImageLayout(_DIRECTORIES, tuple(symlinks), tuple(_generated(root)), tuple(binds), hidden)


def _generated(root: Path) -> Iterator[GeneratedFile]:
    yield GeneratedFile("etc/passwd", _PASSWD)
    yield GeneratedFile("etc/group", _GROUP)
    yield GeneratedFile("etc/hosts", _HOSTS)
    yield GeneratedFile("etc/hostname", "")
    yield GeneratedFile("etc/resolv.conf", "")
    yield GeneratedFile("etc/nsswitch.conf", _NSSWITCH)
    yield GeneratedFile("etc/shells", "/bin/sh\n")
    yield GeneratedFile("etc/profile", _PROFILE)
    yield GeneratedFile("etc/host.conf", "multi on\n")
    for name in ("os-release", "protocols", "services"):
        path = root / "etc" / name
        if path.is_file():
            yield GeneratedFile(f"etc/{name}", path.read_text(errors="replace"))


def check(name: str) -> None:
    """Raise `NotFoundError` for any image but this one."""
    if name != NAME:
        raise NotFoundError(
            f"find the image '{name}'", detail="the embedded engine has the one image 'host'", hint="Name it: host"
        )


@cache
def _machine() -> tuple[ImageLayout, str]:
    """This machine's layout and its digest, computed once per process; a zygote's forks share it."""
    found = layout()
    return found, found.digest


def read_link(path: str, binds: tuple[Bind, ...] = ()) -> str | None:
    """The target of the symlink at an absolute path of a new container with these binds; None where there is none."""
    wanted, _ = _machine()
    for bind in reversed((*wanted.binds, *binds)):
        if path == bind.target:
            return None  # the mount itself
        if path.startswith(f"{bind.target}/"):
            try:
                return os.readlink(bind.source + path[len(bind.target) :])
            except OSError:
                return None
    return dict(wanted.symlinks).get(path[1:])


def warm() -> None:
    """Compute in advance what `prepare` needs."""
    _machine()


def prepare(state: Path, record: ContainerRecord) -> PreparedImage:
    """Build the lower layer below `state` unless it is there and whole. Several processes may do so at once."""
    check(record.spec.image)
    wanted, digest = _machine()
    lower = state / "images" / f"{NAME}-{digest[:16]}"
    if not is_whole(wanted, lower):
        try:
            _build_at(wanted, lower)
        except OSError as error:
            if not is_whole(wanted, lower):  # else another process has built it
                raise KernelError.from_os("build the image 'host'", error, path=str(lower)) from error
    hide = tuple(Bind(str(lower / "home"), f"/{name}", read_only=True) for name in wanted.hidden)
    return PreparedImage(lower, (*wanted.binds, *hide))


def is_whole(wanted: ImageLayout, lower: Path) -> bool:
    """Whether everything of the image is in the directory: a power cut may leave parts of it, or files without content.

    Looks at types, permissions, sizes and targets: some 60 calls of lstat(2).
    """
    try:
        directory = os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return all(_is_as_built(directory, path, mode, size) for path, mode, size in _entries(wanted)) and all(
            os.readlink(path, dir_fd=directory) == target for path, target in wanted.symlinks
        )
    except OSError:
        return False
    finally:
        os.close(directory)


def _is_as_built(directory: int, path: str, mode: int, size: int | None) -> bool:
    found = os.stat(path, dir_fd=directory, follow_symlinks=False)
    return found.st_mode == mode and (size is None or found.st_size == size)


@cache
def _entries(wanted: ImageLayout) -> tuple[tuple[str, int, int | None], ...]:
    """Each directory and file of the image: its path, st_mode, and size in bytes where that follows from the image."""
    directories = ((path, stat.S_IFDIR | mode, None) for path, mode in wanted.directories)
    files = ((file.path, stat.S_IFREG | file.mode, len(file.content.encode())) for file in wanted.files)
    return (*directories, *files)


def _build_at(wanted: ImageLayout, lower: Path) -> None:
    """Build in a temporary directory and rename it, so that the layer is complete or absent.

    One that is damaged is renamed first, since containers may be running on it; `sweep` removes it.
    """
    lower.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=lower.parent))
    try:
        fresh.chmod(0o755)
        build(wanted, fresh)
        if os.path.lexists(lower) and not is_whole(wanted, lower):
            with suppress(FileNotFoundError):
                lower.rename(lower.parent / f"{_DAMAGED}{fresh.name.removeprefix(_UNFINISHED)}")
        fresh.rename(lower)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def sweep(state: Path, *, in_use: bool) -> None:
    """Remove unfinished images of processes that died and, unless a container may run on one, damaged images."""
    oldest = time.time() - _UNFINISHED_MAX_AGE_S
    for path in (state / "images").glob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                _discard(path)
    if not in_use:
        for path in (state / "images").glob(f"{_DAMAGED}*"):
            _discard(path)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def build(wanted: ImageLayout, into: Path) -> None:
    """Make directories, symlinks, files and a mount point for each bind, readable for every user of the container."""
    previous = os.umask(0o022)
    try:
        _build(wanted, into)
    finally:
        os.umask(previous)


def _build(wanted: ImageLayout, into: Path) -> None:
    for path, mode in wanted.directories:
        directory = into / path
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(mode)
    for path, target in wanted.symlinks:
        (into / path).symlink_to(target)
    for file in wanted.files:
        (into / file.path).write_text(file.content)
        (into / file.path).chmod(file.mode)
    for bind in wanted.binds:
        place = into / bind.target.lstrip("/")
        if Path(bind.source).is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()


def image() -> Image:
    """The image as `images` lists it. It has no size of its own: it is the machine's /usr."""
    return Image(id=f"sha256:{layout().digest}", names=(NAME,))
