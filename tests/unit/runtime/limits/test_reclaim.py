"""Taking memory away on kernels of regular files: in steps, no further than wanted, never by a kill."""

from __future__ import annotations

import errno
from pathlib import Path
from threading import Event

import pytest

from runtime import limits
from runtime.errors import KernelError, UnsupportedError
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits import ReclaimProgress, reclaim
from runtime.limits.review import facts
from tests.unit.fake_kernel import PAGE, FakeKernel

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "meminfo", lambda: {"SwapFree": 0})
    monkeypatch.setattr(reclaim, "FUTILE_PAUSE_S", 0.0)


@pytest.fixture(params=["v1", "hybrid", "v2", "v2 before 5.19"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, Mode(request.param.split()[0]), monkeypatch)


@pytest.fixture
def cgroup(kernel: FakeKernel, request: pytest.FixtureRequest) -> Cgroup:
    made = kernel.cgroup()
    if "before" in str(request.node.callspec.params["kernel"]):
        assert made.unified is not None
        (made.unified / "memory.reclaim").unlink()
    return made


def shrink(cgroup: Cgroup, target: int, stop: Event | None = None) -> tuple[ReclaimProgress, list[ReclaimProgress]]:
    told: list[ReclaimProgress] = []
    return limits.shrink(cgroup, target, progress=told.append, stop=stop or Event()), told


def test_cache_goes_step_by_step_and_no_further(kernel: FakeKernel, cgroup: Cgroup) -> None:
    kernel.uses(cgroup, 1000 * MB, cache=900 * MB)
    before = limits.raw_files(cgroup)
    last, told = shrink(cgroup, 500 * MB)
    assert last == ReclaimProgress(500 * MB, 500 * MB, 500 * MB, done=True)
    assert told[-1] == last
    assert len(told) > 10
    assert [each.current for each in told] == sorted((each.current for each in told), reverse=True)
    assert limits.raw_files(cgroup) == before, "no limit is left changed"


def test_what_cannot_be_reclaimed_is_named_and_left(kernel: FakeKernel, cgroup: Cgroup) -> None:
    kernel.uses(cgroup, 150 * MB, cache=50 * MB)
    before = limits.raw_files(cgroup)
    last, _ = shrink(cgroup, 64 * MB)
    assert (last.current, last.reclaimed, last.done) == (100 * MB, 50 * MB, False)
    assert last.reason == (
        "100.0 MiB are left, of which no more can be reclaimed: 100.0 MiB anonymous memory that has no swap to go to"
    )
    assert limits.raw_files(cgroup) == before
    assert not kernel.oom_killed


def test_what_fits_already_is_left_alone(kernel: FakeKernel, cgroup: Cgroup) -> None:
    kernel.uses(cgroup, 50 * MB)
    last, told = shrink(cgroup, 64 * MB)
    assert (last.done, last.reclaimed, told) == (True, 0, [last])
    assert kernel.writes == []


def test_v1_keeps_a_reserve_when_little_can_be_reclaimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(tmp_path, Mode.V1, monkeypatch)
    cgroup = kernel.cgroup()
    kernel.uses(cgroup, 500 * MB, cache=200 * MB)
    seen: list[tuple[int, int]] = []
    real = kernel._memory_limit_in_bytes

    def limit(path: Path, text: str) -> str:
        now = limits.recent_use(cgroup)
        seen.append((int(text), now.file or 0))
        return real(path, text)

    monkeypatch.setattr(kernel, "_memory_limit_in_bytes", limit)
    last, _ = shrink(cgroup, 310 * MB)
    assert last.done
    lowered = [(text, cache) for text, cache in seen if text != -1]
    assert lowered, "it goes by the limit while there is enough"
    assert all(cache >= reclaim.RECLAIMABLE_RESERVE_BYTES for _, cache in lowered)
    assert len(seen) == 2 * len(lowered), "each is put back at once"
    assert ("memory.force_empty", "0") in kernel.writes, "the last bit goes without a limit"


def test_a_v1_limit_that_was_there_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(tmp_path, Mode.V1, monkeypatch)
    cgroup = kernel.cgroup()
    limit = cgroup.v1["memory"] / "memory.limit_in_bytes"
    kernel.put(limit, str(800 * MB))
    kernel.uses(cgroup, 700 * MB, cache=600 * MB)
    assert shrink(cgroup, 300 * MB)[0].done
    assert kernel.get(limit) == str(800 * MB)


def test_single_pages_are_no_progress(kernel: FakeKernel, cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that swaps gives some page at each step, and takes it back: that could go on for hours."""
    kernel.uses(cgroup, 1000 * MB, cache=900 * MB)
    real = kernel.reclaim
    use = [1000 * MB]

    def grudging(directory: Path, wanted: int) -> int:
        use[0] = real(directory, max(wanted, use[0] - PAGE))
        return use[0]

    monkeypatch.setattr(kernel, "reclaim", grudging)
    last, told = shrink(cgroup, 500 * MB)
    assert (last.done, len(told)) == (False, reclaim.MAX_FUTILE_STEPS + 1)
    assert "no more can be reclaimed" in last.reason


def test_little_that_is_all_there_is_to_gain_is_progress(kernel: FakeKernel, cgroup: Cgroup) -> None:
    kernel.uses(cgroup, 500 * MB + PAGE, cache=400 * MB)
    last, told = shrink(cgroup, 500 * MB)
    assert (last.done, len(told)) == (True, 2)


def test_it_stops_when_stop_is_set(kernel: FakeKernel, cgroup: Cgroup) -> None:
    kernel.uses(cgroup, 1000 * MB, cache=900 * MB)
    stop = Event()
    told: list[ReclaimProgress] = []

    def progress(so_far: ReclaimProgress) -> None:
        told.append(so_far)
        if len(told) == 3:
            stop.set()

    last = limits.shrink(cgroup, 100 * MB, progress=progress, stop=stop)
    assert (len(told), last.done, last.reason) == (4, False, "it was stopped")


def test_a_kill_meanwhile_ends_it(kernel: FakeKernel, cgroup: Cgroup) -> None:
    kernel.uses(cgroup, 1000 * MB, cache=900 * MB)
    where = cgroup.where("memory")
    assert where is not None
    file = where[0] / ("memory.events" if where[1] == 2 else "memory.oom_control")

    def progress(_: ReclaimProgress) -> None:
        kernel.put(file, "oom_kill 1")

    last = limits.shrink(cgroup, 100 * MB, progress=progress, stop=Event())
    assert "has killed one of its processes" in last.reason


def test_an_answer_of_the_kernel_is_passed_on_and_the_limit_is_put_back(kernel: FakeKernel, cgroup: Cgroup) -> None:
    kernel.uses(cgroup, 1000 * MB, cache=900 * MB)
    before = limits.raw_files(cgroup)
    real = kernel.write
    names = ("memory.reclaim", "memory.high", "memory.limit_in_bytes")

    def write(path: Path, text: str) -> None:
        if path.name in names and text not in ("max", "-1"):
            kernel.fail = {path.name: errno.EIO}
        try:
            real(path, text)
        finally:
            kernel.fail = {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.kernel.files.write", write)
        with pytest.raises(KernelError, match="EIO"):
            shrink(cgroup, 100 * MB)
    assert limits.raw_files(cgroup) == before


def test_a_cgroup_without_memory_says_so() -> None:
    with pytest.raises(UnsupportedError):
        shrink(Cgroup(), MB)
