"""The other end of the uplink: answers what services ask on one port, swallows what floods send on another."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable

QUESTION_BYTES = 2000


def answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waiting = 0
    while data := connection.recv(65536):
        waiting += len(data)
        while waiting >= QUESTION_BYTES:
            connection.sendall(b"a" * QUESTION_BYTES)
            waiting -= QUESTION_BYTES


def swallow(connection: socket.socket) -> None:
    while connection.recv(1 << 20):
        pass


def until_it_ends(serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
    """A container that is killed resets its connections."""
    with contextlib.suppress(ConnectionError), connection:
        serve(connection)


def listen(port: int, serve: Callable[[socket.socket], None]) -> None:
    listener = socket.create_server(("", port))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=until_it_ends, args=(serve, connection), daemon=True).start()


def main() -> None:
    service, flood, limit = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", flood))
    for port, serve in ((service, answer), (flood, swallow)):
        threading.Thread(target=listen, args=(port, serve), daemon=True).start()
    threading.Thread(target=lambda: [datagrams.recv(2048) for _ in iter(int, 1)], daemon=True).start()
    print("ready", flush=True)
    time.sleep(limit)


if __name__ == "__main__":
    main()
