"""What this host offers to containers, found by trying it."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.doctor.check import Check, Level
from runtime.doctor.mode import delegated, mode_check
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, delegation, files, procfs
from runtime.kernel.version import OLDEST_KERNEL, is_new_enough
from runtime.kernel.visibility import hidden_in_container, visibility

PROBE = Path(__file__).with_name("probe.py")
PROBE_TIMEOUT_S = 15.0
MIN_OPEN_FILES = 4096
AS_ROOT = "Run it as root (sudo)"
_SEE_MODE = "See mode, below"

_CAPABILITIES: Mapping[str, tuple[int, str]] = {
    "CAP_SYS_ADMIN": (21, "no container can be made without it"),
    "CAP_NET_ADMIN": (12, "no container network without it"),
    "CAP_DAC_OVERRIDE": (1, "cgroup files cannot be written without it"),
    "CAP_KILL": (5, "containers cannot be stopped without it"),
    "CAP_SYS_PTRACE": (19, "other users' processes and namespaces cannot be looked at without it"),
    "CAP_SYS_RESOURCE": (24, "resource limits cannot be raised and PSI triggers are coarse without it"),
}
_REQUIRED_CAPABILITIES = frozenset({"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_DAC_OVERRIDE", "CAP_KILL"})
_WANTED_CONTROLLERS = ("cpu", "memory", "pids", "cpuset", "io")


def host_checks(state: Path, *, proc: Path = Path("/proc")) -> Iterator[Check]:
    """All checks of the host, in the order of the report. `state` is the embedded engine's directory. Blocking."""
    yield _python()
    yield _kernel()
    yield _open_files()
    yield from _capabilities(proc)
    hierarchies = cgroupfs.detect(proc / "self/mountinfo")
    yield visibility_check(hierarchies, proc=proc)
    yield from cgroup_checks(hierarchies, proc=proc)
    if hierarchies.mode is not cgroupfs.Mode.NONE:
        yield mode_check(hierarchies, proc=proc)
    yield from _pressure(proc, hierarchies)
    yield _swap(hierarchies)
    yield _run_probe("isolation", "namespaces", "namespaces")
    yield _overlay(state)
    yield _run_probe("isolation", "seccomp", "seccomp", remedy="This kernel was built without CONFIG_SECCOMP_FILTER")
    yield _run_probe("isolation", "network", "bridge and veth", remedy="Load the modules: modprobe bridge veth")


def _python() -> Check:
    version = platform.python_version()
    level = Level.GOOD if sys.version_info >= (3, 11) else Level.BROKEN
    return Check("host", "Python", level, version, "" if level is Level.GOOD else "Python 3.11 or newer is needed")


def _kernel() -> Check:
    found = f"{platform.system()} {platform.release()}"
    if is_new_enough():
        return Check("host", "kernel", Level.GOOD, found)
    remedy = f"The embedded engine needs Linux {OLDEST_KERNEL} or later; other engines can be used"
    return Check("host", "kernel", Level.LIMITED, found, remedy)


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES:
        return Check("host", "open files", Level.GOOD, f"{soft} at most")
    words = f"{soft} at most ({hard} can be had): enough for about {soft // 12} containers"
    return Check("host", "open files", Level.LIMITED, words, f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}")


def _capabilities(proc: Path) -> Iterator[Check]:
    effective = procfs.effective_capabilities(proc=proc)
    missing = [name for name, (bit, _) in _CAPABILITIES.items() if not effective >> bit & 1]
    if not missing:
        yield Check("rights", "capabilities", Level.GOOD, "all that are used")
    elif len(missing) == len(_CAPABILITIES):
        words = f"none (uid {os.geteuid()}): lists and measures what it may read, changes nothing itself"
        yield Check("rights", "capabilities", Level.BROKEN, words, AS_ROOT)
    else:
        for name in missing:
            level = Level.BROKEN if name in _REQUIRED_CAPABILITIES else Level.LIMITED
            yield Check("rights", name, level, f"missing: {_CAPABILITIES[name][1]}", "Start it with this capability")


def visibility_check(hierarchies: cgroupfs.Hierarchies, *, proc: Path = Path("/proc")) -> Check:
    """Whether this program sees the machine's processes and cgroups, or only those of a container that it is in."""
    seen = visibility(hierarchies, proc=proc)
    if seen.own_pids or seen.own_cgroups:
        words = f"{hidden_in_container(seen)}: containers outside of it cannot be measured"
        remedy = f"Start it with docker run {' '.join(seen.missing_options)}, if it should see the machine's"
        return Check("host", "view", Level.LIMITED, words, remedy)
    if seen.hidepid and os.geteuid() != 0:
        return Check("host", "view", Level.LIMITED, "/proc hides other users' processes (hidepid)", AS_ROOT)
    return Check("host", "view", Level.GOOD, "the machine's own processes and cgroups")


def cgroup_checks(
    hierarchies: cgroupfs.Hierarchies, *, proc: Path = Path("/proc"), uid: int | None = None
) -> Iterator[Check]:
    """The layout, then each controller, tested by creating a cgroup: in the root, or in a user's delegated cgroup."""
    mode = hierarchies.mode
    if mode is cgroupfs.Mode.NONE:
        yield Check("cgroups", "layout", Level.BROKEN, "no cgroup is mounted", "mount -t cgroup2 none /sys/fs/cgroup")
        return
    roots = [mount.root for mount in (*hierarchies.v1.values(), hierarchies.unified) if mount is not None]
    nested = ", a part of the host's tree" if any(root != "/" for root in roots) else ""
    yield Check("cgroups", "layout", Level.GOOD, f"{mode.value}{nested}")
    user = os.geteuid() if uid is None else uid
    given = delegated(hierarchies, user, proc=proc) if user != 0 else None
    directories = _controllers(hierarchies)
    for name in _WANTED_CONTROLLERS:
        if name not in directories:
            remedy = "Boot without cgroup_disable, or delegate the controller to this part of the tree"
            level = Level.LIMITED if name in ("io", "cpuset") else Level.BROKEN
            yield Check("cgroups", name, level, "not available", remedy)
        elif given is not None:
            yield _delegated_controller_check(name, given)
        else:
            yield _controller_check(hierarchies, name, directories[name], proc)
    yield _devices(hierarchies)


def _controller_check(hierarchies: cgroupfs.Hierarchies, name: str, directory: Path, proc: Path) -> Check:
    unified = hierarchies.unified is not None and directory == hierarchies.unified.path
    version = "v2" if unified else "v1"
    refusal = _try_cgroup(directory)
    if refusal is not None:
        return Check("cgroups", name, Level.BROKEN, f"{version}, no cgroup can be made: {refusal}", AS_ROOT)
    refusal = _try_controller(hierarchies, name, directory, proc) if unified else None
    if refusal is not None:
        return Check("cgroups", name, Level.BROKEN, f"{version}, no cgroup can have it: {refusal}", _SEE_MODE)
    return Check("cgroups", name, Level.GOOD, f"{version}, cgroups can be made")


def _delegated_controller_check(name: str, directory: Path) -> Check:
    """Whether a user can create cgroups and use the controller in the cgroup delegated to them."""
    refusal = _try_cgroup(directory)
    if refusal is not None:
        words = f"v2, no cgroup can be made in what is delegated to you: {refusal}"
        return Check("cgroups", name, Level.BROKEN, words, AS_ROOT)
    offered = files.try_read(directory / "cgroup.controllers")
    if isinstance(offered, str) and name in offered.split():
        return Check("cgroups", name, Level.GOOD, "v2, delegated to you: cgroups can be made")
    return Check("cgroups", name, Level.LIMITED, "v2, not delegated to you", _SEE_MODE)


def _controllers(hierarchies: cgroupfs.Hierarchies) -> dict[str, Path]:
    """The root directory of each controller, by its v2 name."""
    directories: dict[str, Path] = {
        ("io" if name == "blkio" else name): mount.path for name, mount in hierarchies.v1.items()
    }
    if hierarchies.unified is not None:
        try:
            names = (hierarchies.unified.path / "cgroup.controllers").read_text().split()
        except OSError:
            names = []
        directories.update(dict.fromkeys(names, hierarchies.unified.path))
    return directories


def _try_cgroup(directory: Path) -> str | None:
    """Create a cgroup and remove it; the error's text, or None when it worked."""
    probe = directory / f"pytop-doctor-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return error.strerror
    return None


def _try_controller(hierarchies: cgroupfs.Hierarchies, name: str, top: Path, proc: Path) -> str | None:
    """Why child cgroups of `top` cannot have a controller, tested by enabling and disabling it; None if they can.

    The root cgroup can always enable a controller. In a cgroup with processes nothing is tested, since they would have
    to be moved first.
    """
    enabled = files.try_read(top / "cgroup.subtree_control")
    if not (top / "cgroup.type").exists() or (isinstance(enabled, str) and name in enabled.split()):
        return None
    reason = delegation.why_no_controllers(hierarchies, proc=proc)
    if reason is not None or delegation.has_processes(top):
        return reason
    try:
        for sign in "+-":
            files.write(top / "cgroup.subtree_control", f"{sign}{name}")
    except PytopError as error:
        return error.detail
    return None


def _devices(hierarchies: cgroupfs.Hierarchies) -> Check:
    mount = hierarchies.v1.get("devices")
    if mount is None:
        rights = os.geteuid() == 0
        words = "by a BPF program (cgroup v2)" if rights else "by a BPF program (cgroup v2), which needs rights"
        return Check("cgroups", "devices", Level.GOOD if rights else Level.BROKEN, words, "" if rights else AS_ROOT)
    probe = mount.path / f"pytop-doctor-{os.getpid()}"
    try:
        probe.mkdir()
        try:
            fd = os.open(probe / "devices.deny", os.O_WRONLY)
            try:
                os.write(fd, b"a")
            finally:
                os.close(fd)
        finally:
            probe.rmdir()
    except OSError as error:
        return Check("cgroups", "devices", Level.BROKEN, f"v1, cannot be set: {error.strerror}", AS_ROOT)
    return Check("cgroups", "devices", Level.GOOD, "v1, can be set")


def _pressure(proc: Path, hierarchies: cgroupfs.Hierarchies) -> Iterator[Check]:
    remedy = "Boot with psi=1"
    try:
        (proc / "pressure/cpu").read_text()
    except OSError as error:
        yield Check("measuring", "pressure (PSI)", Level.LIMITED, f"not for the host: {error.strerror}", remedy)
        return
    unified = hierarchies.unified
    children = unified.path.glob("*/cpu.pressure") if unified is not None else iter(())
    own = unified is not None and (unified.path / "cpu.pressure").exists()
    if own or next(children, None) is not None:
        yield Check("measuring", "pressure (PSI)", Level.GOOD, "for the host and each container")
    else:
        words = "for the host, not for each container"
        yield Check("measuring", "pressure (PSI)", Level.LIMITED, words, "Mount cgroup2 beside the v1 controllers")


def _swap(hierarchies: cgroupfs.Hierarchies) -> Check:
    directories = _controllers(hierarchies).get("memory")
    if directories is None:
        return Check("measuring", "swap limits", Level.LIMITED, "no memory controller")
    name = "memory.memsw.limit_in_bytes" if "memory" in hierarchies.v1 else "*/memory.swap.max"
    if next(directories.glob(name), None) is not None:
        return Check("measuring", "swap limits", Level.GOOD, "accounted and limitable")
    words = "swap is not accounted, so it cannot be limited"
    return Check("measuring", "swap limits", Level.LIMITED, words, "Boot with swapaccount=1")


def _overlay(state: Path) -> Check:
    """Whether the file system of the state directory can hold the writable layer of an overlay."""
    parent = next((path for path in (state, *state.parents) if path.is_dir()), Path("/"))
    try:
        with tempfile.TemporaryDirectory(prefix="pytop-doctor-", dir=parent) as directory:
            remedy = "Use a state directory on ext4 or xfs"
            return _run_probe("isolation", "overlay", f"overlayfs on {parent}", directory, remedy=remedy)
    except OSError as error:
        return Check("isolation", f"overlayfs on {parent}", Level.BROKEN, str(error.strerror), AS_ROOT)


def _run_probe(area: str, probe: str, name: str, *arguments: str, remedy: str = "") -> Check:
    """Run one probe in a child process; its namespaces and mounts end with it."""
    command = [sys.executable, "-I", str(PROBE), probe, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=PROBE_TIMEOUT_S, check=False
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Check(area, name, Level.BROKEN, f"no answer within {PROBE_TIMEOUT_S:.0f} s", remedy)
    except ValueError:
        return Check(area, name, Level.BROKEN, f"the probe died with status {done.returncode}", remedy)
    if answer["ok"]:
        return Check(area, name, Level.GOOD, answer["found"])
    return Check(area, name, Level.BROKEN, answer["found"], AS_ROOT if os.geteuid() != 0 else remedy)
