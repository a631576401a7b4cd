"""The zygote: a warm, single-threaded process from which shims are forked.

The app is never forked: it has threads. A cold interpreter takes 40 ms, a fork of this one two, and none when the next
shim is forked before it is needed. It serves one instance, on a unix socket, for as long as there is something to do
and `NativeConfig.idle` seconds more. Its death harms nobody: shims do not need it, and the next request starts another
one. What goes wrong in it or in a shim in a way that nobody thought of is in zygote.log in the run directory.

All that a shim needs is imported here at the top: once, and in pages that every fork shares.
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

from runtime.engines.embedded.config import NativeConfig
from runtime.engines.embedded.images import host
from runtime.engines.embedded.process import prefork, shim
from runtime.engines.embedded.process.messages import answer, check_protocol
from runtime.engines.embedded.process.zygote_socket import PROCESS_NAME
from runtime.engines.embedded.sandbox import capabilities, seccomp
from runtime.engines.embedded.state.store import lock
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, syscalls

_REQUEST_BYTES = 65536
_RETRY_PAUSE_S = 0.1
_HEAD_START_S = 0.02
_TAKEN, _NETWORK, _QUIT = b"taken", b"network", b"quit"


def main(arguments: list[str]) -> None:
    """Arguments: the listening socket's descriptor, the instance's configuration as JSON, the socket's name."""
    if os.fork():  # so that nobody has to wait for us
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    listener = socket.socket(fileno=int(arguments[0]))
    serve(listener, NativeConfig.from_json(arguments[1]), arguments[2])


def serve(listener: socket.socket, config: NativeConfig, name: str) -> None:
    """Keep one spare shim ready, which accepts the next request, until nobody has asked for anything for a while."""
    listener.set_inheritable(False)
    listener.setblocking(False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(PROCESS_NAME)
    warm = prefork.Warm(cgroupfs.detect(), _prepare())
    gc.disable()  # a collection would touch, and so copy, every page that forks share
    while True:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            forked = os.fork() == 0
        except BlockingIOError:  # no room for another process now
            time.sleep(_RETRY_PAUSE_S)
            continue
        if forked:
            ours.close()
            _wait_for_request(listener, theirs, config, warm)
        theirs.close()
        if not _outlive(ours, config, name):
            return
        ours.close()


def _outlive(spare: socket.socket, config: NativeConfig, name: str) -> bool:
    """Wait until the spare shim has a request or has died; False when there is nothing left to do.

    Then leave it the machine until it has done its work, but not for long: others may be waiting for the next spare.
    """
    spare.settimeout(config.idle)
    while True:
        try:
            word = spare.recv(16)
        except TimeoutError:
            if _retire(config, name):
                return False
            continue
        except ConnectionResetError:
            word = b""
        if not word:
            time.sleep(_RETRY_PAUSE_S)  # it died, and the next one may die of the same
            return True
        if word == _QUIT:
            return False
        if word == _NETWORK and "pyroute2" not in sys.modules:
            import pyroute2  # noqa: F401  (160 ms, from now on here once instead of in every shim)
        spare.settimeout(_HEAD_START_S)
        with suppress(OSError):
            spare.recv(16)
        return True


def _wait_for_request(
    listener: socket.socket, zygote: socket.socket, config: NativeConfig, warm: prefork.Warm
) -> NoReturn:
    """Be the spare shim: wait, tell the zygote to make another one, and serve. Without a zygote there is no waiting."""
    syscalls.set_name("pytop-spare")
    start = prefork.get_ready(config, warm, zygote)
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
            continue  # whoever asked is gone
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
        shim.main(config, request, connection, start)


def _prepare() -> Callable[[], None]:
    """Work out once what every container needs: the image's layout, the filter that confines it."""
    host.warm()
    program = seccomp.compile_filter()

    def confine() -> None:
        capabilities.drop_to()
        seccomp.apply(program)

    return confine


def _retire(config: NativeConfig, name: str) -> bool:
    """Whether nobody is about to ask: then the socket's name goes, under the lock that launchers hold."""
    held = lock(config.run / "zygote.lock", wait=0)
    if held is None:
        return False
    with suppress(FileNotFoundError):
        (config.run / name).unlink()
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
