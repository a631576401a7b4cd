"""What each guest runs. Python is some twenty times slower there, so it is what pure v2, or systemd, can break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest: the script that its kernel starts, and its tests.

    `tests` are files, `without` are tests in them that a machine of this speed cannot judge, `require` is what may
    not be missing (PYTOP_REQUIRE), `passed` how many tests must have passed, so that the list cannot shrink unseen,
    `minutes` the time after which it is given up, and `programs` what it needs of this machine beside what all need.
    """

    script: str
    tests: tuple[str, ...]
    require: str
    passed: int
    minutes: float
    without: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)


GUESTS: Final[Mapping[str, Guest]] = {
    "plain": Guest(
        "plain.sh",
        (
            "tests/engines/test_every_limit.py",
            "tests/engines/test_every_verb.py",
            "tests/engines/test_limits.py",
            "tests/engines/test_life.py",
            "tests/integration/test_limits_real.py",
            "tests/integration/test_limits_io_real.py",
            "tests/integration/test_limits_reclaim_real.py",
            "tests/integration/test_net_limits_real.py",
            "tests/integration/test_native_limits.py",
            "tests/integration/test_native_life.py",
            "tests/integration/test_native_kill.py",
            "tests/integration/test_native_sandbox.py",
            "tests/integration/test_sweep_real.py",
        ),
        "embedded",
        passed=80,
        minutes=25,
    ),
    "systemd": Guest(
        "systemd.sh",
        ("tests/integration/test_systemd_real.py",),
        "embedded,systemd",
        passed=12,
        minutes=15,
        programs={"/lib/systemd/systemd": "systemd"},
    ),
}
