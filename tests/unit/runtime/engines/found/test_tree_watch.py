"""Found containers by events: on trees of files, with scans that are counted."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from pathlib import Path
from typing import cast

import pytest

from runtime.engines.found import tree_watch
from runtime.engines.found.engine import FoundEngine
from runtime.engines.found.scan import FoundContainer, Scanner
from runtime.kernel import syscalls
from runtime.model import Event, EventKind
from tests.unit.fake_machine import FakeMachine
from tests.unit.runtime.kernel.test_inotify import queue_length
from tests.waiting import until

FIRST, SECOND = "a" * 64, "b" * 64


class CountedScans:
    """A scanner's scans, each with what may have changed for it."""

    def __init__(self, scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.touched: list[Collection[str] | None] = []
        real = scanner.scan

        def scan(touched: Collection[str] | None = None) -> list[FoundContainer]:
            self.touched.append(touched)
            return real(touched)

        monkeypatch.setattr(scanner, "scan", scan)


async def first_scan(scans: CountedScans) -> None:
    """Wait until it is over."""
    await until(lambda: scans.touched)
    await asyncio.sleep(0.3)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = FakeMachine(tmp_path)
    made.live(101, f"/docker/{FIRST}")
    return made


class Following:
    """An engine whose events are followed."""

    def __init__(self, scanner: Scanner) -> None:
        self.engine = FoundEngine(scanner=scanner)
        self.events: list[Event] = []
        self._stream: AsyncIterator[Event] = self.engine.events()
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for event in self._stream:
            self.events.append(event)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await cast("AsyncGenerator[Event, None]", self._stream).aclose()

    def told(self, kind: EventKind, identity: str) -> bool:
        return any(event.kind is kind and event.ref.id == identity for event in self.events)


async def test_a_container_comes_and_goes_by_events_and_at_rest_nothing_is_looked_at(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan of every cgroup and process each second was 4% of a core of 200 containers."""
    scanner = machine.scanner()
    scans = CountedScans(scanner, monkeypatch)
    following = Following(scanner)
    try:
        await first_scan(scans)
        await asyncio.sleep(2.5)
        assert len(scans.touched) <= 2
        begun = time.monotonic()
        machine.live(102, f"/docker/{SECOND}")
        await until(lambda: following.told(EventKind.STARTED, SECOND))
        assert time.monotonic() - begun < 1.5
        assert scans.touched[-1] is not None
        own = machine.hierarchies.unified
        assert own is not None
        (own.path / "docker" / SECOND / "cgroup.procs").unlink()
        (own.path / "docker" / SECOND).rmdir()
        await until(lambda: following.told(EventKind.REMOVED, SECOND))
    finally:
        await following.close()


async def test_a_cgroup_that_is_made_anew_is_watched_anew(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner = machine.scanner()
    following = Following(scanner)
    own = machine.mounts[0] / "docker" / FIRST
    try:
        await first_scan(CountedScans(scanner, monkeypatch))
        (own / "cgroup.procs").unlink()
        own.rmdir()
        await until(lambda: following.told(EventKind.REMOVED, FIRST))
        own.mkdir()
        (own / "cgroup.procs").write_text("")
        await asyncio.sleep(4.5)
        following.events.clear()
        (own / "cgroup.procs").write_text("101\n")
        await until(lambda: following.told(EventKind.STARTED, FIRST), 1.5)
    finally:
        await following.close()


async def test_only_the_containers_in_which_something_happened_are_read(machine: FakeMachine) -> None:
    machine.live(102, f"/docker/{SECOND}")
    scanner = machine.scanner()
    assert len(scanner.scan()) == 2
    for pid in (101, 102):
        (machine.proc / str(pid) / "stat").write_text(f"{pid} (x) Z " + "1 " * 18 + "100 0\n")
    found = scanner.scan({f"/docker/{SECOND}"})
    assert {one.pid for one in found if one.identity.id == FIRST} == {101}
    assert not any(one.pid == 102 and one.start_ticks != 100 for one in found)
    assert scanner.to_watch.own[str(machine.mounts[0] / "docker" / FIRST)] == f"/docker/{FIRST}"


async def test_what_no_event_tells_is_found_by_the_slow_scan(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_watch, "SLOW_SCAN_S", 0.3)
    machine.live(90, "/user.slice/session-2.scope")
    scanner = machine.scanner()
    scans = CountedScans(scanner, monkeypatch)
    following = Following(scanner)
    try:
        await first_scan(scans)
        machine.live(103, "/user.slice/session-2.scope", 1, space="pid:[2]")
        await until(lambda: any(event.kind is EventKind.STARTED for event in following.events))
        assert scans.touched[-1] is None
    finally:
        await following.close()


async def test_events_that_were_lost_have_everything_looked_at(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = queue_length()
    scanner = machine.scanner()
    scans = CountedScans(scanner, monkeypatch)
    following = Following(scanner)
    try:
        await first_scan(scans)
        files = [os.open(machine.mounts[0] / "docker" / FIRST / name, os.O_WRONLY | os.O_CREAT) for name in "ab"]
        for number in range(longest + 10):
            os.pwrite(files[number % 2], b"1", 0)
        for file in files:
            os.close(file)
        before = len(scans.touched)
        await until(lambda: None in scans.touched[before:])
    finally:
        await following.close()


async def test_without_an_inotify_instance_it_is_polled_with_a_note(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(syscalls, "inotify_init", refused)
    scanner = machine.scanner()
    scans = CountedScans(scanner, monkeypatch)
    following = Following(scanner)
    try:
        await first_scan(scans)
        machine.live(102, f"/docker/{SECOND}")
        await until(lambda: following.told(EventKind.STARTED, SECOND))
        detail = (await following.engine.info()).detail
        assert "Too many open files" in detail["polled"]
        assert "max_user_instances" in detail["polled"]
        before = len(scans.touched)
        await asyncio.sleep(1.5)
        assert 1 <= len(scans.touched) - before <= 2
    finally:
        await following.close()
