"""Logs that other clients of containerd keep in files: found by labels and tasks, bounded, of known owners only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runtime.engines.containerd import foreign_logs, logs
from runtime.engines.containerd.foreign_logs import STATE_DIRECTORY, ForeignLog, ForeignReader, LogFormat
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.errors import DeniedError, InvalidError, UnsupportedError
from runtime.model import LogLine

ME = frozenset({os.geteuid()})
TIME = "2026-11-21T03:14:07.000000005Z"


def entry(text: str, stream: str = "stdout") -> str:
    return json.dumps({"log": text, "stream": stream, "time": TIME}) + "\n"


def found(tmp_path: Path, labels: dict[str, str], stdout: str = "/run/fifo") -> Path | ForeignLog:
    record = pb.Container(id="web", labels=labels)
    return logs.find(record, pb.Process(stdout=stdout), tmp_path / "own", "default", ME)


async def read(log: Path | ForeignLog, tail: int | None = None) -> list[LogLine]:
    return [line async for line in logs.lines(log, follow=False, tail=tail, ended=lambda: True)]


async def test_nerdctls_json_lines(tmp_path: Path) -> None:
    (tmp_path / "web-json.log").write_text(
        entry("one\n") + entry("bad\n", "stderr") + "{damaged\n[1]\n" + entry("prompt> ") + entry("two\n")
    )
    log = found(tmp_path, {STATE_DIRECTORY: str(tmp_path), "nerdctl/log-uri": "binary:///usr/bin/nerdctl?x=/y"})
    assert log == ForeignLog(tmp_path / "web-json.log", LogFormat.JSON, ME)
    lines = await read(log)
    assert [(line.stream, line.data, line.partial) for line in lines] == [
        ("stdout", b"one", False),
        ("stderr", b"bad", False),
        ("stdout", b"prompt> ", True),
        ("stdout", b"two", False),
    ]
    assert {line.time_ns % 10**9 for line in lines} == {5}


@pytest.mark.parametrize("way", ["task", "nerdctl/log-uri", "containerd.io/restart.loguri"])
async def test_a_file_uri_of_the_task_or_of_a_label(tmp_path: Path, way: str) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"one\n\r\nthe end")
    uri = f"file://{tmp_path}/a%20file"
    log = found(tmp_path, {} if way == "task" else {way: uri}, uri if way == "task" else "/run/fifo")
    lines = await read(log)
    assert [(line.data, line.partial) for line in lines] == [(b"one", False), (b"\r", False), (b"the end", True)]
    assert (await read(ForeignLog(tmp_path / "not yet", LogFormat.PLAIN, ME))) == []


def test_without_any_of_them_it_says_who_has_it(tmp_path: Path) -> None:
    for labels in ({}, {STATE_DIRECTORY: str(tmp_path)}, {"nerdctl/log-uri": "binary:///x"}):
        with pytest.raises(UnsupportedError, match="keeps no output"):
            found(tmp_path, labels)


@pytest.mark.parametrize("kind", ["fifo", "device", "link", "directory", "another's"])
def test_only_regular_files_of_whom_the_daemon_may_name(tmp_path: Path, kind: str) -> None:
    path, owners = tmp_path / "log", ME
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link":
        (tmp_path / "secret").write_text("secret\n")
        path.symlink_to(tmp_path / "secret")
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_text("secret\n")
        owners = frozenset({os.geteuid() + 1})
    with pytest.raises(DeniedError if kind == "another's" else InvalidError):
        ForeignReader(ForeignLog(path, LogFormat.PLAIN, owners))


@pytest.mark.parametrize("text", ["".join(f"{n}\n" for n in range(100_000)), "a\nb\nc", "a\n", "", "\n\n\n"])
@pytest.mark.parametrize("tail", [0, 1, 2, 3, 70_000, 200_000])
async def test_the_last_lines(tmp_path: Path, text: str, tail: int) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    lines = [line.data.decode() for line in await read(ForeignLog(path, LogFormat.PLAIN, ME), tail)]
    assert lines == (text.splitlines()[-tail:] if tail else [])


def test_what_is_held_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_logs, "MAX_TAIL_BYTES", 1000)
    path = tmp_path / "log"
    path.write_bytes(b"x" * (3 << 20))
    for format in LogFormat:
        reader = ForeignReader(ForeignLog(path, format, ME))
        pieces = []
        for _ in range(100):
            pieces += reader.read()
            assert len(reader._rest) <= foreign_logs.MAX_LINE_BYTES
        reader.close()
        assert sum(len(piece.data) for piece in pieces) == (0 if format is LogFormat.JSON else 3 << 20)
    reader = ForeignReader(ForeignLog(path, LogFormat.PLAIN, ME), tail=5)
    assert os.lseek(reader._fd, 0, os.SEEK_CUR) >= (3 << 20) - 1000
    reader.close()


def test_a_rotated_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    reader = ForeignReader(ForeignLog(path, LogFormat.PLAIN, ME))
    assert [line.data for line in reader.read()] == [b"one"]
    assert reader.read() == []
    path.rename(tmp_path / "log.1")
    path.write_text("two\n")
    assert [line.data for line in reader.read()] == [b"two"]
    reader.close()
