"""Say what a process inside the container sees, as one JSON line, then sleep.

Run as: python introduce.py
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup")


def main() -> None:
    """Run until killed."""
    system = os.uname()
    facts = {
        "pid": os.getpid(),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "hostname": socket.gethostname(),
        "root": list(os.stat("/")[1:3]),  # inode, device
        "uname": [system.sysname, system.release, system.version, system.machine],
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
    }
    sys.stdout.write(json.dumps(facts, separators=(",", ":")) + "\n")
    sys.stdout.flush()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
