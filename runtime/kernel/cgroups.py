"""Creates, freezes, kills and removes cgroups, and moves processes into them, on v1, v2 and hybrid hosts.

A path such as "pytop-containers/abc" is made in every v1 hierarchy and in the unified tree. On v2 the controllers
are enabled on the way down. Processes live in leaves only; when the top of the tree is this process's own cgroup, its
processes are moved into a leaf (`delegation.move_to_leaf`).
Source: the kernel's cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    KernelError,
    NotFoundError,
    PytopError,
    UnsupportedError,
)
from runtime.kernel import delegation, files
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.kernel.files import ROOT_HINT

WANTED_CONTROLLERS = ("memory", "io", "cpu", "cpuset", "pids")
"""In the order in which they are enabled. In a cgroup with processes the kernel refuses the first two; it accepts the
others, and then no process can be moved into the children."""
FREEZE_TIMEOUT_S = 5.0  # freezing is asynchronous
KILL_TIMEOUT_S = 5.0


def create(hierarchies: Hierarchies, path: str) -> Cgroup:
    """Create a cgroup in every hierarchy of this host; an existing one is used as it is.

    Raises `InvalidError` for a path that leads out of the tree, `DeniedError` or `KernelError` when a directory cannot
    be created; the directories created so far are removed then.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(letter in path for letter in "\0\n"):
        raise InvalidError(f"make a cgroup named {path!r}", hint="Use plain names with single slashes between them")
    v1: dict[str, Path] = {}
    made: list[Path] = []
    unified: Path | None = None
    controllers: frozenset[str] = frozenset()
    try:
        for name, mount in hierarchies.v1.items():
            v1[name] = mount.path / path
            _make(mount.path, path, made)
            if name == "cpuset":
                _inherit_cpuset(mount.path, path)
        if hierarchies.unified is not None:
            base = hierarchies.unified.path
            unified = base / path
            _enable_down(hierarchies, base, path, made)
            controllers = frozenset(files.read(unified / "cgroup.controllers").split())
    except PytopError:
        for directory in reversed(made):
            _rmdir(directory)
        raise
    return Cgroup(v1, unified, controllers)


def _make(base: Path, path: str, made: list[Path]) -> None:
    directory = base
    for part in Path(path).parts:
        directory = directory / part
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            kind = DeniedError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else KernelError
            hint = ROOT_HINT if kind is DeniedError else ""
            raise kind.from_os("make a cgroup", error, path=str(directory), hint=hint) from error
        made.append(directory)


def _inherit_cpuset(base: Path, path: str) -> None:
    """Copy CPUs and memory nodes from the parent: a new v1 cpuset has none and accepts no process without them."""
    directory = base
    for part in Path(path).parts:
        parent, directory = directory, directory / part
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not files.read(directory / name):
                files.write(directory / name, files.read(parent / name))


def _enable_down(hierarchies: Hierarchies, base: Path, path: str, made: list[Path]) -> None:
    """Create the directories of the unified tree, and enable in each parent the controllers that it has."""
    directory = base
    for part in Path(path).parts:
        wanted = _to_enable(directory)
        if wanted and _may_enable(hierarchies, base, directory):
            for name in wanted:
                try:
                    files.write(directory / "cgroup.subtree_control", f"+{name}")
                except (KernelError, DeniedError) as error:
                    if error.errno == errno.EBUSY:
                        break  # a process was moved into it meanwhile
                    continue  # not permitted: the children do not get that controller
        _make(directory, part, made)
        directory = directory / part


def _to_enable(directory: Path) -> list[str]:
    """The wanted controllers that a cgroup has and that are not yet enabled for its children."""
    offered = files.try_read(directory / "cgroup.controllers")
    enabled = files.try_read(directory / "cgroup.subtree_control")
    if not isinstance(offered, str) or not isinstance(enabled, str):
        return []
    return [name for name in WANTED_CONTROLLERS if name in offered.split() and name not in enabled.split()]


def _may_enable(hierarchies: Hierarchies, base: Path, directory: Path) -> bool:
    """Whether controllers may be enabled: not in a cgroup with processes.

    When it is the top of the tree and this process's own cgroup, its processes are moved to a leaf first.
    """
    if not delegation.has_processes(directory):
        return True
    if directory != base or delegation.why_no_controllers(hierarchies) is not None:
        return False
    delegation.move_to_leaf(directory)
    return True


def attach(cgroup: Cgroup, pid: int) -> None:
    """Move a process (all its threads) into the cgroup in every hierarchy."""
    for directory in cgroup.directories:
        files.write(directory / "cgroup.procs", str(pid))


def _tree(directory: Path) -> Iterator[Path]:
    """The directory and all directories below it, deepest first."""
    for top, _, _ in os.walk(directory, topdown=False, onerror=None):
        yield Path(top)


def _main(cgroup: Cgroup) -> Path | None:
    """The directory whose cgroup.procs is read: the unified one, else one of v1."""
    if cgroup.unified is not None:
        return cgroup.unified
    return cgroup.v1.get("freezer") or next(iter(cgroup.v1.values()), None)


def pids(cgroup: Cgroup) -> list[int]:
    """Every process in the cgroup and below it, in any hierarchy; empty when the cgroup does not exist."""
    found: set[int] = set()
    for top in cgroup.directories:
        for directory in _tree(top):
            text = files.try_read(directory / "cgroup.procs")
            if isinstance(text, str):
                found.update(int(word) for word in text.split())
    return sorted(found - {0})


def known_pids(cgroup: Cgroup) -> frozenset[int] | None:
    """Every process in the cgroup and below it; None when a cgroup.procs cannot be read, so the set is unknown.

    The cgroup.procs of a threaded cgroup (v2) cannot be read: its processes are listed by its nearest ancestor that is
    not threaded, which is enough when that one is read too. A cgroup that does not exist has no process.
    """
    found: set[int] = set()
    for top in cgroup.directories:
        for directory in _tree(top):
            try:
                found.update(int(word) for word in files.read(directory / "cgroup.procs").split())
            except NotFoundError:
                continue
            except (DeniedError, KernelError) as error:
                if error.errno != errno.EOPNOTSUPP or directory == top:
                    return None
    return frozenset(found - {0})


def is_empty(cgroup: Cgroup) -> bool:
    """Whether the cgroup has no process (on v2, zombies that were not reaped yet do not count)."""
    return not pids(cgroup)


def freeze(cgroup: Cgroup) -> None:
    """Freeze the cgroup and wait until the kernel reports it as frozen; after a time-out it is thawed again.

    Raises `NotFoundError` when the cgroup vanishes, `UnsupportedError` without a freezer, `KernelError` on time-out.
    """
    _write_frozen(cgroup, True)
    try:
        _wait_frozen(cgroup, True)
    except KernelError:
        _write_frozen(cgroup, False)
        raise


def thaw(cgroup: Cgroup) -> None:
    """Let the processes run again. Raises as `freeze` does."""
    _write_frozen(cgroup, False)
    _wait_frozen(cgroup, False)


def is_frozen(cgroup: Cgroup) -> bool:
    """Whether the kernel reports the cgroup as frozen."""
    if cgroup.unified is not None:
        events = files.try_read(cgroup.unified / "cgroup.events")
        if isinstance(events, str) and "frozen" in events:
            if "frozen 1" in events.splitlines():
                return True
            if "freezer" not in cgroup.v1:
                return False
    if "freezer" in cgroup.v1:
        return files.try_read(cgroup.v1["freezer"] / "freezer.state") == "FROZEN"
    return False


def _write_frozen(cgroup: Cgroup, frozen: bool) -> None:
    require(cgroup)
    if cgroup.unified is not None and files.exists(cgroup.unified / "cgroup.freeze") is True:
        files.write(cgroup.unified / "cgroup.freeze", "1" if frozen else "0")
        if not frozen:
            _thaw_v1(cgroup)
    elif "freezer" in cgroup.v1:
        files.write(cgroup.v1["freezer"] / "freezer.state", "FROZEN" if frozen else "THAWED")
    else:
        raise UnsupportedError(
            "freeze a container", detail="this host has no freezer", hint="cgroup v2 or v1's freezer is needed"
        )


def _wait_frozen(cgroup: Cgroup, frozen: bool) -> None:
    deadline = time.monotonic() + FREEZE_TIMEOUT_S
    pause = 0.0005
    while is_frozen(cgroup) is not frozen:
        require(cgroup)
        if time.monotonic() > deadline:
            raise KernelError(
                "freeze a container" if frozen else "thaw a container",
                detail=f"the kernel has not finished within {FREEZE_TIMEOUT_S:.0f} s",
                hint="A process may be stuck in the kernel (state D)",
                path=str(_main(cgroup)),
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _thaw_v1(cgroup: Cgroup) -> None:
    """Thaw the v1 freezer of the cgroup and of its descendants; a frozen process does not act on SIGKILL."""
    if "freezer" not in cgroup.v1:
        return
    for directory in _tree(cgroup.v1["freezer"]):
        if files.try_read(directory / "freezer.state") in ("FROZEN", "FREEZING"):
            _unless_gone(directory / "freezer.state", "THAWED")


def _unless_gone(path: Path, text: str) -> None:
    try:
        files.write(path, text)
    except NotFoundError:
        return


def signal_all(cgroup: Cgroup, number: int) -> None:
    """Send a signal to every process of the cgroup; a process that ends meanwhile is no error."""
    for pid in pids(cgroup):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError as error:
            raise DeniedError.from_os(f"signal process {pid}", error, hint=ROOT_HINT) from error


def kill_all(cgroup: Cgroup) -> None:
    """Kill every process of the cgroup, also frozen and newly forked ones. Returns when the cgroup is empty.

    Uses cgroup.kill on v2; on v1 freezes, sends SIGKILL and thaws. Raises `KernelError` when processes are left.
    """
    by_kernel = cgroup.unified is not None and files.exists(cgroup.unified / "cgroup.kill") is True
    if by_kernel and cgroup.unified is not None:
        _unless_gone(cgroup.unified / "cgroup.kill", "1")
    deadline = time.monotonic() + KILL_TIMEOUT_S
    pause = 0.001
    while not is_empty(cgroup):
        if "freezer" in cgroup.v1 and not by_kernel:  # a frozen process cannot fork before the signal
            _unless_gone(cgroup.v1["freezer"] / "freezer.state", "FROZEN")
        signal_all(cgroup, signal.SIGKILL)
        _thaw_v1(cgroup)
        left = pids(cgroup)
        if left and time.monotonic() > deadline:
            raise KernelError(
                "kill every process of a container",
                detail=f"{len(left)} are left after {KILL_TIMEOUT_S:.0f} s",
                hint="A process may be stuck in the kernel (state D), or nobody waits for it",
                path=str(_main(cgroup)),
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def remove(cgroup: Cgroup) -> None:
    """Remove the cgroup and its descendants from every hierarchy; one that does not exist is no error.

    Raises `ConflictError` when it has processes: they are not killed here.
    """
    for top in cgroup.directories:
        deadline = time.monotonic() + 1.0
        pause = 0.001
        while top.is_dir():
            for directory in _tree(top):
                _rmdir(directory)
            if not top.is_dir():
                break
            if time.monotonic() > deadline:
                left = len(pids(cgroup))
                detail = f"{left} processes are left in it" if left else "the kernel says that it is busy"
                raise ConflictError("remove a cgroup", detail=detail, path=str(top))
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise DeniedError.from_os("remove a cgroup", error, path=str(directory), hint=ROOT_HINT) from error


def exists(cgroup: Cgroup) -> bool:
    """Whether any of its directories is there, or may be, as far as we may look."""
    return any(files.exists(directory) is not False for directory in cgroup.directories)


def require(cgroup: Cgroup) -> None:
    """Raise `NotFoundError` when the cgroup does not exist."""
    if not exists(cgroup):
        raise NotFoundError("look at a container's cgroup", detail="it is gone", path=str(_main(cgroup)))
