"""Each limit file with good and bad content, on trees of v1, v2 and hybrid."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import limits
from runtime.errors import DeniedError, KernelError, NotFoundError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits.controllers import memory, weight
from runtime.limits.step import read_number
from runtime.model import UNLIMITED, LimitName, Limits, Missing, Unlimited
from tests.unit.fake_kernel import FakeKernel

NONE = Missing.UNSUPPORTED
V1_CASES = [
    ("cpu", "cpu.cfs_quota_us", "50000", "cpus", 0.5),
    ("cpu", "cpu.cfs_quota_us", "-1", "cpus", UNLIMITED),
    ("cpu", "cpu.cfs_quota_us", "", "cpus", NONE),
    ("cpu", "cpu.cfs_quota_us", "fast", "cpus", NONE),
    ("cpu", "cpu.cfs_quota_us", None, "cpus", NONE),
    ("cpu", "cpu.cfs_period_us", "0", "cpus", NONE),
    ("cpu", "cpu.cfs_period_us", "-5", "cpu_period", NONE),
    ("cpu", "cpu.cfs_period_us", None, "cpus", NONE),
    ("cpu", "cpu.cfs_period_us", "20000", "cpu_period", 20000),
    ("cpu", "cpu.shares", "512", "cpu_shares", 512),
    ("cpu", "cpu.shares", "lots", "cpu_shares", NONE),
    ("cpu", "cpu.shares", None, "cpu_shares", NONE),
    ("cpuset", "cpuset.cpus", "0-1,3", "cpuset_cpus", "0-1,3"),
    ("cpuset", "cpuset.cpus", None, "cpuset_cpus", NONE),
    ("cpuset", "cpuset.mems", "0", "cpuset_mems", "0"),
    ("memory", "memory.limit_in_bytes", "67108864", "memory", 67108864),
    ("memory", "memory.limit_in_bytes", "9223372036854771712", "memory", UNLIMITED),
    ("memory", "memory.limit_in_bytes", "9223372036854710272", "memory", UNLIMITED),  # 64 KiB pages
    ("memory", "memory.limit_in_bytes", "", "memory", NONE),
    ("memory", "memory.limit_in_bytes", "64M", "memory", NONE),
    ("memory", "memory.limit_in_bytes", None, "memory", NONE),
    ("memory", "memory.memsw.limit_in_bytes", None, "swap", NONE),
    ("memory", "memory.soft_limit_in_bytes", "1048576", "memory_reservation", 1048576),
    ("pids", "pids.max", "max", "pids", UNLIMITED),
    ("pids", "pids.max", "100", "pids", 100),
    ("pids", "pids.max", "many", "pids", NONE),
    ("pids", "pids.max", "-1", "pids", NONE),
    ("pids", "pids.max", None, "pids", NONE),
]
V2_CASES = [
    ("cpu.max", "50000 100000", "cpus", 0.5),
    ("cpu.max", "max 100000", "cpus", UNLIMITED),
    ("cpu.max", "max 20000", "cpu_period", 20000),
    ("cpu.max", "50000", "cpus", 0.5),
    ("cpu.max", "50000 0", "cpus", NONE),
    ("cpu.max", "", "cpus", NONE),
    ("cpu.max", "a b c", "cpus", NONE),
    ("cpu.max", "9" * 400 + " 100000", "cpus", NONE),
    ("cpu.max", None, "cpus", NONE),
    ("cpu.weight", "100", "cpu_shares", 1024),
    ("cpu.weight", "0", "cpu_shares", 2),  # what an idle cgroup shows
    ("cpu.weight", "max", "cpu_shares", NONE),
    ("cpu.weight", None, "cpu_shares", NONE),
    ("cpuset.cpus.effective", "0-1", "cpuset_cpus", "0-1"),
    ("cpuset.cpus.effective", None, "cpuset_cpus", NONE),
    ("cpuset.mems.effective", "0", "cpuset_mems", "0"),
    ("memory.max", "67108864", "memory", 67108864),
    ("memory.max", "max", "memory", UNLIMITED),
    ("memory.max", "64M", "memory", NONE),
    ("memory.max", None, "memory", NONE),
    ("memory.high", "1048576", "memory_high", 1048576),
    ("memory.high", None, "memory_high", NONE),
    ("memory.low", "0", "memory_reservation", 0),
    ("memory.swap.max", "0", "swap", 0),
    ("memory.swap.max", None, "swap", NONE),
    ("pids.max", "max", "pids", UNLIMITED),
    ("pids.max", "7", "pids", 7),
    ("pids.max", "\x00", "pids", NONE),
]


def put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text + "\n")


@pytest.mark.parametrize("mode", [Mode.V1, Mode.HYBRID])
@pytest.mark.parametrize(("controller", "file", "text", "field", "value"), V1_CASES)
def test_v1_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
    controller: str,
    file: str,
    text: str | None,
    field: str,
    value: object,
) -> None:
    cgroup = FakeKernel(tmp_path, mode, monkeypatch).cgroup()
    put(cgroup.v1[controller] / file, text)
    assert limits.read(cgroup).get(LimitName(field)) == value if field != "cpu_period" else True
    assert getattr(limits.read(cgroup), field) == value


@pytest.mark.parametrize(("file", "text", "field", "value"), V2_CASES)
def test_v2_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str | None, field: str, value: object
) -> None:
    cgroup = FakeKernel(tmp_path, Mode.V2, monkeypatch).cgroup()
    assert cgroup.unified is not None
    put(cgroup.unified / file, text)
    assert getattr(limits.read(cgroup), field) == value


def test_v1_swap_is_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = FakeKernel(tmp_path, Mode.V1, monkeypatch).cgroup()
    put(cgroup.v1["memory"] / "memory.limit_in_bytes", "1000")
    put(cgroup.v1["memory"] / "memory.memsw.limit_in_bytes", "1500")
    assert limits.read(cgroup).swap == 500


def test_nothing_at_all_is_unsupported() -> None:
    assert limits.read(Cgroup()) == Limits()
    assert limits.raw_files(Cgroup()) == ()
    assert limits.recent_use(Cgroup()) == limits.RecentUse()


def test_what_is_gone_and_what_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.read(Cgroup({"pids": tmp_path / "gone"})).pids is Missing.GONE

    def denied(path: Path) -> str:
        raise DeniedError("read", path=str(path))

    monkeypatch.setattr(files, "read", denied)
    held = limits.read(Cgroup(dict.fromkeys(("cpu", "cpuset", "memory", "pids"), tmp_path)))
    for name in (LimitName.CPUS, LimitName.CPU_SHARES, LimitName.CPUSET_CPUS, LimitName.MEMORY, LimitName.PIDS):
        assert held.get(name) is Missing.DENIED
    assert held.memory_high is Missing.UNSUPPORTED


@pytest.mark.parametrize("mode", [Mode.V1, Mode.V2, Mode.HYBRID])
def test_raw_is_every_limit_file_in_the_kernels_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    cgroup = FakeKernel(tmp_path, mode, monkeypatch).cgroup()
    by_name = {Path(entry.path).name: entry for entry in limits.raw_files(cgroup)}
    if mode is Mode.V2:
        assert by_name["cpu.max"].text == "max 100000"
        assert {"memory.max", "memory.swap.max", "cpuset.cpus", "io.max", "pids.max"} <= set(by_name)
        assert not any("in_bytes" in name for name in by_name)
    else:
        assert by_name["cpu.cfs_quota_us"].text == "-1"
        assert by_name["blkio.throttle.read_bps_device"].controller == "io"
        assert "memory.max" not in by_name
    for entry in by_name.values():
        assert Path(entry.path).read_text().strip() == entry.text


@pytest.mark.parametrize("mode", [Mode.V1, Mode.V2])
def test_use_with_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    kernel = FakeKernel(tmp_path, mode, monkeypatch)
    cgroup = kernel.cgroup()
    kernel.uses(cgroup, 100, cache=30)
    use = limits.recent_use(cgroup)
    assert (use.memory, use.anon, use.file, use.swap, use.pids) == (100, 70, 30, 0, 0)
    assert use.unreclaimable == 70


@pytest.mark.parametrize("stat", ["", "nonsense", "total_inactive_file -5\nanon x", "total_inactive_file ²"])
def test_a_bad_memory_stat_counts_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stat: str) -> None:
    cgroup = FakeKernel(tmp_path, Mode.V1, monkeypatch).cgroup()
    put(cgroup.v1["memory"] / "memory.stat", stat)
    put(cgroup.v1["memory"] / "memory.usage_in_bytes", "100")
    use = memory.read_use(cgroup)
    assert use is not None
    assert (use.current, use.file, use.anon) == (100, 0, None)


@given(st.text(max_size=60))
def test_no_content_crashes_a_reader(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "try_read", lambda _path: text.strip())
        for cgroup in (
            Cgroup({name: Path("/x") for name in ("cpu", "cpuset", "memory", "pids")}),
            Cgroup({}, Path("/x"), frozenset({"cpu", "cpuset", "memory", "pids"})),
        ):
            held = limits.read(cgroup)
            assert not isinstance(held.cpus, float) or held.cpus >= 0
            memory.read_use(cgroup)
            weight.weight(cgroup)
        value = read_number(Path("/x"))
        assert isinstance(value, (int, Unlimited, Missing))


def test_a_file_is_read_whole_and_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x" * 200_000 + "\n")
    assert files.read(path) == "x" * 200_000
    path.write_text("")
    files.write(path, "50000 100000")
    assert path.read_text() == "50000 100000"


def test_errors_of_files_carry_path_and_number(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="ENOENT"):
        files.read(tmp_path / "none")
    with pytest.raises(NotFoundError):
        files.write(tmp_path / "none", "1")
    with pytest.raises(NotFoundError):
        files.require_writable(tmp_path / "none")
    with pytest.raises(KernelError, match="EISDIR") as caught:
        files.write(tmp_path, "1")
    assert caught.value.path == str(tmp_path)
    assert files.try_read(tmp_path / "none") is Missing.UNSUPPORTED
    assert files.try_read(tmp_path / "none" / "none") is Missing.GONE
    assert files.try_read(tmp_path) is Missing.UNSUPPORTED


def test_a_write_that_the_kernel_refuses_is_not_lost() -> None:
    with pytest.raises(KernelError, match="ENOSPC"):
        files.write(Path("/dev/full"), "1")
