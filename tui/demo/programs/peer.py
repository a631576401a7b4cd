"""The other end of the network's story: sends back what comes over TCP, and throws datagrams away.

Run as: python peer.py [PORT]
"""

from __future__ import annotations

import selectors
import socket
import sys

PORT = 7777
BUFFER_BYTES = 65536


def main() -> None:
    """Run until killed."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    listener = socket.create_server(("", port))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(datagrams, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            if ready is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
                continue
            data = ready.recv(BUFFER_BYTES)
            if ready is datagrams:
                continue
            if data:
                ready.sendall(data)
            else:
                selector.unregister(ready)
                ready.close()


if __name__ == "__main__":
    main()
