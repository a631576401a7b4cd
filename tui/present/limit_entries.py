"""How a person names each limit: its label and example in the form, its flag and help on the command line.

Free of heavy imports: the command line needs it for its help.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Final

from runtime.model import LimitName


@dataclass(frozen=True, slots=True)
class LimitEntry:
    """One limit.

    Attributes:
        label: in the form and in results.
        example: the placeholder of its field in the form.
        flag: its option on the command line, as in Docker where Docker has it.
        metavar: what stands for its value in the help; empty for a switch.
        about: its line in the help.
        aliases: other options for it.
    """

    name: LimitName
    label: str
    example: str
    flag: str
    _: KW_ONLY
    metavar: str
    about: str
    aliases: tuple[str, ...] = ()


ENTRIES: Final = (
    LimitEntry(
        LimitName.CPUS,
        "CPU cores",
        "0.5",
        "--cpus",
        metavar="CORES",
        about="CPU time in cores, for example 1.5",
    ),
    LimitEntry(
        LimitName.MEMORY,
        "memory",
        "512m",
        "--memory",
        metavar="BYTES",
        about="memory; beyond it processes are killed",
        aliases=("-m",),
    ),
    LimitEntry(
        LimitName.SWAP,
        "swap",
        "0",
        "--memory-swap",
        metavar="BYTES",
        about="memory and swap together, as in Docker; -1 is unlimited",
    ),
    LimitEntry(
        LimitName.PIDS,
        "processes",
        "200",
        "--pids-limit",
        metavar="N",
        about="number of processes and threads",
    ),
    LimitEntry(
        LimitName.NET_EGRESS,
        "net out",
        "20mbit",
        "--net-egress",
        metavar="RATE",
        about="what it may send, as in tc: 20mbit is bits, 2mbps is bytes a second",
    ),
    LimitEntry(
        LimitName.NET_INGRESS,
        "net in",
        "20mbit",
        "--net-ingress",
        metavar="RATE",
        about="what it may receive",
    ),
    LimitEntry(
        LimitName.CPU_SHARES,
        "CPU shares",
        "1024",
        "--cpu-shares",
        metavar="N",
        about="CPU weight beside others, 2 to 262144, 1024 is normal",
        aliases=("-c",),
    ),
    LimitEntry(
        LimitName.CPU_IDLE,
        "CPU idle",
        "on",
        "--cpu-idle",
        metavar="",
        about="run only when nobody else wants the CPU; leaving it brings back the weight",
    ),
    LimitEntry(
        LimitName.CPUSET_CPUS,
        "CPU set",
        "0-1",
        "--cpuset-cpus",
        metavar="LIST",
        about="CPUs that may be used, for example 0-2,4",
    ),
    LimitEntry(
        LimitName.CPU_PERIOD,
        "CPU period",
        "100ms",
        "--cpu-period",
        metavar="TIME",
        about="in what period the cores are counted, 1ms to 1s; 100ms is normal",
    ),
    LimitEntry(
        LimitName.CPU_BURST,
        "CPU burst",
        "20ms",
        "--cpu-burst",
        metavar="TIME",
        about="unused CPU time that may be spent later beyond the quota; 0 is none",
    ),
    LimitEntry(
        LimitName.CPUSET_MEMS,
        "mem nodes",
        "0",
        "--cpuset-mems",
        metavar="LIST",
        about="memory nodes that may be used",
    ),
    LimitEntry(
        LimitName.MEMORY_HIGH,
        "mem high",
        "400m",
        "--memory-high",
        metavar="BYTES",
        about="memory beyond which processes are slowed down (cgroup v2)",
    ),
    LimitEntry(
        LimitName.MEMORY_RESERVATION,
        "mem reserve",
        "256m",
        "--memory-reservation",
        metavar="BYTES",
        about="memory that is kept for it while others are squeezed; 0 is none",
        aliases=("--memory-low",),
    ),
    LimitEntry(
        LimitName.IO_READ_BPS,
        "disk read",
        "sda 10m",
        "--device-read-bps",
        metavar="DISK:RATE",
        about="bytes a second that it may read",
    ),
    LimitEntry(
        LimitName.IO_WRITE_BPS,
        "disk write",
        "sda 10m",
        "--device-write-bps",
        metavar="DISK:RATE",
        about="bytes a second that it may write",
    ),
    LimitEntry(
        LimitName.IO_READ_IOPS,
        "read ops",
        "sda 500",
        "--device-read-iops",
        metavar="DISK:N",
        about="reads a second that it may do",
    ),
    LimitEntry(
        LimitName.IO_WRITE_IOPS,
        "write ops",
        "sda 500",
        "--device-write-iops",
        metavar="DISK:N",
        about="writes a second that it may do",
    ),
    LimitEntry(
        LimitName.IO_WEIGHT,
        "disk weight",
        "100",
        "--blkio-weight",
        metavar="N",
        about="weight for disks beside others, 1 to 10000, 100 is normal",
    ),
)
"""In the order of the form, the most used first."""
ENTRY_OF: Final = {entry.name: entry for entry in ENTRIES}
