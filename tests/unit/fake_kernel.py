"""A kernel of regular files: cgroup trees in a temporary directory that answer writes as Linux does.

What it answers was tried out on a 6.18 kernel for v1 and read in the kernel's sources for v2 (kernel/sched/core.c,
mm/memcontrol.c, kernel/cgroup/). Every write is recorded, so that a test can tell the order of them.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.limits.units import cpuset_numbers, format_cpuset

PAGE = os.sysconf("SC_PAGESIZE")
V1_MOST = (2**63 - 1) // PAGE * PAGE
V1 = ("cpu", "cpuset", "memory", "blkio", "pids", "freezer")
V2 = ("cpuset", "cpu", "io", "memory", "pids")
CPUS = "0-3"
DISKS = ("8:0", "254:0")
FRESH_V1 = {
    "cpu": {
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_burst_us": "0",
        "cpu.shares": "1024",
        "cpu.idle": "0",
    },
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": "", "cpuset.effective_cpus": "", "cpuset.effective_mems": ""},
    "memory": {
        "memory.limit_in_bytes": str(V1_MOST),
        "memory.memsw.limit_in_bytes": str(V1_MOST),
        "memory.soft_limit_in_bytes": str(V1_MOST),
        "memory.usage_in_bytes": "0",
        "memory.force_empty": "",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        "memory.stat": "rss 0\ntotal_rss 0\ntotal_inactive_file 0\ntotal_active_file 0\ntotal_swap 0",
    },
    "blkio": {
        **{f"blkio.throttle.{kind}_device": "" for kind in ("read_bps", "write_bps", "read_iops", "write_iops")},
        "blkio.bfq.weight": "100",
    },
    "pids": {"pids.max": "max", "pids.current": "0"},
    "freezer": {"freezer.state": "THAWED"},
}
CORE_V2 = {
    "cgroup.type": "domain",
    "cgroup.procs": "",
    "cgroup.subtree_control": "",
    "cgroup.events": "populated 0\nfrozen 0",
    "cgroup.freeze": "0",
    "cgroup.kill": "",
}
FRESH_V2 = {
    "cpu": {"cpu.max": "max 100000", "cpu.max.burst": "0", "cpu.weight": "100", "cpu.idle": "0"},
    "cpuset": {
        "cpuset.cpus": "",
        "cpuset.mems": "",
        "cpuset.cpus.effective": CPUS,
        "cpuset.mems.effective": "0",
    },
    "memory": {
        "memory.max": "max",
        "memory.high": "max",
        "memory.low": "0",
        "memory.swap.max": "max",
        "memory.swap.current": "0",
        "memory.current": "0",
        "memory.reclaim": "",
        "memory.events": "low 0\noom 0\noom_kill 0",
        "memory.stat": "anon 0\nfile 0\ninactive_file 0\nactive_file 0",
    },
    "io": {"io.max": "", "io.weight": "default 100", "io.bfq.weight": "default 100"},
    "pids": {"pids.max": "max", "pids.current": "0"},
}


class FakeKernel:
    def __init__(self, root: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.mode = root, mode
        self.writes: list[tuple[str, str]] = []
        self.oom_killed = False
        self.fail: dict[str, int] = {}  # file name -> errno of its next writes
        self.notes: dict[tuple[Path, str], str] = {}
        self.ignore: set[str] = set()  # file names whose writes are accepted and change nothing
        self._mkdir, self._rmdir = Path.mkdir, Path.rmdir
        v1 = {} if mode is Mode.V2 else {name: Mount(root / name) for name in V1}
        unified = None if mode is Mode.V1 else Mount(root / "unified")
        self.hierarchies = Hierarchies(mode, v1, unified)
        for name, mount in v1.items():
            mount.path.mkdir()
            self._fill_v1(name, mount.path)
        if "cpuset" in v1:
            for file, text in (("cpus", CPUS), ("mems", "0")):
                self.put(v1["cpuset"].path / f"cpuset.{file}", text)
                self.put(v1["cpuset"].path / f"cpuset.effective_{file}", text)
        if unified is not None:
            unified.path.mkdir()
            self.put(unified.path / "cgroup.procs", "1")
            self.put(unified.path / "cgroup.subtree_control", "")
            self.put(unified.path / "cgroup.controllers", " ".join(V2) if mode is Mode.V2 else "")
            if mode is Mode.V2:
                self.put(unified.path / "cpuset.cpus.effective", CPUS)
                self.put(unified.path / "cpuset.mems.effective", "0")
        monkeypatch.setattr(Path, "mkdir", lambda path, *a, **k: self.mkdir(path, *a, **k))
        monkeypatch.setattr(Path, "rmdir", lambda path: self.rmdir(path))
        monkeypatch.setattr(files, "write", self.write)
        monkeypatch.setattr(files, "read_attribute", lambda directory, key: self.notes.get((directory, key)))
        monkeypatch.setattr(files, "write_attribute", self.write_note)

    @staticmethod
    def put(path: Path, text: str) -> None:
        path.write_text(text + "\n")

    @staticmethod
    def get(path: Path) -> str:
        return path.read_text().strip()

    def cgroup(self, name: str = "c") -> Cgroup:
        """A cgroup that is there in full, without the help of the code under test."""
        v1 = {}
        for controller, mount in self.hierarchies.v1.items():
            v1[controller] = mount.path / name
            v1[controller].mkdir()
        if "cpuset" in v1:
            for file, text in (("cpus", CPUS), ("mems", "0")):
                self.put(v1["cpuset"] / f"cpuset.{file}", text)
                self.put(v1["cpuset"] / f"cpuset.effective_{file}", text)
        if self.hierarchies.unified is None:
            return Cgroup(v1)
        unified = self.hierarchies.unified.path / name
        unified.mkdir()
        if self.mode is Mode.V2:
            for controller in V2:
                self._fill(unified, FRESH_V2[controller])
            self.put(unified / "cgroup.controllers", " ".join(V2))
        return Cgroup(v1, unified, frozenset(V2) if self.mode is Mode.V2 else frozenset())

    def uses(self, cgroup: Cgroup, current: int, cache: int = 0) -> None:
        """Let it use so many bytes, of which `cache` can be dropped."""
        where = cgroup.where("memory")
        assert where is not None
        directory, version = where
        anon = current - cache
        if version == 1:
            self.put(directory / "memory.usage_in_bytes", str(current))
            stat = f"rss 0\ntotal_rss {anon}\ntotal_inactive_file {cache}\ntotal_active_file 0\ntotal_swap 0"
        else:
            self.put(directory / "memory.current", str(current))
            stat = f"anon {anon}\nfile {cache}\ninactive_file {cache}\nactive_file 0"
        self.put(directory / "memory.stat", stat)

    def _fill(self, directory: Path, fresh: dict[str, str]) -> None:
        for name, text in fresh.items():
            self.put(directory / name, text)

    def _fill_v1(self, controller: str, directory: Path) -> None:
        self._fill(directory, {"cgroup.procs": "", **FRESH_V1[controller]})

    def mkdir(self, path: Path, *args: object, **more: object) -> None:
        self._mkdir(path, *args, **more)  # type: ignore[arg-type]
        if not path.is_relative_to(self.root):
            return
        top = path.relative_to(self.root).parts[0]
        if top != "unified":
            self._fill_v1(top, path)
            return
        enabled = self.get(path.parent / "cgroup.subtree_control")
        self._fill(path, {**CORE_V2, "cgroup.controllers": enabled})
        for controller in enabled.split():
            self._fill(path, FRESH_V2[controller])

    def rmdir(self, path: Path) -> None:
        if path.is_relative_to(self.root):
            if not path.exists():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            if any(entry.is_dir() for entry in path.iterdir()) or self.get(path / "cgroup.procs"):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
            shutil.rmtree(path)
            return
        self._rmdir(path)

    def write(self, path: Path, text: str) -> None:
        self.writes.append((path.name, text))
        try:
            if not path.exists():
                self._no(errno.ENOENT)
            if path.name in self.fail:
                self._no(self.fail[path.name])
            if path.name in self.ignore:
                return
            handler: Callable[[Path, str], str | None] = getattr(
                self, "_" + path.name.replace(".", "_"), lambda _path, value: value
            )
            held = handler(path, text.strip())
        except OSError as error:
            raise files._wrapped(f"write '{text}' to {path.name}", error, path) from error
        if held is not None:
            self.put(path, held)

    def write_note(self, directory: Path, key: str, text: str | None) -> None:
        self.writes.append((key, str(text)))
        if key in self.fail:
            error = OSError(self.fail[key], os.strerror(self.fail[key]), str(directory))
            raise files._wrapped(f"keep '{text}' as {key}", error, directory)
        if text is None:
            self.notes.pop((directory, key), None)
        else:
            self.notes[directory, key] = text

    @staticmethod
    def _no(number: int) -> None:
        raise OSError(number, os.strerror(number))

    # cgroup core

    def _cgroup_subtree_control(self, path: Path, text: str) -> str:
        name = text.removeprefix("+")
        if name not in self.get(path.parent / "cgroup.controllers").split():
            self._no(errno.ENOENT)
        if (path.parent / "cgroup.type").exists() and self.get(path.parent / "cgroup.procs"):
            self._no(errno.EBUSY)
        enabled = [*self.get(path).split(), name]
        for child in path.parent.iterdir():
            if child.is_dir():
                self._fill(child, FRESH_V2[name])
                self.put(child / "cgroup.controllers", " ".join(enabled))
        return " ".join(enabled)

    def _cgroup_procs(self, path: Path, text: str) -> str:
        cpus = path.parent / "cpuset.cpus"
        if cpus.exists() and "unified" not in path.parts and not self.get(cpus):
            self._no(errno.ENOSPC)
        if "unified" in path.parts:
            for other in (self.root / "unified").rglob("cgroup.procs"):
                self.put(other, "\n".join(pid for pid in self.get(other).split() if pid != text))
        return (self.get(path) + "\n" + text).strip()

    def _cgroup_freeze(self, path: Path, text: str) -> str:
        self.put(path.parent / "cgroup.events", f"populated 1\nfrozen {text}")
        return text

    def _cgroup_kill(self, path: Path, _text: str) -> None:
        for directory, _, _ in os.walk(path.parent):
            self.put(Path(directory) / "cgroup.procs", "")

    # cpu

    def _bandwidth(self, directory: Path, quota: int, period: int) -> None:
        file = directory / ("cpu.max.burst" if self.mode is Mode.V2 else "cpu.cfs_burst_us")
        burst = int(self.get(file)) if file.exists() else 0
        if not 1000 <= period <= 1_000_000 or (quota >= 0 and (quota < 1000 or burst > quota)):
            self._no(errno.EINVAL)
        above = directory.parent / "cpu.cfs_quota_us"
        if quota >= 0 and above.exists() and int(self.get(above)) >= 0:
            limit = int(self.get(above)) / int(self.get(directory.parent / "cpu.cfs_period_us"))
            if quota / period > limit:
                self._no(errno.EINVAL)

    def _cpu_cfs_quota_us(self, path: Path, text: str) -> str:
        self._bandwidth(path.parent, int(text), int(self.get(path.parent / "cpu.cfs_period_us")))
        return text

    def _cpu_cfs_period_us(self, path: Path, text: str) -> str:
        self._bandwidth(path.parent, int(self.get(path.parent / "cpu.cfs_quota_us")), int(text))
        return text

    def _cpu_max(self, path: Path, text: str) -> str:
        quota, _, period = text.partition(" ")
        period = period or self.get(path).split()[1]
        self._bandwidth(path.parent, -1 if quota == "max" else int(quota), int(period))
        return f"{quota} {period}"

    def _not_idle(self, path: Path) -> None:
        idle = path.parent / "cpu.idle"
        if idle.exists() and self.get(idle) == "1":
            self._no(errno.EINVAL)

    def _cpu_shares(self, path: Path, text: str) -> str:
        self._not_idle(path)
        return str(min(262_144, max(2, int(text))))

    def _cpu_weight(self, path: Path, text: str) -> str:
        if not 1 <= int(text) <= 10_000:
            self._no(errno.ERANGE)
        self._not_idle(path)
        return text

    def _cpu_idle(self, path: Path, text: str) -> str:
        v2 = self.mode is Mode.V2
        held = ("0" if v2 else "3") if text == "1" else ("100" if v2 else "1024")
        if text != self.get(path):
            self.put(path.parent / ("cpu.weight" if v2 else "cpu.shares"), held)
        return text

    def _burst(self, path: Path, text: str) -> str:
        directory = path.parent
        quota = (
            self.get(directory / "cpu.max").split()[0]
            if self.mode is Mode.V2
            else self.get(directory / "cpu.cfs_quota_us")
        )
        if quota not in ("max", "-1") and int(text) > int(quota):
            self._no(errno.EINVAL)
        return text

    _cpu_max_burst = _cpu_cfs_burst_us = _burst

    # io

    def _throttle(self, path: Path, text: str) -> str:
        device, rate = text.split()
        if device not in DISKS:
            self._no(errno.ENODEV)
        held = dict(line.split() for line in self.get(path).splitlines())
        held.pop(device, None)
        if rate != "0":
            held[device] = rate
        return "\n".join(f"{key} {value}" for key, value in sorted(held.items()))

    _blkio_throttle_read_bps_device = _blkio_throttle_write_bps_device = _throttle
    _blkio_throttle_read_iops_device = _blkio_throttle_write_iops_device = _throttle

    def _io_max(self, path: Path, text: str) -> str:
        device, word = text.split()
        key, _, rate = word.partition("=")
        if device not in DISKS:
            self._no(errno.ENODEV)
        if rate == "0":
            self._no(errno.ERANGE)
        held = {line.split()[0]: dict(w.split("=") for w in line.split()[1:]) for line in self.get(path).splitlines()}
        held.setdefault(device, dict.fromkeys(("rbps", "wbps", "riops", "wiops"), "max"))[key] = rate
        return "\n".join(
            f"{device} {' '.join(f'{key}={rate}' for key, rate in rates.items())}"
            for device, rates in sorted(held.items())
            if set(rates.values()) != {"max"}
        )

    def _weight(self, path: Path, text: str) -> str:
        if not 1 <= int(text) <= (1000 if "bfq" in path.name else 10_000):
            self._no(errno.ERANGE)
        return text if self.mode is not Mode.V2 else f"default {text}"

    _io_weight = _io_bfq_weight = _blkio_bfq_weight = _weight

    # memory

    def _size(self, text: str) -> str:
        if text == "max":
            return text
        value = int(text)
        if value < 0:
            self._no(errno.EINVAL)
        return str(value // PAGE * PAGE)

    def _memory_max(self, path: Path, text: str) -> str:
        held = self._size(text)
        if held != "max":
            stat = dict(line.split() for line in self.get(path.parent / "memory.stat").splitlines())
            self.oom_killed |= int(held) < int(stat["anon"])
        return held

    def _memory_high(self, path: Path, text: str) -> str:
        held = self._size(text)
        if held != "max":
            self.reclaim(path.parent, int(held))
        return held

    def _memory_low(self, _path: Path, text: str) -> str:
        return self._size(text)

    _memory_swap_max = _memory_low

    def _memory_reclaim(self, path: Path, text: str) -> None:
        wanted = int(self.get(path.parent / "memory.current")) - int(text)
        if self.reclaim(path.parent, wanted) > wanted:
            self._no(errno.EAGAIN)

    def _memory_force_empty(self, path: Path, _text: str) -> None:
        self.reclaim(path.parent, 0)

    def reclaim(self, directory: Path, wanted: int) -> int:
        """Drop cache until no more than `wanted` bytes are used, as far as there is cache; what is used then."""
        v2 = self.mode is Mode.V2
        file, prefix = ("memory.current", "") if v2 else ("memory.usage_in_bytes", "total_")
        current = int(self.get(directory / file))
        lines = [line.split() for line in self.get(directory / "memory.stat").splitlines()]
        stat = {name: int(value) for name, value in lines}
        cache = stat[f"{prefix}inactive_file"]
        dropped = min(cache, max(0, current - wanted))
        stat[f"{prefix}inactive_file"] = cache - dropped
        self.put(directory / "memory.stat", "\n".join(f"{name} {value}" for name, value in stat.items()))
        self.put(directory / file, str(current - dropped))
        return current - dropped

    def _v1_size(self, text: str) -> int:
        value = int(text)
        if value < -1:
            self._no(errno.EINVAL)
        return V1_MOST if value == -1 else min(V1_MOST, value // PAGE * PAGE)

    def _memory_limit_in_bytes(self, path: Path, text: str) -> str:
        value = self._v1_size(text)
        both = path.parent / "memory.memsw.limit_in_bytes"
        if both.exists() and value > int(self.get(both)):
            self._no(errno.EINVAL)
        if value < self.reclaim(path.parent, value):
            self._no(errno.EBUSY)
        return str(value)

    def _memory_memsw_limit_in_bytes(self, path: Path, text: str) -> str:
        value = self._v1_size(text)
        if value < int(self.get(path.parent / "memory.limit_in_bytes")):
            self._no(errno.EINVAL)
        return str(value)

    def _memory_soft_limit_in_bytes(self, _path: Path, text: str) -> str:
        return str(self._v1_size(text))

    # cpuset, pids

    def _cpuset(self, path: Path, text: str, kind: str, there: str) -> str:
        wanted = cpuset_numbers(text) if text else frozenset()
        if not wanted <= cpuset_numbers(there):
            self._no(errno.ERANGE)
        if "unified" in path.parts:
            if not text and self.get(path) and "populated 1" in self.get(path.parent / "cgroup.events"):
                self._no(errno.ENOSPC)
            above = cpuset_numbers(self.get(path.parent.parent / f"cpuset.{kind}.effective"))
            self.put(path.parent / f"cpuset.{kind}.effective", format_cpuset((wanted & above) or above))
        else:
            if not wanted <= cpuset_numbers(self.get(path.parent.parent / f"cpuset.{kind}")):
                self._no(errno.EACCES)
            self.put(path.parent / f"cpuset.effective_{kind}", format_cpuset(wanted))
        return format_cpuset(wanted)

    def _cpuset_cpus(self, path: Path, text: str) -> str:
        return self._cpuset(path, text, "cpus", CPUS)

    def _cpuset_mems(self, path: Path, text: str) -> str:
        return self._cpuset(path, text, "mems", "0")

    def _pids_max(self, _path: Path, text: str) -> str:
        if text != "max" and not 0 <= int(text) <= 4_194_304:
            self._no(errno.EINVAL)
        return text
