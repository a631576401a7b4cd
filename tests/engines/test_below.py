"""A container whose processes live in cgroups below its own, as those of an init system or of an engine in it do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import LimitChange
from tests.engines.subject import Needs, Subject
from tests.waiting import wait_until

MB = 1024 * 1024


@contextmanager
def moved_below(directories: set[Path]) -> Iterator[None]:
    """Every process of these cgroups is in a new one below meanwhile."""
    try:
        for directory in directories:
            (directory / "below").mkdir()
            _move(directory, directory / "below")
        yield
    finally:
        for directory in directories:
            if (directory / "below").is_dir():
                _remove(directory / "below")


def _remove(directory: Path) -> None:
    """Its processes go back; one that is ending keeps it for a moment."""

    def gone() -> bool:
        _move(directory, directory.parent)
        with suppress(OSError):
            directory.rmdir()
        return not directory.exists()

    wait_until(gone, 2, f"{directory} can be removed")


def _move(here: Path, there: Path) -> None:
    for pid in (here / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):  # what the container's script had started has ended
            (there / "cgroup.procs").write_text(pid)


async def test_the_whole_container_is_limited_and_measured(subject: Subject) -> None:
    subject.need(Needs.CGROUPS)
    ref = await subject.run()
    before = own_cgroup.locate(cgroupfs.detect(), await subject.pid(ref))
    where = [before.where(name) for name in ("pids", "memory")]
    (pids, version), (memory, _) = (found for found in where if found is not None)
    with moved_below({pids, memory}):
        outcome = await subject.engine.update(ref.id, LimitChange(pids=50, memory=64 * MB))
        assert outcome.ok, outcome
        assert all(not field.detail for field in outcome.fields if field.persistent), outcome
        assert (pids / "pids.max").read_text().strip() == "50"
        assert (memory / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text() == f"{64 * MB}\n"
        if version == 1:
            assert (pids / "below/pids.max").read_text().strip() == "max"
        for container in (await subject.engine.get(ref.id), *await subject.engine.containers()):
            assert container.pid is not None
            measured = own_cgroup.locate(cgroupfs.detect(), container.pid, within=container.cgroup)
            assert measured.where("pids") == (pids, version)
            assert measured.where("memory") == (memory, version)
