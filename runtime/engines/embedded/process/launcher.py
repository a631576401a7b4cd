"""The client's side of the zygote: start it when it is not there, ask it for shims.

Its interpreter is executed from a sealed memory file, not from disk: a container that gets hold of an engine
process's /proc/PID/exe cannot write to it (CVE-2019-5736).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import sysconfig
from contextlib import ExitStack, suppress
from pathlib import Path

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.process import zygote_socket
from runtime.engines.embedded.process.messages import PROTOCOL, error_from_json
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.engines.embedded.state.store import lock
from runtime.errors import KernelError, UnavailableError

_MAX_BACKLOG = 64
_ANSWER_BYTES = 65536
_ZYGOTE_TIMEOUT_S = 60.0
"""How long the zygote may take until it listens."""
_ATTACH_TIMEOUT_S = 2.0
"""How long a look at a container waits for the shim that it has requested."""
_ERROR_BYTES = 4096
_F_ADD_SEALS = 1033
_ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write
_BOOT = (
    "import sys; sys.path[:0] = {paths!r}; from runtime.engines.embedded.process.zygote import main; main(sys.argv[1:])"
)


def request_shim(config: EmbeddedConfig, operation: str, record: ContainerRecord) -> bool:
    """Request a shim from the zygote and wait for its answer. `operation` is "start" or "attach".

    A start is waited for as long as it takes: one that is told as failed would run later. Raises what the shim raised.
    False when the shim died before it answered: the record says how far it came; also when there is no answer to
    "attach" in time, which is then done later.
    """
    with _connect(config) as connection:
        connection.settimeout(_ATTACH_TIMEOUT_S if operation == "attach" else None)
        try:
            network = record.spec.network == "bridge"
            request = {"op": operation, "id": record.id, "network": network, "protocol": PROTOCOL}
            connection.send(json.dumps(request).encode())
            data = connection.recv(_ANSWER_BYTES)
        except (TimeoutError, ConnectionError):
            return False
        except OSError as error:  # a shim may be at work: it is not asked for once more
            raise KernelError.from_os(f"start container {record.spec.name}", error) from error
    if not data:
        return False
    message = json.loads(data)
    if "error" in message:
        raise error_from_json(message["error"])
    return True


def _connect(config: EmbeddedConfig) -> socket.socket:
    name = zygote_socket.own_name()
    with suppress(FileNotFoundError, ConnectionRefusedError):
        return zygote_socket.connect(config, name)
    held = lock(config.run / "zygote.lock")
    assert held is not None
    try:
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return zygote_socket.connect(config, name)
        _start(config, name)
        zygote_socket.retire_others(config)
        with suppress(ConnectionRefusedError):  # killed right after its start: try once more
            return zygote_socket.connect(config, name)
        _start(config, name)
        return zygote_socket.connect(config, name)
    except OSError as error:
        raise KernelError.from_os("start the engine's helper process", error) from error
    finally:
        os.close(held)


def _start(config: EmbeddedConfig, name: str) -> None:
    (config.run / name).unlink(missing_ok=True)
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        directory = os.open(config.run, os.O_PATH | os.O_CLOEXEC)
        opened.callback(os.close, directory)
        interpreter = sealed_interpreter()
        opened.callback(os.close, interpreter)
        log = os.open(config.run / "zygote.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        opened.callback(os.close, log)
        listener.bind(f"/proc/self/fd/{directory}/{name}")
        listener.listen(_MAX_BACKLOG)
        root = str(zygote_socket.PACKAGE.parent)
        paths = [root, *(path for path in sys.path if path.startswith("/") and path != root)]
        arguments = [str(listener.fileno()), config.to_json(), name]
        libraries = sysconfig.get_config_var("LIBDIR")  # $ORIGIN in its RPATH does not work for a memory file
        try:
            subprocess.run(
                [sys.executable, "-I", "-c", _BOOT.format(paths=paths), *arguments],
                executable=f"/proc/self/fd/{interpreter}",
                pass_fds=(listener.fileno(), interpreter),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath, **({"LD_LIBRARY_PATH": libraries} if libraries else {})},
                check=True,
                stderr=log,
                timeout=_ZYGOTE_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            detail = f"it was not ready within {_ZYGOTE_TIMEOUT_S:.0f} s"
            raise UnavailableError("start the engine's helper process", detail=detail) from error
        except subprocess.CalledProcessError as error:
            detail = f"it ended with status {error.returncode}: {_last_line(config.run / 'zygote.log')}"
            raise UnavailableError("start the engine's helper process", detail=detail) from error


def _last_line(path: Path) -> str:
    """What a helper process said at its end; "" where that cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(-min(file.seek(0, os.SEEK_END), _ERROR_BYTES), os.SEEK_END)
        lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""


def sealed_interpreter() -> int:
    """A descriptor of a copy of this interpreter in a memory file that can no longer be written (memfd_create(2))."""
    memory = os.memfd_create("pytop-python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with Path(sys.executable).resolve().open("rb") as source:
            remaining = os.fstat(source.fileno()).st_size
            while remaining > 0:
                remaining -= os.sendfile(memory, source.fileno(), None, remaining)
        os.fchmod(memory, 0o555)
        fcntl.fcntl(memory, _F_ADD_SEALS, _ALL_SEALS)
    except OSError:
        os.close(memory)
        raise
    return memory
