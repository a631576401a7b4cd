"""Send to a peer: a few TCP streams as fast as they go, or datagrams at a rate."""

from __future__ import annotations

import argparse
import socket
import threading
import time

CHUNK = b"f" * 65536
DATAGRAM = b"d" * 1400
CONNECT_TIMEOUT_S = 5.0


def stream(address: tuple[str, int], until: float) -> None:
    with socket.create_connection(address, CONNECT_TIMEOUT_S) as connection:
        connection.settimeout(1.0)
        while time.monotonic() < until:
            try:
                connection.send(CHUNK)
            except TimeoutError:
                continue


def datagrams(address: tuple[str, int], rate_mbit: float, until: float) -> None:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    start, sent = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        if sent * 8 / 1e6 > rate_mbit * (now - start):
            time.sleep(0.002)
            continue
        sent += sender.sendto(DATAGRAM, address)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--udp-mbit", type=float, default=0.0)
    parser.add_argument("--limit", type=float, default=120.0)
    options = parser.parse_args()
    until = time.monotonic() + options.limit
    address = (options.address, options.port)
    workers = [threading.Thread(target=stream, args=(address, until), daemon=True) for _ in range(options.streams)]
    for worker in workers:
        worker.start()
    if options.udp_mbit:
        datagrams(address, options.udp_mbit, until)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
