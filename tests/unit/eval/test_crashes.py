"""What the crash test of leases prints is read, and what cannot be read is no success."""

from __future__ import annotations

import pytest

from runtime.errors import PytopError
from tests.eval import crashes
from tests.eval.results import Crashes

SUMMARY = (
    "200 kills (66 of program, 70 of keeper, 64 of both), 900 leases, 12 conflicts, slowest new keeper 0.41 s, seed 1"
)


def test_nothing_wrong() -> None:
    assert crashes.parse(f"{SUMMARY}: 0 wrong\n") == Crashes(200, ())


def test_each_lease_that_is_wrong() -> None:
    line = "seed 17, both killed: pytopl/0 cpu.shares holds 77, not 1024"
    assert crashes.parse(f"{line}\n{SUMMARY}: 1 wrong\n") == Crashes(200, (line,))


@pytest.mark.parametrize("output", ["", "Traceback", f"{SUMMARY}: 1 wrong\n"])
def test_what_cannot_be_read_is_an_error(output: str) -> None:
    with pytest.raises(PytopError, match="crash test of leases"):
        crashes.parse(output)
