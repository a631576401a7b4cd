"""The zygote: a warm, single-threaded process from which shims are forked.

The client is never forked, since it has threads. Starting an interpreter takes 40 ms, a fork of this process 2 ms, and
the next shim is forked before it is needed (`prefork`). One zygote serves one instance on a unix socket, and ends when
there was no request for `EmbeddedConfig.idle` seconds. Shims do not need it, and the next request starts another one.
Its stderr and the shims' is zygote.log in the run directory: unexpected exceptions are there.

Every module of this project that a shim or an init needs is imported before the fork: forks share the memory, and the
files may have been replaced by another version when a shim needs them.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.images import host
from runtime.engines.embedded.process import prefork, shim
from runtime.engines.embedded.process.messages import answer, check_protocol
from runtime.engines.embedded.process.zygote_socket import PROCESS_NAME
from runtime.engines.embedded.sandbox import capabilities, seccomp
from runtime.engines.embedded.state.store import lock
from runtime.errors import KernelError, PytopError
from runtime.kernel import cgroupfs, process_attributes, service_cgroup, signals, syscalls

_REQUEST_BYTES = 65536
_RETRY_PAUSE_S = 0.1
_HEAD_START_S = 0.02
_TAKEN, _NETWORK, _QUIT = b"taken", b"network", b"quit"


def main(arguments: list[str]) -> None:
    """Arguments: the listening socket's descriptor, the instance's configuration as JSON, the socket's name."""
    os.umask(0o077)
    config, hierarchies = EmbeddedConfig.from_json(arguments[1]), cgroupfs.detect()
    if hierarchies.mode is cgroupfs.Mode.NONE:  # the client has found them: for want of memory they cannot be read here
        raise KernelError("find the mounts of cgroups", path="/proc/self/mountinfo")
    pid, failed = service_cgroup.fork_into(hierarchies, config.runtime_cgroup)
    if pid:  # the client waits for this process only
        os._exit(0)
    os.setsid()
    os.chdir("/")
    signals.reset()
    listener = socket.socket(fileno=int(arguments[0]))
    state = prefork.ZygoteState(hierarchies, _prepare(), (*failed, *process_attributes.set_defaults()))
    serve(listener, config, arguments[2], state)


def serve(listener: socket.socket, config: EmbeddedConfig, name: str, state: prefork.ZygoteState) -> None:
    """Keep one preforked shim waiting for the next request, until there was none for `config.idle` seconds."""
    listener.set_inheritable(False)
    listener.setblocking(False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(PROCESS_NAME)
    gc.disable()  # a collection writes to every page, and so would copy those that forks share
    while True:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            forked = os.fork() == 0
        except BlockingIOError:  # EAGAIN: the limit of processes
            time.sleep(_RETRY_PAUSE_S)
            continue
        if forked:
            ours.close()
            _wait_for_request(listener, theirs, config, state)
        theirs.close()
        if not _await_preforked(ours, config, name):
            return
        ours.close()


def _await_preforked(preforked: socket.socket, config: EmbeddedConfig, name: str) -> bool:
    """Wait until the preforked shim has a request or has died; False when the zygote is to end.

    After a request wait up to `_HEAD_START_S` for its start to finish: the next fork would compete with it for the CPU,
    and other requests wait for the next fork.
    """
    preforked.settimeout(config.idle)
    while True:
        try:
            word = preforked.recv(16)
        except TimeoutError:
            if _retire(config, name):
                return False
            continue
        except ConnectionResetError:
            word = b""
        if not word:
            time.sleep(_RETRY_PAUSE_S)  # it died; the next one may die of the same cause
            return True
        if word == _QUIT:
            return False
        if word == _NETWORK and "pyroute2" not in sys.modules:
            import pyroute2  # noqa: F401  (160 ms, once here instead of in every shim)
        preforked.settimeout(_HEAD_START_S)
        with suppress(OSError):
            preforked.recv(16)
        return True


def _wait_for_request(
    listener: socket.socket, zygote: socket.socket, config: EmbeddedConfig, state: prefork.ZygoteState
) -> NoReturn:
    """Run as the preforked shim: wait for a request, have the zygote fork the next one, serve. Ends with the zygote."""
    syscalls.set_name(prefork.PROCESS_NAME)
    preforked = prefork.prepare(config, state, zygote)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(zygote, select.POLLIN)
    while True:
        events = poll.poll()
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            if any(fd == zygote.fileno() for fd, _ in events):
                os._exit(0)
            continue
        connection.setblocking(True)
        request = json.loads(connection.recv(_REQUEST_BYTES) or b"{}")
        operation = request.get("op")
        if operation is None:
            connection.close()
            continue  # the client is gone
        with suppress(OSError):
            zygote.send(_QUIT if operation == "quit" else _NETWORK if request.get("network") else _TAKEN)
        if operation == "quit":
            os._exit(0)
        listener.close()
        try:
            check_protocol(request)
        except PytopError as error:
            answer(connection, error)
            os._exit(1)
        shim.main(config, request, connection, preforked)


def _prepare() -> Callable[[], None]:
    """Compute the image's layout and the seccomp program once; returns the function that confines a program."""
    host.warm()
    program = seccomp.compile_filter()

    def confine() -> None:
        capabilities.drop_to()
        seccomp.apply(program)

    return confine


def _retire(config: EmbeddedConfig, name: str) -> bool:
    """Remove the socket under the launchers' lock; False when a launcher holds it, since its request follows."""
    held = lock(config.run / "zygote.lock", wait=0)
    if held is None:
        return False
    with suppress(FileNotFoundError):
        (config.run / name).unlink()
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
