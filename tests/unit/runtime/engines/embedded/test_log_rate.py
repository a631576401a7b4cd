"""What a container prints is bounded, and what the disk does not take is counted; the rest of the log stays.

Where this project writes a container's output was looked for: here, and in the logger of containers that are started
on containerd, which never waits and drops what the disk does not take.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded.process import log_rate, log_writer
from runtime.engines.embedded.process.log_rate import LOG_BURST_BYTES, LOG_RATE_BYTES_PER_S, STEP_BYTES, LogRate
from runtime.engines.embedded.process.log_writer import LogCounters, LogWriter, read_counters
from runtime.engines.embedded.state.changes import event_kinds
from runtime.engines.embedded.state.record import ContainerRecord, dumps, loads
from runtime.model import ContainerSpec, EventKind, State
from runtime.oci import cri_log
from tests.app.fakes import container
from tui.present.fields import FIELDS


@pytest.fixture
def live(tmp_path: Path) -> Path:
    (tmp_path / "live").mkdir()
    log_writer.make_pipes(tmp_path / "live")
    return tmp_path / "live"


@pytest.fixture
def init(live: Path) -> Iterator[int]:
    """What init does: keep the pipe open both ways."""
    held = os.open(live / "stdout", os.O_RDWR | os.O_NONBLOCK)
    yield held
    os.close(held)


def texts(log: Path) -> list[bytes]:
    lines = b"".join(path.read_bytes() for path in cri_log.files(log)).splitlines()
    return [decoded.data for line in lines if (decoded := cri_log.decode(line)) is not None]


def test_a_burst_is_free_and_then_the_rate_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(log_rate.time, "monotonic", lambda: now)
    rate = LogRate()
    rate.take(LOG_BURST_BYTES - STEP_BYTES)
    assert rate.pause_s() == 0
    rate.take(LOG_RATE_BYTES_PER_S - STEP_BYTES)
    assert rate.pause_s() == pytest.approx(1)
    now += 1
    assert rate.pause_s() == pytest.approx(0)
    now += 100
    rate.take(LOG_BURST_BYTES)
    assert rate.pause_s() == pytest.approx(STEP_BYTES / LOG_RATE_BYTES_PER_S)


def test_many_small_steps_count_too() -> None:
    rate = LogRate()
    for _ in range(LOG_BURST_BYTES // STEP_BYTES):
        rate.take(0)
    rate.take(0)
    assert rate.pause_s() > 0


def test_an_empty_line_counts_with_its_time_and_stream(live: Path, init: int) -> None:
    writer = LogWriter(live, live / "log")
    taken: list[int] = []
    writer.rate.take = taken.append  # type: ignore[method-assign]
    os.write(init, b"\n" * 100)
    assert writer.pump("stdout")
    assert taken == [(live / "log").stat().st_size]
    writer.close()


def test_a_pipe_is_full_when_its_writer_would_wait(live: Path, init: int) -> None:
    writer = LogWriter(live, live / "log")
    assert not writer.is_full()
    os.write(init, b"x" * 1000)
    assert not writer.is_full()
    os.write(init, b"x" * 100_000)
    assert writer.is_full()
    writer.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.ENFILE])
def test_what_is_lost_is_counted_and_told_by_whichever_shim_can(
    live: Path, init: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(live, live / "log")
    real = os.open

    def refuse(path: str | Path, flags: int, *more: int) -> int:
        if str(path).endswith("/log"):
            raise OSError(number, os.strerror(number))
        return real(path, flags, *more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        writer._give_up(OSError(number, os.strerror(number)))
        os.write(init, b"lost\n")
        assert writer.pump("stdout")
        assert read_counters(live) == LogCounters(lost=5, untold=5)
        writer.close()
        following = LogWriter(live, live / "log")
    os.write(init, b"kept\n")
    assert following.pump("stdout")
    following.note_wait(1.5)
    following.close()
    assert texts(live / "log")[0].startswith(b"[pytop-containers: 5 bytes of output are missing here: ")
    assert texts(live / "log")[1:] == [b"kept"]
    assert read_counters(live) == LogCounters(lost=5, untold=0, waited_ns=1_500_000_000)


def test_a_disk_that_is_full_at_a_rotation_costs_no_older_log(
    live: Path, init: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cri_log, "ROTATE_BYTES", 150)
    writer = LogWriter(live, live / "log")
    for number in range(6):
        os.write(init, b"%d\n" % number)
        writer.pump("stdout")
    before = texts(live / "log")
    real = os.open

    def full(path: str | Path, flags: int, *more: int) -> int:
        if str(path).endswith("/log") and not (live / "log").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, flags, *more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        for _ in range(5):
            os.write(init, b"lost\n" * 5)
            writer.pump("stdout")
    os.write(init, b"after\n")
    writer.pump("stdout")
    writer.close()
    after = texts(live / "log")
    assert after[-1] == b"after"
    assert b"125 bytes" in after[-2]
    assert after[:-2] == before[-len(after) + 2 :]
    assert len(after) >= 5


def test_counters_of_a_version_before_there_were_any(live: Path) -> None:
    assert read_counters(live) == LogCounters()
    (live / "position").write_bytes(b"")
    assert read_counters(live) == LogCounters()


def test_the_record_says_it_and_its_changes_are_events() -> None:
    plain = ContainerRecord("ab" * 32, ContainerSpec("host", ("true",), name="one"), 1, State.RUNNING)
    limited = replace(plain, output_limited=True)
    assert loads(dumps(limited)).container().output_limited
    assert event_kinds(plain, limited) == [EventKind.OUTPUT_LIMITED]
    assert event_kinds(limited, plain) == [EventKind.OUTPUT_UNLIMITED]
    ended = limited.ended(0, now_ns=time.time_ns())
    assert event_kinds(limited, ended) == [EventKind.DIED]
    assert not ended.container().output_limited


def test_the_row_says_it() -> None:
    assert FIELDS["state"].extract(replace(container("web"), output_limited=True), None) == "log-limited"
    assert FIELDS["state"].extract(container("web"), None) == "running"
