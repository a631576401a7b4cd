"""The log format, its reader across rotations, and the writer that goes on after a kill -9 of the one before."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.embedded.process import log_writer
from runtime.engines.embedded.process.log_writer import LogWriter
from runtime.oci import cri_log


def text(lines: bytes) -> bytes:
    """The output that log lines stand for."""
    found = b""
    for line in lines.split(b"\n")[:-1]:
        parsed = cri_log.decode(line)
        assert parsed is not None
        found += parsed.data + (b"" if parsed.partial else b"\n")
    return found


@given(st.binary(max_size=200), st.integers(0, 4_000_000_000 * 10**9))
def test_what_was_written_comes_out_again(data: bytes, when: int) -> None:
    lines = cri_log.encode(b"stdout", data, when)
    assert text(lines) == data
    assert all(cri_log.decode(line).time_ns == when for line in lines.split(b"\n")[:-1])  # type: ignore[union-attr]


def test_long_lines_are_cut_into_pieces() -> None:
    data = b"x" * (cri_log.MAX_PIECE_BYTES * 2 + 5) + b"\n"
    lines = cri_log.encode(b"stderr", data, 0).split(b"\n")[:-1]
    assert [line.split(b" ")[2] for line in lines] == [b"P", b"P", b"F"]
    assert text(b"\n".join(lines) + b"\n") == data


@given(st.binary(max_size=80).filter(lambda line: b"\n" not in line))
def test_a_damaged_line_is_no_line_and_no_crash(line: bytes) -> None:
    cri_log.decode(line)


def test_the_zone_of_a_kubernetes_host() -> None:
    found = cri_log.decode(b"2023-11-15T00:13:20.5+02:00 stderr F hello")
    assert found is not None
    assert (found.time_ns, found.stream, found.data) == (1_700_000_000_500_000_000, "stderr", b"hello")


def test_the_format_is_the_cri_s() -> None:
    assert cri_log.encode(b"stdout", b"hello\n", 1_700_000_000_123_456_789) == (
        b"2023-11-14T22:13:20.123456789Z stdout F hello\n"
    )


@pytest.mark.parametrize(("tail", "expected"), [(0, []), (1, [b"e"]), (3, [b"c", b"d", b"e"]), (99, [*b"abcde"])])
def test_tail_across_rotated_files(tmp_path: Path, tail: int, expected: list[bytes]) -> None:
    log = tmp_path / "log"
    log.write_bytes(cri_log.encode(b"stdout", b"a\nb\nc\n", 1))
    cri_log.rotate(log)
    log.write_bytes(cri_log.encode(b"stdout", b"d\ne\n", 2))
    reader = cri_log.Reader(log, tail=tail)
    found = []
    while lines := reader.read():
        found += [line.data for line in lines]
    assert found == [bytes([e]) if isinstance(e, int) else e for e in expected]
    reader.close()


def test_a_reader_follows_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(cri_log.encode(b"stdout", b"1\n", 1))
    reader = cri_log.Reader(log)
    assert [line.data for line in reader.read()] == [b"1"]
    assert reader.read() == []
    with log.open("ab") as file:
        file.write(cri_log.encode(b"stdout", b"2\n", 1))
    cri_log.rotate(log)
    log.write_bytes(cri_log.encode(b"stdout", b"3\n", 1))
    found = []
    for _ in range(4):
        found += [line.data for line in reader.read()]
    assert found == [b"2", b"3"]
    reader.close()


def test_rotation_keeps_a_bounded_number(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for number in range(5):
        log.write_bytes(str(number).encode())
        cri_log.rotate(log)
    log.write_bytes(b"5")
    assert [path.read_bytes() for path in cri_log.files(log)] == [b"3", b"4", b"5"]


@pytest.fixture
def live(tmp_path: Path) -> Path:
    (tmp_path / "live").mkdir()
    return tmp_path / "live"


def hold(live: Path) -> int:
    """What init does: keep the pipe open both ways."""
    log_writer.make_pipes(live)
    return os.open(live / "stdout", os.O_RDWR | os.O_NONBLOCK)


def test_output_is_moved_into_the_log(live: Path) -> None:
    init = hold(live)
    writer = LogWriter(live, live / "log")
    os.write(init, b"one\ntwo")
    assert writer.pump("stdout")
    assert not writer.pump("stdout")
    assert text((live / "log").read_bytes()) == b"one\ntwo"
    writer.close()
    os.close(init)


class KilledError(Exception):
    """Stands for kill -9 at one place."""


@pytest.mark.parametrize("place", ["_set_position", "write", "_take", "_clear_position"])
@pytest.mark.parametrize("after", [False, True])
def test_a_writer_killed_between_two_steps(
    live: Path, monkeypatch: pytest.MonkeyPatch, place: str, after: bool
) -> None:
    init = hold(live)
    writer = LogWriter(live, live / "log")
    os.write(init, b"a\n")
    assert writer.pump("stdout")
    os.write(init, b"b\nc")
    owner = {"write": log_writer.os, "_take": log_writer}.get(place, writer)
    real = getattr(owner, place)

    def killed(*arguments: object) -> object:
        if after:
            real(*arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, place, killed)
        with pytest.raises(KilledError):
            writer.pump("stdout")
    writer.close()
    os.write(init, b"d\n")
    following = LogWriter(live, live / "log")
    following.drain()
    assert text((live / "log").read_bytes()) == b"a\nb\ncd\n"
    following.close()
    os.close(init)


def test_half_a_chunk_in_the_log_is_undone(live: Path) -> None:
    init = hold(live)
    writer = LogWriter(live, live / "log")
    os.write(init, b"whole\n")
    lines = cri_log.encode(b"stdout", b"whole\n", 0)
    writer._set_position("stdout", 0, len(lines), 6, zlib.crc32(b"whole\n"))
    (live / "log").write_bytes(lines[:9])
    writer.close()
    following = LogWriter(live, live / "log")
    following.drain()
    assert text((live / "log").read_bytes()) == b"whole\n"
    following.close()
    os.close(init)


def test_what_init_saved_is_logged_once(live: Path) -> None:
    init = hold(live)
    (live / "stdout.rest").write_bytes(b"saved\n")
    for _ in range(2):
        writer = LogWriter(live, live / "log")
        writer.drain()
        writer.close()
    assert text((live / "log").read_bytes()) == b"saved\n"
    os.close(init)


def test_a_log_that_is_too_long_is_rotated(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cri_log, "ROTATE_BYTES", 300)
    init = hold(live)
    writer = LogWriter(live, live / "log")
    for number in range(12):
        os.write(init, b"%d\n" % number)
        writer.pump("stdout")
    writer.close()
    os.close(init)
    kept = b"".join(path.read_bytes() for path in cri_log.files(live / "log"))
    assert text(kept).endswith(b"9\n10\n11\n")
    assert all(path.stat().st_size <= 300 for path in cri_log.files(live / "log"))
