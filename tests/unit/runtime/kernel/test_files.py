"""Kernel files that may not be looked at: said as denied, never raised as `PermissionError`.

The kind was looked for in every `exists` and `is_dir` on a cgroup's path: `limits.unsupported`, `limits.reclaim`,
`kernel.cgroups`, `kernel.own_cgroup`, `kernel.delegation` and `collectors.sampling.layout`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collectors.sampling.layout import files_to_open
from runtime import limits
from runtime.errors import DeniedError
from runtime.kernel import cgroups, delegation, files, own_cgroup, syscalls
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.model import LimitName, Missing

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """This thread without the capabilities by which root reads every file."""
    effective, permitted, inheritable = syscalls.capget()
    syscalls.capset(effective & ~(_DAC_OVERRIDE | _DAC_READ_SEARCH), permitted, inheritable)
    try:
        yield
    finally:
        syscalls.capset(effective, permitted, inheritable)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A cgroup that may be listed by nobody, in a v2 tree."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io cpuset\n")
    directory = tmp_path / "another"
    directory.mkdir()
    (directory / "cgroup.controllers").write_text("cpu memory io\n")
    (directory / "below").mkdir()
    directory.chmod(0)
    with bound_by_modes():
        yield directory
    directory.chmod(0o755)


def test_what_may_not_be_searched_is_denied(closed: Path) -> None:
    assert files.exists(closed) is True
    assert files.exists(closed / "cpu.idle") is Missing.DENIED
    assert files.exists(closed.parent / "cpu.idle") is False
    assert files.exists(closed.parent / "cgroup.controllers" / "x") is False
    with pytest.raises(DeniedError):
        files.require_writable(closed / "cpu.idle")


def test_limits_of_a_host_with_another_users_cgroup(closed: Path) -> None:
    hierarchies = Hierarchies(Mode.V2, {}, Mount(closed.parent))
    assert limits.unsupported_limits(hierarchies) == {}
    v1 = Hierarchies(Mode.V1, {"cpu": Mount(closed.parent), "memory": Mount(closed)})
    assert LimitName.CPU_BURST not in limits.unsupported_limits(v1)
    assert LimitName.SWAP not in limits.unsupported_limits(v1)


def test_a_cgroup_in_one_that_is_closed(closed: Path) -> None:
    cgroup = Cgroup({"cpu": closed / "below"}, closed / "below")
    assert cgroups.exists(cgroup)
    assert not cgroups.is_frozen(cgroup)
    hierarchies = Hierarchies(Mode.HYBRID, {"cpu": Mount(closed.parent)}, Mount(closed.parent))
    assert own_cgroup.at_path("/another/below", hierarchies) is None
    assert not delegation.has_processes(closed / "below")
    assert files_to_open(cgroup)
