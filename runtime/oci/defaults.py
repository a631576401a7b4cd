"""What a container is given and denied unless its creator asks for something else.

The capabilities are Docker's 14 without the three that an ordinary program in a container has no use for: MKNOD,
NET_RAW (spoofs its neighbours on the bridge) and AUDIT_WRITE. The paths are Docker's, without the first slash.
"""

from __future__ import annotations

from typing import Final

DEFAULT_CAPABILITIES: Final = frozenset(
    {
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
MASKED_PATHS: Final = (
    "proc/asound",
    "proc/acpi",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
)
READ_ONLY_PATHS: Final = ("proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger")
