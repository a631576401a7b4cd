"""Send datagrams to one address at a bounded rate, as a backup over the network or a chatty exporter does.

Run as: python flood.py ADDRESS:PORT [--mbit 60]
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import time

DATAGRAM_BYTES = 1400
TICK_S = 0.002


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--mbit", type=float, default=60.0)
    options = parser.parse_args()
    host, _, port = options.peer.rpartition(":")
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setblocking(False)  # what the queue does not take is lost
    sender.connect((host, int(port)))
    datagram = b"x" * DATAGRAM_BYTES
    per_tick = options.mbit * 1e6 / 8 / DATAGRAM_BYTES * TICK_S
    owed = 0.0
    while True:
        owed += per_tick
        while owed >= 1:
            with contextlib.suppress(OSError):
                sender.send(datagram)
            owed -= 1
        time.sleep(TICK_S)


if __name__ == "__main__":
    main()
