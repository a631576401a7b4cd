"""Which zygote is asked, and which are ended."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.process import zygote_socket
from runtime.engines.embedded.process.messages import PROTOCOL, QUIT, check_protocol
from runtime.errors import UnavailableError

NAMED = """
import sys
from runtime.kernel import syscalls
syscalls.set_name(sys.argv[1])
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def config(tmp_path: Path) -> EmbeddedConfig:
    (tmp_path / "run").mkdir()
    return EmbeddedConfig(tmp_path / "state", tmp_path / "run")


@pytest.fixture(autouse=True)
def fresh_name() -> Iterator[None]:
    zygote_socket.own_name.cache_clear()
    yield
    zygote_socket.own_name.cache_clear()


def listen(config: EmbeddedConfig, name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(config.run / name))
    listener.listen()
    return listener


def begin(name: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", NAMED, name, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=10)
    return process.returncode


def test_the_name_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [zygote_socket.own_name()]
    for place in ("one", "two"):
        shutil.copytree(zygote_socket.PACKAGE / "kernel", tmp_path / place)

    def name(place: Path) -> str:
        monkeypatch.setattr(zygote_socket, "PACKAGE", place)
        zygote_socket.own_name.cache_clear()
        return zygote_socket.own_name()

    names += [name(tmp_path / "one"), name(tmp_path / "two")]
    file = tmp_path / "two" / "files.py"
    os.utime(file, ns=(0, 0))
    names.append(name(tmp_path / "two"))
    file.write_bytes(file.read_bytes() + b"\n")
    os.utime(file, ns=(0, 0))
    names.append(name(tmp_path / "two"))
    assert len(set(names)) == len(names)
    (tmp_path / "two" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "two" / "__pycache__" / "files.cpython-311.pyc").write_bytes(b"")
    assert name(tmp_path / "two") == names[-1]
    shutil.rmtree(tmp_path / "two")
    with pytest.raises(UnavailableError, match="upgraded"):
        name(tmp_path / "two")


def test_other_zygotes_are_asked_to_end_and_dead_sockets_removed(config: EmbeddedConfig) -> None:
    own, other, before = zygote_socket.own_name(), "zygote-0123456789ab.sock", zygote_socket.UNVERSIONED
    heard: list[bytes] = []
    listeners = {name: listen(config, name) for name in (own, other, before)}

    def answer(name: str) -> None:
        connection, _ = listeners[name].accept()
        heard.append(connection.recv(100))
        connection.close()

    threads = [threading.Thread(target=answer, args=(name,)) for name in (other, before)]
    for thread in threads:
        thread.start()
    listen(config, "zygote-dead.sock").close()
    begun = time.monotonic()
    zygote_socket.retire_others(config)
    assert time.monotonic() - begun < 0.9, "both have answered"
    for thread in threads:
        thread.join(10)
    assert heard == [QUIT, QUIT]
    assert zygote_socket.names(config) == sorted([own, other, before])
    listeners[own].setblocking(False)
    with pytest.raises(BlockingIOError):
        listeners[own].accept()
    for listener in listeners.values():
        listener.close()


def test_a_zygote_that_does_not_answer_is_killed_and_no_other(config: EmbeddedConfig, tmp_path: Path) -> None:
    elsewhere = EmbeddedConfig(config.state, tmp_path / "elsewhere")
    mine, name = config.to_json(), "zygote-0123456789ab.sock"
    processes = {
        "stuck": begin("pytop-zygote", "3", mine, name),
        "stuck, of before": begin("pytop-zygote", "3", mine),
        "own": begin("pytop-zygote", "3", mine, zygote_socket.own_name()),
        "shim": begin("pytop-shim", "3", mine, name),
        "another instance's": begin("pytop-zygote", "3", elsewhere.to_json(), name),
        "something else": begin("pytop-zygote", "3", "{}", name),
    }
    with listen(config, name), listen(config, zygote_socket.UNVERSIONED), listen(config, zygote_socket.own_name()):
        zygote_socket.retire_others(config)
    codes = {each: end(process) for each, process in processes.items()}
    assert codes == {**dict.fromkeys(processes, 0), "stuck": -signal.SIGKILL, "stuck, of before": -signal.SIGKILL}


def test_a_request_of_another_protocol_is_refused() -> None:
    check_protocol({"op": "start", "id": "a", "protocol": PROTOCOL})
    for request in ({"op": "start", "id": "a"}, {"op": "start", "id": "a", "protocol": PROTOCOL + 1}):
        with pytest.raises(UnavailableError, match="upgraded"):
            check_protocol(request)


def test_nothing_of_this_engine_is_imported_after_a_fork() -> None:
    """By then an upgrade may have replaced the files."""
    late = [
        f"{path.name}:{statement.lineno}"
        for path in (zygote_socket.PACKAGE / "engines/embedded").rglob("*.py")
        for function in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in ast.walk(function)
        if (isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("runtime"))
        or (isinstance(statement, ast.Import) and any(alias.name.startswith("runtime") for alias in statement.names))
    ]
    assert late == []
