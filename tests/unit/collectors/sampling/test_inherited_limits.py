"""Limits of the cgroups above a container: which files, what they hold, and what a change or an end of them is."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from collectors.sampling import inherited_limits, parse, tracked
from collectors.sampling.inherited_limits import InheritedLimit, InheritedLimits, tightest
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.model import UNLIMITED, Missing


def write(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def test_a_limit_is_read_again_and_ends_with_its_cgroup(tmp_path: Path) -> None:
    above = write(tmp_path / "a", memory__max="4096\n")
    limit = InheritedLimit(above, ("memory.max",), parse.limit)
    assert (limit.value, limit.refresh()) == (4096, False)
    write(above, memory__max="max\n")
    assert limit.refresh()
    assert limit.value is UNLIMITED
    (above / "memory.max").unlink()
    assert limit.refresh()
    assert limit.value is Missing.GONE
    assert not limit.refresh()
    write(above, memory__max="8192\n")
    assert limit.refresh()
    assert limit.value == 8192


def test_a_limit_that_was_never_there(tmp_path: Path) -> None:
    limit = InheritedLimit(tmp_path, ("memory.max",), parse.limit)
    assert limit.value is Missing.UNSUPPORTED
    assert not limit.refresh()


def test_no_descriptor_is_no_missing_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = InheritedLimit(write(tmp_path, memory__max="1\n"), ("memory.max",), parse.limit)

    def scarce(path: str) -> bytes:
        raise OSError(errno.EMFILE, path)

    monkeypatch.setattr(inherited_limits, "_read", scarce)
    with pytest.raises(OSError, match=r"memory\.max"):
        limit.refresh()
    assert limit.value == 1


def test_the_limits_above_on_v1(tmp_path: Path) -> None:
    write(tmp_path / "a/b", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "a", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(tmp_path, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    hierarchies = Hierarchies(Mode.V1, v1={"cpu": Mount(tmp_path, "/")})
    inherited = InheritedLimits(hierarchies)
    above = inherited.above_cpu(Cgroup(v1={"cpu": tmp_path / "a/b/c"}))
    assert [limit.value for limit in above] == [0.5, UNLIMITED, UNLIMITED]
    assert tightest(2.0, above) == 0.5
    assert tightest(0.25, above) == 0.25
    assert tightest(UNLIMITED, above) == 0.5
    assert inherited.above_memory(Cgroup(v1={"memory": tmp_path / "a"})) == ()
    assert inherited.above_cpu(Cgroup()) == ()
    version = inherited.version
    write(tmp_path / "a/b", cpu__cfs_quota_us="25000\n")
    inherited.refresh({str(tmp_path / "a")})
    assert (inherited.version, above[0].value) == (version, 0.5)
    inherited.refresh({str(tmp_path / "a/b")})
    assert (inherited.version, above[0].value) == (version + 1, 0.25)
    assert set(inherited.all_directories) == {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/b")}


@pytest.mark.parametrize(
    ("used", "soft", "hard", "kept", "raised"),
    [
        (0, 1024, 4096, True, None),
        (900, 1024, 4096, True, 2048),
        (tracked.MAX_FDS, 1 << 20, 1 << 20, False, None),
        (15_980, 16_000, 20_000, True, 16_128),
        (1000, 1024, 1024, False, None),
        (4000, 1024, 4096, False, 4096),
    ],
)
def test_the_soft_limit_of_descriptors_is_raised_no_further_than_needed(
    monkeypatch: pytest.MonkeyPatch, used: int, soft: int, hard: int, kept: bool, raised: int | None
) -> None:
    set_to: list[Any] = []
    monkeypatch.setattr(tracked.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(tracked.resource, "setrlimit", lambda _, limits: set_to.append(limits))
    assert tracked.can_keep_open(used) is kept
    assert set_to == ([] if raised is None else [(raised, hard)])
