"""Contents of the files that say how a cgroup shares what it does not have alone: weights, idle class, its CPUs.

Pure; never raises: what cannot be parsed is `Missing.UNSUPPORTED`. The texts are few and the same for most containers,
so what costs more than a look is kept by text. Sources: Documentation/admin-guide/cgroup-v2.rst, cpuset(7),
block/bfq-cgroup.c.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from collectors.sampling import parse
from runtime.kernel.cpu_weight import shares_to_weight
from runtime.model import Missing

MAX_CPUS: Final = 65_536  # more than any kernel can be built for (NR_CPUS)
MAX_TEXTS: Final = 256

_MIN_WEIGHT: Final = 1


def cpu_weight(data: bytes) -> int | Missing:
    """v2 cpu.weight. In the idle class the kernel shows 0."""
    value = parse.number(data)
    return value if isinstance(value, Missing) else max(_MIN_WEIGHT, value)


@lru_cache(MAX_TEXTS)
def cpu_shares(data: bytes) -> int | Missing:
    """v1 cpu.shares, as the weight of v2 to which they convert."""
    value = parse.number(data)
    return value if isinstance(value, Missing) else shares_to_weight(value)


def flag(data: bytes) -> bool | Missing:
    """A file with 0 or 1."""
    word = data.strip()
    return word == b"1" if word in (b"0", b"1") else Missing.UNSUPPORTED


def io_weight(data: bytes) -> int | Missing:
    """v2 io.weight, io.bfq.weight ("default 100", a line per device), v1 blkio.weight, blkio.bfq.weight ("100")."""
    word = data.partition(b"\n")[0].removeprefix(b"default").strip()
    return int(word) if word.isdigit() else Missing.UNSUPPORTED


@lru_cache(MAX_TEXTS)
def cpu_list(data: bytes) -> frozenset[int] | Missing:
    """A list of CPUs such as "0-3,8"; an empty one, as that of a cgroup without CPUs of its own, tells nothing."""
    found: set[int] = set()
    for part in data.strip().split(b","):
        first, dash, last = part.partition(b"-")
        if not first.isdigit() or (dash and not last.isdigit()):
            return Missing.UNSUPPORTED
        low, high = int(first), int(last or first)
        if not low <= high < MAX_CPUS:
            return Missing.UNSUPPORTED
        found.update(range(low, high + 1))
    return frozenset(found)
