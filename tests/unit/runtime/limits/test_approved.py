"""What limits are written and read as, and every error about them, against the record in tests/data/approved."""

from __future__ import annotations

from typing import Any

from runtime.limits import same, units
from runtime.limits.apply import ERRNO_REASONS, LIMIT_FILES
from runtime.limits.review.facts import HostFacts, RecentUse
from runtime.limits.review.review import missing_limits, refuse, review
from runtime.limits.systemd import controllers
from runtime.model import LIMITS, UNLIMITED, DeviceRate, LimitChange, LimitName, Limits, LimitUnit, Missing
from tests.approved import approve, told

TEXTS = (
    *("", "0", "1", "2", "0.5", "1,5", "1,500", "500m", "50%", " 50 % ", "1e3", "-1", "max", "none", "∞", "infinity"),
    *(
        "64k",
        "64K",
        "64kb",
        "64KiB",
        "1.5g",
        ".5m",
        "512 m",
        "1t",
        "1p",
        "1x",
        "9" * 40,
        "100ms",
        "100MS",
        "0.1s",
        "5µs",
    ),
    *("on", "ON", "yes", "true", "off", "no", "false", "maybe", "0-2,4", "3-1", "all", "20mbit", "500kbit", "2mbps"),
    *(
        "20mibit",
        "1bit",
        "1024",
        "262144",
        "262145",
        "10000",
        "10001",
        "5000000000",
        "8:0:1m",
        "8:0:max",
        "8:0",
        "x:1m",
    ),
    *("8:0:1m,8:0:2m", "8:0:100", "unlimited", "Unlimited"),
)
VALUES: tuple[tuple[LimitName, Any], ...] = (
    *((LimitName.CPUS, value) for value in (0.0, 0.5, float("nan"), 1e9, UNLIMITED)),
    *((LimitName.MEMORY, value) for value in (-1, 0, 4096, 1 << 70)),
    *((LimitName.PIDS, value) for value in (0, 1, 1 << 40)),
    *((LimitName.CPU_SHARES, value) for value in (1, 2, 262145)),
    *((LimitName.CPUSET_CPUS, value) for value in ("0-1", "x", "")),
    (LimitName.IO_READ_BPS, (DeviceRate("8:0", 1), DeviceRate("8:0", 2))),
    (LimitName.IO_READ_BPS, (DeviceRate("sda", 1),)),
    (LimitName.IO_READ_IOPS, (DeviceRate("8:0", 0),)),
    (LimitName.NET_EGRESS, 1),
)
FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=1 << 30, pid_max=32768)
USE = RecentUse(cpu=1.2, cpu_waited=0.6, memory=300 << 20, anon=200 << 20, file=100 << 20, swap=0, pids=50)
HELD = Limits(
    cpus=2.0,
    cpu_period=100_000,
    cpu_burst=0,
    cpu_shares=1024,
    cpu_idle=False,
    cpuset_cpus="0-3",
    cpuset_mems="0",
    memory=1 << 30,
    memory_high=UNLIMITED,
    memory_reservation=0,
    swap=0,
    pids=100,
    io_weight=100,
    io_read_bps=(),
    io_write_bps=(),
    io_read_iops=(),
    io_write_iops=(),
    net_egress=UNLIMITED,
    net_ingress=Missing.DENIED,
)
CHANGES = (
    *(LimitChange(cpus=value) for value in (0.001, 0.1, 2.0, 8.0, UNLIMITED)),
    *(LimitChange(memory=value) for value in (1, 64, 4096, 1 << 16, 65_535, 65_600)),
    *(LimitChange(memory=value) for value in (1 << 20, 250 << 20, 400 << 20, 1 << 40)),
    *(LimitChange(memory_high=value) for value in (64, 100 << 20, 2 << 30)),
    *(LimitChange(memory_reservation=value) for value in (64, 2 << 30, 16 << 30)),
    *(LimitChange(swap=value) for value in (0, 64, 4 << 30)),
    *(LimitChange(pids=value) for value in (1, 40, 50, 60, 99_999)),
    *(LimitChange(cpu_shares=value) for value in (2, 512, 262_144)),
    *(LimitChange(cpu_idle=value) for value in (True, False)),
    *(LimitChange(cpuset_cpus=value) for value in ("0", "0-7", "9")),
    *(LimitChange(cpuset_mems=value) for value in ("0", "1")),
    *(LimitChange(cpu_period=value) for value in (1000, 1_000_000)),
    LimitChange(cpu_burst=50_000),
    LimitChange(cpu_burst=900_000),
    LimitChange(cpus=0.5, cpu_burst=60_000),
    LimitChange(net_egress=1000),
    LimitChange(net_ingress=1_000_000),
    LimitChange(io_write_bps=(DeviceRate("8:0", 1000),)),
    LimitChange(io_weight=1),
)


def test_every_text_that_somebody_may_write_as_a_limit() -> None:
    one_of_each = {row.unit: name for name, row in LIMITS.items()}
    lines = []
    for unit, name in one_of_each.items():
        said: set[str] = set()
        for text in TEXTS:
            if unit in (LimitUnit.BYTES_PER_SECOND, LimitUnit.OPERATIONS_PER_SECOND):
                operations = unit is LimitUnit.OPERATIONS_PER_SECOND
                parsed = told(units.parse_device_rates, text, operations=operations, number=str)
            else:
                parsed = told(units.parse_value, name, text)
            parsed = parsed.replace(repr(f"'{text}' is not")[1:-1], "this is not")
            lines.append(f"{unit.value} {text!r}: {'refused as above' if parsed in said else parsed}")
            said |= {parsed} if "Error" in parsed else set()
    approve("limit_texts", lines)


def test_every_value_that_no_kernel_takes() -> None:
    approve("limit_values", (f"{n.value} {v!r}: {told(units.validate, LimitChange.of({n: v}))}" for n, v in VALUES))


def test_every_value_as_it_is_shown() -> None:
    values = (0, 1, 999, 1000, 1024, 1500, 4096, 1 << 20, 3 << 30, 10**9)
    lines = [f"{name.value} {value}: {told(units.format_value, name, value)}" for name in LIMITS for value in values]
    lines += [f"human {value}: {units.human_bytes(value)}" for value in (*values, 1 << 50)]
    approve("limit_formats", lines)


def test_what_is_said_before_a_change() -> None:
    lines = []
    for change in CHANGES:
        asked = ", ".join(f"{name.value}={value}" for name, value in change.items())
        refused = told(refuse, change, HELD, FACTS, USE)
        lines.append(f"{asked}: missing {tuple(missing_limits(change, HELD))}; refused: {refused}")
        lines += [f"    {finding}" for finding in review(change, HELD, FACTS, USE)]
    approve("limit_reviews", lines)


def test_the_tables_of_limits() -> None:
    lines = [f"{name.value}: {row}" for name, row in LIMITS.items()]
    lines += [f"{file} {number}: {reason}" for (file, number), reason in ERRNO_REASONS.items()]
    lines += [f"{controller}: {files}" for controller, files in LIMIT_FILES.items()]
    lines += [
        f"{name}: {value}" for name, value in sorted(vars(controllers).items()) if name[1:].isupper() and name[0] == "_"
    ]
    approve("limit_tables", lines)


def test_when_a_value_that_is_held_is_the_one_that_was_asked_for() -> None:
    rates = (DeviceRate("8:0", 5),), (DeviceRate("8:0", UNLIMITED),), (DeviceRate("8:0", 6), DeviceRate("8:1", 7)), ()
    pairs: dict[LimitName, tuple[Any, ...]] = {
        LimitName.CPUS: (0.5, 0.5004, 0.502, 1.0, UNLIMITED, Missing.GONE),
        LimitName.MEMORY: (4096, 4097, 8191, 8192, 0, UNLIMITED, Missing.GONE),
        LimitName.CPU_SHARES: (2, 3, 100, 102, 1024, 1025, 262_144, 300_000),
        LimitName.CPUSET_CPUS: ("0-1", "0,1", "0", UNLIMITED),
        LimitName.IO_READ_BPS: (*rates, UNLIMITED, Missing.GONE),
        LimitName.CPU_IDLE: (True, False),
        LimitName.NET_EGRESS: (8000, 8008, 8001, UNLIMITED),
        LimitName.CPU_PERIOD: (1000, 1001),
    }
    lines = [
        f"{name.value} holds {held}, asked for {asked}: {told(same, name, held, asked)}"
        for name, values in pairs.items()
        for held in values
        for asked in values
    ]
    approve("limit_verdicts", lines)
