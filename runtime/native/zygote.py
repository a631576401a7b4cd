"""The zygote: a warm, single-threaded process from which shims are forked.

The app is never forked: it has threads. A cold interpreter takes 40 ms, a fork of this one takes half a millisecond. It
serves one instance, on a unix socket, for as long as there is something to do and `NativeConfig.idle` seconds more. Its
death harms nobody: shims do not need it, and the next request starts another one. What goes wrong in it or in a shim
in a way that nobody thought of is in zygote.log in the run directory.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from runtime.kernel import cgroupfs, syscalls
from runtime.native.config import NativeConfig
from runtime.native.store import lock

_REQUEST = 65536


def main(arguments: list[str]) -> None:
    """Arguments: the listening socket's descriptor and the instance's configuration as JSON."""
    if os.fork():  # so that nobody has to wait for us
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    listener = socket.socket(fileno=int(arguments[0]))
    serve(listener, NativeConfig.from_json(arguments[1]))


def serve(listener: socket.socket, config: NativeConfig) -> None:
    """Fork a shim per request, until nobody has asked for anything for a while."""
    from runtime.native import shim

    listener.set_inheritable(False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name("pytop-zygote")
    warm = shim.Warm(cgroupfs.detect(), _prepare())
    gc.disable()  # a collection would touch, and so copy, every page that forks share
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll(config.idle * 1000) or not _retire(config):
        try:
            connection, _ = listener.accept()
            request = json.loads(connection.recv(_REQUEST))
        except (OSError, ValueError):
            continue  # whoever asked is gone
        if request["op"] == "quit":
            os._exit(0)  # its end of file tells the caller
        if request["network"]:
            import pyroute2  # noqa: F401  (160 ms, here once instead of in every shim)
        with suppress(BlockingIOError):  # out of processes: the caller sees the end of file and says so
            if os.fork() == 0:
                listener.close()
                shim.main(config, request, connection, warm)
        connection.close()


def _prepare() -> Callable[[], None]:
    """Work out once what every container needs: the image's layout, the filter that confines it."""
    from runtime.native import capabilities
    from runtime.native.images import host
    from runtime.native.seccomp import apply, compile_filter

    host.warm()
    program = compile_filter()

    def confine() -> None:
        capabilities.drop_to()
        apply(program)

    return confine


def _retire(config: NativeConfig) -> bool:
    """Whether nobody is about to ask: then the socket's name goes, under the lock that launchers hold."""
    held = lock(config.run / "zygote.lock", wait=0)
    if held is None:
        return False
    with suppress(FileNotFoundError):
        config.socket.unlink()
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
